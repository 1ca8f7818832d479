"""Spans of database commands, as children of the request or run that they are for; others have none.

They say which command and collection, and nothing of what is asked or found.
"""

from typing import TYPE_CHECKING

from pymongo import monitoring

from app.telemetry.traces import Traces

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


def trace_commands(traces: Traces) -> None:
    """From here on, of every client that is opened."""
    if traces.tracer is not None:
        monitoring.register(CommandSpans(traces.tracer))


class CommandSpans(monitoring.CommandListener):
    """A span from what the driver tells; it does so in the context of whoever called it."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer
        self._open: dict[int, Span] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Begin one inside a span."""
        from opentelemetry import trace  # noqa: PLC0415 - not in every installation

        if not trace.get_current_span().is_recording():
            return
        collection = event.command.get(event.command_name)
        name = f"{event.command_name} {collection}" if isinstance(collection, str) else event.command_name
        attributes = {"db.system.name": "mongodb", "db.namespace": event.database_name}
        attributes |= {"db.operation.name": event.command_name}
        self._open[event.request_id] = self._tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """End it."""
        if (span := self._open.pop(event.request_id, None)) is not None:
            span.end()

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """End it as an error, whose text may hold values and is left out."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        if (span := self._open.pop(event.request_id, None)) is not None:
            span.set_status(Status(StatusCode.ERROR))
            span.end()
