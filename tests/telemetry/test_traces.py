"""Spans of requests and runs, and that they arrive where OpenTelemetry's variables say."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.api.application import create_application
from app.errors import MissingExtraError
from app.telemetry.traces import Traces
from app.worker.loop import run_worker
from tests.support.service import api, make_settings, with_state


def spans(exporter: InMemorySpanExporter) -> dict[str, dict[str, Any]]:
    return {span.name: dict(span.attributes or {}) for span in exporter.get_finished_spans()}


async def test_requests_are_named_by_their_route(mongodb_uri: str, database_name: str, tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    traces = Traces.begin("api", exporter)
    app = create_application(make_settings(mongodb_uri, database_name, tmp_path), local=True)
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(with_state(traces.around(app), state))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/recommendations/ada")).status_code == 200
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.put("/courses/c1", json={"title": "Logic"})).status_code in (200, 201)
            assert (await client.get("/nowhere")).status_code == 404
    traces.end()
    found = spans(exporter)
    assert set(found) == {"GET /recommendations/{user_id}", "PUT /courses/{course_id}", "GET"}
    assert found["GET /recommendations/{user_id}"]["http.route"] == "/recommendations/{user_id}"


async def test_a_run_is_one_span_with_its_end(mongodb_uri: str, database_name: str, tmp_path: Path) -> None:
    exporter, stop = InMemorySpanExporter(), asyncio.Event()
    traces = Traces.begin("worker", exporter)
    settings = make_settings(mongodb_uri, database_name, tmp_path)
    worker = asyncio.create_task(run_worker(settings, stop=stop, traces=traces))
    async with api(settings) as client:
        asked = await client.post("/training/runs")
        async with asyncio.timeout(60):
            while (await client.get(asked.headers["location"])).json()["ended_at"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(worker, 30)
    traces.end()
    assert spans(exporter) == {
        "training run": {"coursegraph.run_id": asked.json()["run_id"], "coursegraph.status": "failed"}
    }


async def test_no_spans_unless_asked_for() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    traces = Traces()
    assert traces.around(app) is app
    with traces.span("training run", run_id="r") as note:
        note("status", "failed")
    traces.end()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"coursegraph\[otel\]"):
        Traces.begin("api")


@pytest.fixture
def collector() -> Iterator[tuple[str, "Queue[ExportTraceServiceRequest]"]]:
    """Takes what OTLP over HTTP brings."""
    brought: Queue[ExportTraceServiceRequest] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            brought.put(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", brought
        finally:
            server.shutdown()
            thread.join()


def test_spans_arrive_at_a_collector(
    mongodb_uri: str,
    database_name: str,
    tmp_path: Path,
    collector: tuple[str, "Queue[ExportTraceServiceRequest]"],
) -> None:
    address, brought = collector
    environment = {
        **os.environ,
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DATABASE": database_name,
        "COURSEGRAPH_CACHE_DIR": str(tmp_path),
        "COURSEGRAPH_TRACES": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
    }
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            line = next(line for line in started.stderr if "listening on " in line)
            url = line.split("listening on ")[1].strip()
            assert httpx.get(f"{url}/recommendations/ada", timeout=30).status_code == 200
            started.terminate()
            started.communicate(timeout=20)
        finally:
            started.kill()
    (sent,) = brought.get(timeout=20).resource_spans  # sent when the process ended, at the latest
    service = {attribute.key: attribute.value.string_value for attribute in sent.resource.attributes}["service.name"]
    assert service == "coursegraph-api"
    found = {span.name: span for scope in sent.scope_spans for span in scope.spans}
    request = found.pop("GET /recommendations/{user_id}")
    assert set(found) >= {"find interactions"}
    assert {span.parent_span_id for span in found.values()} == {request.span_id}
    told = {attribute.key: attribute.value.string_value for attribute in found["find interactions"].attributes}
    assert told["db.operation.name"] == "find"
    assert not any("ada" in str(span) for span in found.values())
