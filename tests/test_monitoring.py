"""Dashboard and alerts ask for metrics that the processes have."""

import json
import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from app.telemetry.metrics import Metrics, WorkerMetrics

MONITORING = Path(__file__).parents[1] / "scripts" / "monitoring"
NAME = re.compile(r"\b(?:coursegraph|process)_[a-z_]+\b")


def names_of(registry: CollectorRegistry) -> set[str]:
    """Every name that a query may use, for metrics without samples too."""
    found = set()
    for family in registry.collect():
        found.add(family.name)
        found |= {sample.name for sample in family.samples}
        found |= {f"{family.name}_{end}" for end in ("total", "bucket", "sum", "count")}
    return found


def known() -> set[str]:
    metrics, worker = Metrics(), WorkerMetrics()
    metrics.count_request("GET", "/popular", 200, 0.1)
    return names_of(metrics.registry) | names_of(worker.registry)


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads((MONITORING / "grafana" / "coursegraph.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= 16
    asked = {name for query in queries for name in NAME.findall(query)}
    assert asked <= known()
    ours = {name for name in known() if name.startswith("coursegraph_")}
    families = {name.removesuffix("_total").removesuffix("_bucket") for name in asked}
    stages = ("http_requests", "http_request_duration_seconds", "recommendations", "rows", "change_stream_lag_seconds")
    assert {f"coursegraph_{name}" for name in stages} <= families & ours


def test_alerts_ask_for_what_there_is() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert set(NAME.findall(rule["expr"])) <= known(), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")
