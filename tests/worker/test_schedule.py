import pytest

from app.worker.schedule import Policy, Schedule


def schedule(*, automatic: bool = True) -> Schedule:
    return Schedule(Policy(automatic, after_changes=10, after_seconds=100.0, quiet_seconds=5.0), now=0.0)


def test_nothing_is_due_without_a_change() -> None:
    assert schedule().seconds_until_due(now=1e9) is None


def test_enough_changes_are_due_after_a_quiet_time() -> None:
    watched = schedule()
    watched.changed(10, now=20.0)
    assert watched.seconds_until_due(now=21.0) == pytest.approx(4.0)
    assert watched.seconds_until_due(now=25.0) == 0.0


def test_a_bulk_load_is_not_trained_on_in_its_middle() -> None:
    watched = schedule()
    for second in range(50):
        watched.changed(1000, now=float(second))
        assert watched.seconds_until_due(now=float(second)) != 0.0
    assert watched.seconds_until_due(now=54.0) == 0.0


def test_data_that_never_rests_is_trained_on_all_the_same() -> None:
    watched = schedule()
    for second in range(101):
        watched.changed(1000, now=float(second))
    assert watched.seconds_until_due(now=100.0) == 0.0


def test_few_changes_wait_for_the_time() -> None:
    watched = schedule()
    watched.changed(1, now=10.0)
    assert watched.seconds_until_due(now=10.0) == pytest.approx(90.0)
    watched.ended(now=50.0)
    assert watched.seconds_until_due(now=50.0) == pytest.approx(100.0)


def test_a_snapshot_starts_the_count_anew() -> None:
    watched = schedule()
    watched.changed(100, now=10.0)
    watched.snapshot_taken(now=11.0)
    assert watched.seconds_until_due(now=1e6) is None


def test_nothing_starts_by_itself_when_switched_off() -> None:
    watched = schedule(automatic=False)
    watched.changed(10_000, now=1.0)
    assert watched.seconds_until_due(now=1e6) is None
