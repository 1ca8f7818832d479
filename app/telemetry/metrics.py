"""What a process counts and measures, for Prometheus; one registry a process, no globals."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds; an answer from memory takes well under a millisecond, a batch may take many seconds.
_DURATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class RequestCounts(Collector):
    """Requests by method, route and status, in plain numbers: the client's own counters take locks for each.

    Only for the thread of the event loop, in which the metrics are rendered too.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._durations: dict[tuple[str, str], list[float]] = {}  # requests in each bucket, and their seconds

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = method, route, status
        self._counts[key] = self._counts.get(key, 0) + 1
        durations = self._durations.get((method, route))
        if durations is None:
            durations = self._durations[method, route] = [0.0] * (len(_DURATION_BUCKETS) + 2)
        durations[bisect_left(_DURATION_BUCKETS, seconds)] += 1
        durations[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """A counter and a histogram."""
        requests = CounterMetricFamily(
            "coursegraph_http_requests", "Requests answered", labels=("method", "route", "status")
        )
        for (method, route, status), number in self._counts.items():
            requests.add_metric((method, route, str(status)), number)
        yield requests
        durations = HistogramMetricFamily(
            "coursegraph_http_request_duration_seconds",
            "Seconds from the request's head to the last byte of its answer",
            labels=("method", "route"),
        )
        for labels, (*buckets, seconds) in self._durations.items():
            bounds = [*map(str, _DURATION_BUCKETS), "+Inf"]
            durations.add_metric(labels, [*zip(bounds, accumulate(buckets), strict=True)], seconds)
        yield durations


class ListCounts(Collector):
    """Lists by where they came from, in plain numbers for the same reason."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        """A counter."""
        lists = CounterMetricFamily(
            "coursegraph_recommendations", "Lists answered, by where they came from", labels=("source",)
        )
        for source, number in self.counts.items():
            lists.add_metric((source,), number)
        yield lists


class Metrics:
    """The metrics of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = RequestCounts()
        self.registry.register(self._requests)
        self._lists = ListCounts()
        self.registry.register(self._lists)
        self._rows = Counter(
            "coursegraph_rows", "Rows of batches, by kind and outcome", ("kind", "outcome"), registry=self.registry
        )
        self.model = Gauge(
            "coursegraph_served_model", "1 for the model that is served", ("model_id",), registry=self.registry
        )
        self.model_failures = Counter(
            "coursegraph_model_load_failures", "Models that could not be loaded", registry=self.registry
        )
        self.model_created = Gauge(
            "coursegraph_served_model_created_timestamp_seconds",
            "When the model that is served was made, seconds since 1970; 0: there is none",
            registry=self.registry,
        )
        self.overlay_users = Gauge(
            "coursegraph_overlay_users",
            "Users of whom something changed since the snapshot of the model that is served",
            registry=self.registry,
        )
        self.database_up = Gauge(
            "coursegraph_database_up", "1 while the database answers this process", registry=self.registry
        )
        self.change_stream_lag = Gauge(
            "coursegraph_change_stream_lag_seconds",
            "Seconds since the change stream was last heard of: how old the live overlay may be",
            registry=self.registry,
        )
        self.history_lost = Counter(
            "coursegraph_change_history_lost",
            "Times the oplog no longer reached back far enough",
            registry=self.registry,
        )

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.add(method, route, status, seconds)

    def count_recommendation(self, source: str) -> None:
        """One list was answered."""
        self._lists.counts[source] = self._lists.counts.get(source, 0) + 1

    def count_rows(self, kind: str, accepted: int, rejected: int) -> None:
        """A batch of users, courses or interactions was answered."""
        self._rows.labels(kind, "accepted").inc(accepted)
        self._rows.labels(kind, "rejected").inc(rejected)

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


# Seconds of a training run: a toy takes one, a million interactions minutes.
_RUN_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


class WorkerMetrics:
    """The metrics of one worker process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.leads = Gauge("coursegraph_lease_held", "1 while this worker holds the lease", registry=self.registry)
        self.fence = Gauge("coursegraph_lease_fence", "Fence of its last lease", registry=self.registry)
        self.waiting = Gauge(
            "coursegraph_training_waiting_changes",
            "Changes since the last snapshot, as the holder of the lease counts them",
            registry=self.registry,
        )
        self._runs = Counter(
            "coursegraph_training_runs", "Training runs that ended, by how", ("status",), registry=self.registry
        )
        self._durations = Histogram(
            "coursegraph_training_run_duration_seconds",
            "From the start of a run to its end",
            buckets=_RUN_BUCKETS,
            registry=self.registry,
        )
        self.last_success = Gauge(
            "coursegraph_training_last_success_timestamp_seconds",
            "When this worker last published a model, seconds since 1970; 0: never",
            registry=self.registry,
        )

    def count_run(self, status: str, seconds: float) -> None:
        """A run ended."""
        self._runs.labels(status).inc()
        self._durations.observe(seconds)
        if status == "succeeded":
            self.last_success.set_to_current_time()

    def serve(self, host: str, port: int) -> None:
        """Answer Prometheus in a thread of its own, to the end of the process.  Raises OSError."""
        start_http_server(port, host, self.registry)
