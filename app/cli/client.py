"""Calls to a running service, for the commands that use it as any other caller would.

On the standard library: the base installation needs no HTTP client, and these few calls do not make it need one.
"""

import contextlib
import http.client
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import orjson

from app.errors import ServiceError

BATCH_ROWS = 2_000  # rows of a POST; small enough for a progress bar, large enough to cost little
PATIENCE_SECONDS = 60.0  # how long a service may be away (restarting, its database electing) before a call fails
CALL_SECONDS = 60.0  # of one call; a batch of rows takes about one
PAUSE_SECONDS = 0.25  # between two looks at a training run


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and parsed body of an answer; the body is None when it is no JSON."""

    status: int
    body: Any


class Client:
    """One keep-alive connection to a service; not for several threads.

    Calls are repeated while the service is away or answers 503; every call made here may safely be repeated.
    """

    def __init__(self, url: str, *, key: str | None = None, patience_seconds: float = PATIENCE_SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ServiceError(url, "wanted an address such as http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=CALL_SECONDS)
        self._prefix = parts.path.rstrip("/")
        self._patience_seconds = patience_seconds
        self._headers = {} if key is None else {"X-API-Key": key}

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str) -> Any:
        """Body of a 2xx answer.  Raises ServiceError for any other."""
        return self._checked("GET", path, self.call("GET", path))

    def post(self, path: str, body: object = None) -> Any:
        """Body of a 2xx answer.  Raises ServiceError for any other."""
        return self._checked("POST", path, self.call("POST", path, body))

    def call(self, method: str, path: str, body: object = None) -> Reply:
        """Any answer but 503.  Raises ServiceError when the service stays away."""
        content = None if body is None else orjson.dumps(body)
        end = time.monotonic() + self._patience_seconds
        while True:
            try:
                reply = self._once(method, path, content)
                if reply.status != http.HTTPStatus.SERVICE_UNAVAILABLE:
                    return reply
                problem = _describe(reply)
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                problem = str(error) or type(error).__name__
            if time.monotonic() > end:
                raise ServiceError(f"{method} {path}", problem)
            time.sleep(PAUSE_SECONDS)

    def _once(self, method: str, path: str, content: bytes | None) -> Reply:
        headers = {} if content is None else {"Content-Type": "application/json"}
        self._connection.request(method, self._prefix + path, content, self._headers | headers)
        answer = self._connection.getresponse()
        payload = answer.read()
        body = None
        with contextlib.suppress(orjson.JSONDecodeError):
            body = orjson.loads(payload)
        return Reply(answer.status, body)

    @staticmethod
    def _checked(method: str, path: str, reply: Reply) -> Any:
        if not 200 <= reply.status < 300:
            raise ServiceError(f"{method} {path}", _describe(reply))
        return reply.body


def send_rows(client: Client, path: str, rows: Sequence[object]) -> Iterator[int]:
    """Post the rows in batches; yields how many each batch had.  Raises ServiceError for a row that is rejected."""
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        report = client.post(path, batch)
        if report["rejected"]:
            first = report["rejected"][0]
            raise ServiceError(f"POST {path}", f"{len(report['rejected'])} rows rejected, the first: {first['detail']}")
        yield len(batch)


def follow_run(client: Client, run_id: str) -> Iterator[dict[str, Any]]:
    """The run as it goes on; the last one yielded has ended."""
    while True:
        run: dict[str, Any] = client.get(f"/training/runs/{run_id}")
        yield run
        if run["status"] not in {"queued", "running"}:
            return
        time.sleep(PAUSE_SECONDS)


def request_run(client: Client) -> str:
    """Id of a run that reads everything sent so far: one in progress may have read less, so its end is awaited."""
    while True:
        reply = client.call("POST", "/training/runs")
        if reply.status == http.HTTPStatus.ACCEPTED:
            return str(reply.body["run_id"])
        if reply.status != http.HTTPStatus.CONFLICT:
            raise ServiceError("POST /training/runs", _describe(reply))
        for _ in follow_run(client, reply.body["run_id"]):
            pass


def await_model(client: Client, model_id: str, user_id: str) -> None:
    """Until the process at the other end of the connection serves the model, which takes it about a second.

    user_id: anybody whom the model knows.  Raises ServiceError when it does not come.
    """
    path = f"/recommendations/{quote(user_id, safe='')}?n=1"
    end = time.monotonic() + PATIENCE_SECONDS
    while (served := client.get(path)["model_id"]) != model_id:
        if time.monotonic() > end:
            raise ServiceError(f"GET {path}", f"serves model {served}, not {model_id}")
        time.sleep(PAUSE_SECONDS)


def _describe(reply: Reply) -> str:
    detail = reply.body.get("detail") if isinstance(reply.body, dict) else None
    return f"{reply.status} {detail or http.HTTPStatus(reply.status).phrase}"
