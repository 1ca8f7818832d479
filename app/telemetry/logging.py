"""Log lines for people (`text`) or for collectors (`json`), each with the id of the request it belongs to."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# What every record carries; all else was given as `extra=` and is logged as a field.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def configure_logging(level: str, format_: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Send all logging of this process to ``stream`` (default: stderr) and nowhere else; may be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # The driver tells of each heartbeat at debug level, which would bury our own lines.
    for name in ("pymongo", "asyncio", "sse_starlette"):
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))


class TextFormatter(logging.Formatter):
    """``10:00:00.123 INFO    app.api.live: model m-000012 is served (seconds=0.2) [request 7f..]``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = ", ".join(f"{key}={value}" for key, value in _extra(record).items())
        current = request_id.get()
        line = f"{time} {record.levelname:<7} {record.name}: {record.getMessage()}"
        line += f" ({fields})" if fields else ""
        line += f" [request {current}]" if current else ""
        trace = _traceback(self, record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, exception and the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """A line that holds no line break."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if current := request_id.get():
            document["request_id"] = current
        if trace := _traceback(self, record):
            document["exception"] = trace
        return json.dumps(document, default=str, ensure_ascii=False)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""
