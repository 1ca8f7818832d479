"""Clients that note what they were told: which rows are stored, which were refused, who was erased."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from app.api.heads import DATA_AGE, PROMISED_SECONDS

SLACK_SECONDS = 0.5  # for what is on its way to a process when its answer says how old it is
PAUSE_SECONDS = 0.02
COURSES = 400
Key = tuple[str, str, str]


@dataclass
class Ledger:
    """What all clients were told.  taken: when (monotonic) each course of a user was acknowledged."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: dict[str, dict[str, float]] = field(default_factory=dict)
    stored: set[Key] = field(default_factory=set)
    refused: set[Key] = field(default_factory=set)
    uncertain: set[Key] = field(default_factory=set)  # sent, given up without an answer
    erased: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)  # by call and status
    slowest: dict[str, float] = field(default_factory=dict)  # seconds, by status
    faults: list[str] = field(default_factory=list)  # what must not have happened
    reads: int = 0
    aged: int = 0  # of these that said how old they were

    def answered(self, call: str, status: int | str, seconds: float, text: str = "") -> None:
        """Count an answer; a server error other than 503 is a fault."""
        with self.lock:
            self.answers[f"{call} {status}"] += 1
            self.slowest[str(status)] = max(seconds, self.slowest.get(str(status), 0.0))
            if isinstance(status, int) and status >= 500 and status != 503:
                self.faults.append(f"{call} was answered {status}: {text[:300]}")


class Caller(threading.Thread):
    """A client with a connection of its own, until it is stopped."""

    def __init__(self, url: str, ledger: Ledger, name: str, stop: threading.Event, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.ledger, self.stop = ledger, stop
        self.rng = random.Random(f"{seed}-{name}")  # noqa: S311 - equal choices every time
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(60.0, connect=5.0))

    def run(self) -> None:
        """Call after call."""
        while not self.stop.is_set():
            self.once()
            time.sleep(self.rng.uniform(0, 2 * PAUSE_SECONDS))

    def once(self) -> None:
        """One round."""
        raise NotImplementedError

    def call(self, what: str, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The answer; None when there was none, and nobody knows what was done."""
        started = time.monotonic()
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            self.ledger.answered(what, type(error).__name__, time.monotonic() - started)
            return None
        self.ledger.answered(what, answer.status_code, time.monotonic() - started, answer.text)
        return answer

    def insist(self, what: str, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The same, tried again as long as the service is away; None when the end came first."""
        while not self.stop.is_set():
            answer = self.call(what, method, path, **options)
            if answer is not None and answer.status_code != 503:
                return answer
            time.sleep(0.1)
        return None


class Writer(Caller):
    """Takes courses, sends rows that must be refused among them, and erases users."""

    number = 0

    def once(self) -> None:
        """One batch, or the erasure of a user."""
        self.number += 1
        if self.number % 40 == 0:
            return self._erase()
        user = f"{self.name}-{self.number // 5:05}"
        free = [course for course in range(COURSES) if f"c{course:03}" not in self.ledger.taken.get(user, {})]
        good = [(user, f"c{course:03}", "enroll") for course in self.rng.sample(free, self.rng.randint(1, 8))]
        bad = [(user, f"bad{self.number}", "flew")] if self.number % 3 == 0 else []
        with self.ledger.lock:
            self.ledger.uncertain.update(good)
            self.ledger.refused.update(bad)
        rows = [{"user_id": one, "course_id": course, "type": type_} for one, course, type_ in good + bad]
        answer = self._send(rows)
        if answer is None:
            return None
        now, report = time.monotonic(), answer.json()
        if answer.status_code != 200 or report["accepted"] != len(good) or len(report["rejected"]) != len(bad):
            self.ledger.faults.append(f"{len(good)} good rows were answered {answer.status_code} {answer.text[:300]}")
            return None
        with self.ledger.lock:
            self.ledger.uncertain.difference_update(good)
            self.ledger.stored.update(good)
            self.ledger.taken.setdefault(user, {}).update({course: now for _, course, _ in good})
        return None

    def _send(self, rows: list[dict[str, str]]) -> httpx.Response | None:
        lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        options: dict[str, Any] = (
            {"json": rows}
            if self.rng.random() < 0.5
            else {"content": lines, "headers": {"Content-Type": "application/x-ndjson"}}
        )
        if self.rng.random() < 0.1:  # a caller without patience
            answer = self.call("write", "POST", "/interactions", **options)
            return None if answer is None or answer.status_code == 503 else answer
        return self.insist("write", "POST", "/interactions", **options)

    def _erase(self) -> None:
        user = f"gone-{self.name}-{self.number}"
        rows = [{"user_id": user, "course_id": f"c{course:03}"} for course in range(3)]
        if self.insist("write", "POST", "/interactions", json=rows) is None:
            return
        answer = self.insist("erase", "DELETE", f"/users/{user}")  # 404: an earlier attempt did it
        if answer is not None and answer.status_code in {200, 404}:
            with self.ledger.lock:
                self.ledger.erased.add(user)


class Reader(Caller):
    """Asks for lists, and looks for what was taken before the moment of which the list says that it is."""

    def once(self) -> None:
        """One list."""
        with self.ledger.lock:
            users = [*self.ledger.taken]
        if not users:
            return
        user = self.rng.choice(users[-200:])
        with self.ledger.lock:
            now = time.monotonic()
            before = self.ledger.taken.get(user, {})
            ages = {course: now - at for course, at in before.items()}
        answer = self.call("recommend", "GET", f"/recommendations/{user}", params={"n": 100})
        if answer is None or answer.status_code != 200:
            return
        own_age = answer.headers.get(DATA_AGE)
        limit = PROMISED_SECONDS if own_age is None else float(own_age) + SLACK_SECONDS
        listed = {item["course_id"] for item in answer.json()["items"]}
        late = sorted(round(age, 1) for course, age in ages.items() if age > limit and course in listed)
        with self.ledger.lock:
            self.ledger.reads += 1
            self.ledger.aged += own_age is not None
            if late and self.ledger.taken.get(user) is before:  # not erased meanwhile
                at, said = time.strftime("%H:%M:%S"), "nothing" if own_age is None else f"{own_age} s"
                self.ledger.faults.append(
                    f"{at} {user} was recommended what they took {late} s before; of its age the list said {said}"
                )
