"""The benchmark compares like with like."""

from pathlib import Path

import pytest

from scripts.benchmarks.training import measure_limits, time_steps
from tests.support.graphs import random_graph

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_what_is_timed_has_equal_gradients() -> None:
    graph = random_graph(n_users=300, n_items=200)
    ours, other = time_steps(graph, 1, peers=False)
    assert (ours.system, other.system) == ("CourseGraph", "torch CSR + autograd")
    assert other.error < 1e-5
    assert min(ours.step_ms, other.step_ms) > 0
    assert all(value > 0 for value in measure_limits(graph).values())


def test_peers_are_pinned_as_everything_else_is() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    wanted = (ROOT / "scripts" / "benchmarks" / "training.txt").read_text().splitlines()
    pins = [line for line in wanted if line and not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    assert next(pin for pin in pins if pin.startswith("matplotlib")) in constraints
