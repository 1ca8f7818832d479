"""OpenTelemetry traces of requests and training runs, off unless asked for; they need the extra ``otel``.

``app.store.traced`` adds their database commands.

Where spans go is said by OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and so on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

SCOPE = "coursegraph"
UNTRACED = "health/.*,metrics,page/.*,favicon.ico"  # probes, scrapes and files of the page


class Traces:
    """Spans of one process; without a provider there are none, and they cost nothing."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider

    @classmethod
    def begin(cls, process: str, exporter: "SpanExporter | None" = None) -> "Traces":
        """Export spans from here on, as service ``coursegraph-PROCESS``.  Raises MissingExtraError.

        exporter: for others than OTLP over HTTP.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "opentelemetry", "otel") from None
        named = Resource.create({"service.name": f"{SCOPE}-{process}"})
        provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
        provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        return cls(provider)

    @property
    def tracer(self) -> "Tracer | None":
        """What makes spans, if any are made."""
        return None if self._provider is None else self._provider.get_tracer(SCOPE)

    def around(self, app: Any) -> Any:
        """The ASGI application with a span round each request, named by its route."""
        if self._provider is None:
            return app
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415
        from opentelemetry.util.http import parse_excluded_urls  # noqa: PLC0415

        return OpenTelemetryMiddleware(
            _named(app),
            tracer_provider=self._provider,
            excluded_urls=parse_excluded_urls(UNTRACED),
            default_span_details=lambda scope: (scope.get("method", "HTTP"), {}),
            exclude_spans=["receive", "send"],
        )

    @contextmanager
    def span(self, name: str, **attributes: str) -> Iterator[Callable[[str, str], None]]:
        """A span round the block, which may note more of it; an error that leaves it is noted."""
        if self.tracer is None:
            yield lambda _, __: None
            return
        known = {f"{SCOPE}.{key}": value for key, value in attributes.items()}
        with self.tracer.start_as_current_span(name, attributes=known) as span:
            yield lambda key, value: span.set_attribute(f"{SCOPE}.{key}", value)

    def end(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def _named(app: Any) -> Any:
    """Names the span after the route once that is known: paths hold ids, and would be as many names."""
    from opentelemetry import trace  # noqa: PLC0415

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        async def send_named(message: Any) -> None:  # the span ends with the last part of the answer
            route = getattr(scope.get("route"), "path", None)
            if route is not None and message["type"] == "http.response.start":
                span = trace.get_current_span()
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            await send(message)

        await app(scope, receive, send_named if scope["type"] == "http" else send)

    return handle
