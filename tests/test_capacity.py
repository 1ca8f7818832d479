"""`scripts/capacity`: what it says of the points that were measured, and of sizes that were not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scripts.planning.capacity import POINTS, USED, WANTED_ERROR, errors, least_hosts, main, model_without
from scripts.planning.model import GIB, SOCKET_SECONDS, Fitted, Size, fitted, traffic_seconds

MEASURED = json.loads(POINTS.read_text())
BILLION = Size(50_000_000, 100_000, 10**9, 64, 3, 5_000_000, 1)


@pytest.fixture(scope="module")
def model() -> Fitted:
    return fitted(MEASURED)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_every_measured_point_is_within_what_is_wanted(model: Fitted) -> None:
    found = {json.dumps(point): errors(model, point) for point in MEASURED}
    assert {p: e for p, e in found.items() if max(map(abs, e.values())) > WANTED_ERROR} == {}
    sizes = [Size.of_point(point) for point in MEASURED]
    assert {1, 2, 4} <= {size.ranks for size in sizes}
    assert min(size.edges for size in sizes) < 2e5
    assert max(size.edges for size in sizes) > 9e6


def test_a_model_that_is_one_is_found(model: Fitted) -> None:
    made = []
    for point in MEASURED:
        size = Size.of_point(point)
        seconds = model.step_seconds(size, int(point["cores"]))
        first, other = (model.memory_bytes(size, first=is_first) for is_first in (True, False))
        made.append(point | {"seconds": seconds, "first_bytes": first, "other_bytes": other if size.ranks > 1 else 0})
    again = fitted(made)
    assert again.core_seconds(BILLION) == pytest.approx(model.core_seconds(BILLION), rel=1e-4)
    assert again.memory_bytes(BILLION, first=True) == pytest.approx(model.memory_bytes(BILLION, first=True), rel=1e-4)


def test_bytes_are_counted() -> None:
    for point in MEASURED:
        assert Size.of_point(point).summed_bytes == point["formula"]
        assert point["bytes"] == pytest.approx(point["formula"], rel=1e-3)


def test_more_ranks_need_less_each_and_the_traffic_grows(model: Fitted) -> None:
    many = [replace(BILLION, ranks=ranks) for ranks in (1, 2, 4, 8, 64)]
    memory = [model.memory_bytes(size, first=False) for size in many]
    assert memory == sorted(memory, reverse=True)
    seconds = [traffic_seconds(size, size.ranks, 25e9) for size in many]
    assert seconds[0] == 0
    assert seconds == sorted(seconds)
    ring = 2 * 7 / 8 * many[3].summed_bytes * (8 / 25e9 + SOCKET_SECONDS)
    assert seconds[3] > ring > 0.9 * traffic_seconds(many[3], 8, 25e9) - 0.05


def test_as_few_hosts_as_have_room(model: Fitted) -> None:
    hosts = least_hosts(model, BILLION, 128.0)
    assert hosts is not None
    for ranks, fits in ((hosts, True), (hosts - 1, False)):
        if ranks:
            assert (model.memory_bytes(replace(BILLION, ranks=ranks), first=False) / GIB < USED * 128) is fits
    assert least_hosts(model, BILLION, 0.5) is None


def test_what_is_printed() -> None:
    said = run().output
    assert f"{len(MEASURED)} measured points" in said
    assert all(f"{edges} " in said for edges in ("1e+08", "1e+09", "1e+10"))
    assert "GPU" not in said
    assert "NOT MEASURED" in run("--gpu", "h100", "--edges", "1e9").output
    one = run("--edges", "1e9", "--machine", "64,16,10", "--hosts", "8").output
    assert "machines of 64 GiB, 16 cores, 10 Gb/s" in one
    points, held_out = run("--points"), run("--held-out")
    assert (points.exit_code, held_out.exit_code) == (0, 0)
    assert f"{len(MEASURED)} of {len(MEASURED)} points within 25%" in points.output
    assert f" of {len(MEASURED)} points within 25%" in held_out.output


def test_a_point_that_is_held_out_was_not_seen() -> None:
    wrong = [*MEASURED[:3], MEASURED[3] | {"seconds": 1e3, "first_bytes": 1e15}, *MEASURED[4:]]
    for coefficients in ("work", "memory"):
        found, expected = (getattr(model_without(points, 3), coefficients) for points in (wrong, MEASURED))
        np.testing.assert_array_equal(found, expected)
        assert not np.array_equal(getattr(model_without(wrong, 4), coefficients), expected)


@pytest.mark.parametrize("machine", ["64", "64,16", "a,b,c", "0,1,1", "1,1,1,1"])
def test_a_machine_that_is_none_is_refused(machine: str) -> None:
    done = run("--machine", machine)
    assert done.exit_code == 2
    assert f"--machine has value '{machine}'; wanted" in done.output


def test_no_coefficient_is_below_zero(model: Fitted) -> None:
    assert (np.concatenate([model.work, model.memory]) >= 0).all()
