"""When the worker retrains by itself: a clock and a count, no database."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decide; all times in seconds."""

    automatic: bool
    after_changes: int
    after_seconds: float
    quiet_seconds: float


class Schedule:
    """Counts what changed since the last snapshot and says when a run is due.

    Enough changes start a run once no change came for ``quiet_seconds``, so that a bulk load is trained on once and
    not in its middle; data that never rests is trained on after ``after_seconds`` all the same, and so is any single
    change.  ``now`` is a monotonic clock in seconds.
    """

    def __init__(self, policy: Policy, *, now: float) -> None:
        self.policy = policy
        self.changes = 0
        self._last_run = now
        self._last_change = now

    def changed(self, count: int, *, now: float) -> None:
        """Count changes that the stream reported."""
        if count:
            self.changes += count
            self._last_change = now

    def snapshot_taken(self, *, now: float) -> None:
        """Begin to count anew; what changes from here on is not in the snapshot."""
        self.changes = 0
        self._last_run = now

    def ended(self, *, now: float) -> None:
        """Measure ``after_seconds`` from the end of a run."""
        self._last_run = now

    def seconds_until_due(self, *, now: float) -> float | None:
        """0 when a run is due, None when nothing changed or nothing starts by itself."""
        policy = self.policy
        if not policy.automatic or self.changes == 0:
            return None
        due = self._last_run + policy.after_seconds
        if self.changes >= policy.after_changes:
            due = min(due, self._last_change + policy.quiet_seconds)
        return max(0.0, due - now)
