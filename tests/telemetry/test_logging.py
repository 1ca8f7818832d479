import io
import json
import logging
from collections.abc import Iterator

import pytest

from app.telemetry.logging import configure_logging, request_id


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the lines go; what pytest and others had set up is put back."""
    root = logging.getLogger()
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "pymongo", "sse_starlette")
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in names}
    yield io.StringIO()
    root.handlers[:], level, levels = before
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def test_json_lines_have_fields_the_request_and_the_traceback(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    token = request_id.set("abc")
    try:
        raise ValueError("line\nbreak")
    except ValueError:
        logging.getLogger("app.x").exception("it %s", "failed", extra={"seconds": 1.5})
    finally:
        request_id.reset(token)
    logging.getLogger("app.x").debug("not shown")
    logging.getLogger("uvicorn.error").info("ünder")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("error", "app.x", "it failed")
    assert (first["seconds"], first["request_id"]) == (1.5, "abc")
    assert "ValueError: line" in first["exception"]
    assert (second["message"], "request_id" in second) == ("ünder", False)
    assert first["time"].endswith("+00:00")


def test_text_lines(stream: io.StringIO) -> None:
    configure_logging("warning", "text", stream)
    configure_logging("info", "text", stream)  # once more is not twice as much
    token = request_id.set("abc")
    logging.getLogger("app.x").info("hello", extra={"status": 200})
    request_id.reset(token)
    assert stream.getvalue().endswith(" INFO    app.x: hello (status=200) [request abc]\n")
    assert len(stream.getvalue().splitlines()) == 1
