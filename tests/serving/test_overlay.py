"""The overlay against the plain set of interactions that are stored."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.changes import InteractionChanged, UserChanged
from app.serving.index import ServingIndex
from app.serving.listing import ListingReader, overlay_from_listing
from app.serving.overlay import Overlay
from tests.support.models import TYPES, Key, make_contents

USERS, ITEMS = ["u0", "u1"], ["c0", "c1", "c2"]
ALL_USERS, ALL_ITEMS = [*USERS, "met-later"], [*ITEMS, "new"]
ALL_TYPES = [*TYPES, "newtype"]
START = 100  # cluster time of the snapshot

Event = InteractionChanged | UserChanged

base_keys = st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(TYPES)))
all_keys = st.tuples(st.sampled_from(ALL_USERS), st.sampled_from(ALL_ITEMS), st.sampled_from(ALL_TYPES))


def index_of(keys: set[Key]) -> ServingIndex:
    return ServingIndex("m-000001", make_contents(USERS, ITEMS, keys, time=START))


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Changes in the order in which they happened."""
    events: list[Event] = []
    for time in range(START + 1, START + 1 + draw(st.integers(0, 12))):
        if draw(st.integers(0, 5)) == 0:
            events.append(UserChanged(time, draw(st.sampled_from(ALL_USERS)), removed=draw(st.booleans())))
        else:
            events.append(InteractionChanged(time, *draw(all_keys), removed=draw(st.booleans())))
    return events


def happen(state: set[Key], event: Event) -> set[Key]:
    """What is stored after the event."""
    if isinstance(event, UserChanged):
        return {key for key in state if not (event.removed and key[0] == event.user_id)}
    key = event.user_id, event.course_id, event.type
    return state - {key} if event.removed else state | {key}


def told(overlay: Overlay) -> set[Key]:
    """All that the overlay says is there; its two ways of saying so must agree."""
    state = set()
    for user in ALL_USERS:
        types = overlay.types_by_course(user)
        for course, bits in types.items():
            state |= {(user, course, type_) for type_ in ALL_TYPES if bits >> overlay.bit(type_) & 1}
        taken = overlay.taken(user)
        assert [ITEMS[row] for row in taken.rows] == sorted(set(types) & set(ITEMS))
        assert taken.others == set(types) - set(ITEMS)
    return state


@given(base_keys, histories(), st.integers(1, 4))
def test_the_stream_gives_the_stored_state(base: set[Key], history: Sequence[Event], batch: int) -> None:
    overlay, state = Overlay(index_of(base)), base
    for number, event in enumerate(history, 1):
        state = happen(state, event)
        overlay.apply(event)
        if number % batch == 0:
            overlay.advance(event.cluster_time - 1)  # as the store does after events
        assert told(overlay) == state


@given(base_keys, histories(), st.integers(0, 12))
def test_replaying_changes_nothing(base: set[Key], history: Sequence[Event], n_missed: int) -> None:
    """The snapshot may have read changes that come after its time; they are told all the same."""
    state = base
    for event in history:
        state = happen(state, event)
    once = Overlay(index_of(base))
    for event in [*history, *history]:
        once.apply(event)
    assert told(once) == state
    seen_by_snapshot = base
    for event in history[:n_missed]:
        seen_by_snapshot = happen(seen_by_snapshot, event)
    known = {key for key in seen_by_snapshot if key[0] in USERS and key[1] in ITEMS and key[2] in TYPES}
    later = Overlay(index_of(known))
    for event in history:
        later.apply(event)
    assert told(later) == state


def test_what_was_told_before_is_not_taken_for_news() -> None:
    overlay = Overlay(index_of(set()))
    overlay.apply(InteractionChanged(101, "u0", "c0", "enroll", removed=False))
    overlay.apply(InteractionChanged(102, "u0", "c0", "enroll", removed=True))
    overlay.advance(102)
    overlay.apply(InteractionChanged(101, "u0", "c0", "enroll", removed=False))
    assert told(overlay) == set()


@given(base_keys, histories(), st.data())
def test_own_writes_show_at_once_and_the_order_of_the_stream_stays(
    base: set[Key], history: Sequence[Event], data: st.DataObject
) -> None:
    """Some changes are this process's own and are told at once; the stream tells all of them some time later."""
    overlay, state = Overlay(index_of(base)), base
    last: dict[Key, bool] = {}  # whether the newest change of a key was our own
    told_until = 0
    for event in history:
        state = happen(state, event)
        own = data.draw(st.booleans())
        if own:
            overlay.apply_local(event)
        if isinstance(event, InteractionChanged):
            last[event.user_id, event.course_id, event.type] = own
        elif event.removed:
            last.update({(event.user_id, c, t): own for c in ALL_ITEMS for t in ALL_TYPES})
        deliver = data.draw(st.integers(told_until, event.cluster_time - START))
        for delivered in history[told_until:deliver]:
            overlay.apply(delivered)
        told_until = deliver
        overlay.advance(START + told_until - data.draw(st.integers(0, 1)))
        now = told(overlay)
        assert {key for key in now if last.get(key)} == {key for key in state if last.get(key)}
    for event in history[told_until:]:
        overlay.apply(event)
    overlay.advance(START + len(history))
    assert told(overlay) == state


class TestLocalWrites:
    """Scenarios by hand."""

    @pytest.fixture
    def overlay(self) -> Overlay:
        return Overlay(index_of({("u0", "c0", "enroll")}))

    def added(self, time: int, type_: str = "enroll", course: str = "c1") -> InteractionChanged:
        return InteractionChanged(time, "u0", course, type_, removed=False)

    def removed(self, time: int, type_: str = "enroll", course: str = "c1") -> InteractionChanged:
        return InteractionChanged(time, "u0", course, type_, removed=True)

    def test_post_and_delete_before_the_stream_tells_of_the_post(self, overlay: Overlay) -> None:
        overlay.apply_local(self.added(101))
        assert overlay.taken("u0").rows.tolist() == [0, 1]
        overlay.apply_local(self.removed(102))
        assert overlay.taken("u0").rows.tolist() == [0]
        overlay.apply(self.added(101))
        overlay.advance(101)
        assert overlay.taken("u0").rows.tolist() == [0]  # the late news does not bring it back
        overlay.apply(self.removed(102))
        overlay.advance(102)
        assert overlay.taken("u0").rows.tolist() == [0]

    def test_another_process_takes_back_what_this_one_wrote(self, overlay: Overlay) -> None:
        overlay.apply_local(self.added(101))
        overlay.apply(self.added(101))
        overlay.apply(self.removed(102))
        overlay.advance(102)
        assert overlay.taken("u0").rows.tolist() == [0]

    def test_a_write_within_a_batch_whose_time_is_the_end_of_the_batch(self, overlay: Overlay) -> None:
        """Another process deletes between our row and the end of our batch: its deletion is what stays."""
        overlay.apply_local(self.added(110))  # written at 101
        overlay.apply(self.added(101))
        overlay.apply(self.removed(105))
        overlay.advance(109)
        assert overlay.taken("u0").rows.tolist() == [0, 1]
        overlay.advance(110)
        assert overlay.taken("u0").rows.tolist() == [0]

    def test_an_older_write_told_late_by_this_process(self, overlay: Overlay) -> None:
        overlay.apply_local(self.removed(105))
        overlay.apply_local(self.added(101))
        assert overlay.taken("u0").rows.tolist() == [0]

    def test_one_of_two_types_is_removed(self, overlay: Overlay) -> None:
        overlay.apply_local(self.added(101, "like", "c0"))
        overlay.apply_local(self.removed(102, "enroll", "c0"))
        assert overlay.taken("u0").rows.tolist() == [0]
        overlay.apply_local(self.removed(103, "like", "c0"))
        assert overlay.taken("u0").rows.tolist() == []

    def test_a_write_that_the_stream_has_passed_is_not_held(self, overlay: Overlay) -> None:
        overlay.apply(self.added(101))
        overlay.apply(self.removed(102))
        overlay.advance(102)
        overlay.apply_local(self.added(101))
        assert overlay.taken("u0").rows.tolist() == [0]

    def test_a_user_is_deleted_and_comes_again(self, overlay: Overlay) -> None:
        overlay.apply_local(UserChanged(101, "u0", removed=True))
        assert overlay.forgotten("u0")
        assert overlay.taken("u0").rows.tolist() == []
        overlay.apply_local(self.added(103))
        assert overlay.taken("u0").rows.tolist() == [1]
        for change in (UserChanged(101, "u0", removed=True), self.removed(102, course="c0"), self.added(103)):
            overlay.apply(change)
        overlay.advance(103)
        assert overlay.taken("u0").rows.tolist() == [1]
        assert overlay.forgotten("u0")  # the vector is that of the one who left

    def test_creating_a_user_means_nothing(self, overlay: Overlay) -> None:
        overlay.apply_local(UserChanged(101, "u0", removed=False))
        overlay.apply(UserChanged(101, "u0", removed=False))
        assert not overlay.forgotten("u0")
        assert overlay.taken("u0").rows.tolist() == [0]

    def test_the_same_object_until_something_changes(self, overlay: Overlay) -> None:
        overlay.apply(self.added(101))
        taken = overlay.taken("u0")
        assert overlay.taken("u0") is taken
        overlay.apply(self.added(102, "like"))
        assert overlay.taken("u0") is not taken


@given(base_keys, st.lists(all_keys), st.integers(1, 5))
def test_a_listing_gives_the_listed_state(base: set[Key], listing: list[Key], chunk: int) -> None:
    reader = ListingReader(index_of(base))
    for start in range(0, len(listing), chunk):
        reader.add(listing[start : start + chunk])
    overlay = reader.finish(777)
    assert told(overlay) == set(listing)
    assert overlay.position == 777
    assert not any(map(overlay.forgotten, ALL_USERS))


@given(base_keys, st.sets(all_keys), st.sets(st.sampled_from(ALL_USERS)))
def test_a_listing_with_the_users_that_are_still_known(base: set[Key], listing: set[Key], users: set[str]) -> None:
    reader = ListingReader(index_of(base))
    reader.add(list(listing))
    overlay = reader.finish(START, users)
    assert told(overlay) == listing
    assert {user for user in USERS if overlay.forgotten(user)} == set(USERS) - users


@given(base_keys, base_keys, histories())
def test_changes_after_a_listing(base: set[Key], listing: set[Key], history: Sequence[Event]) -> None:
    overlay, state = overlay_from_listing(index_of(base), listing, START), listing
    for event in history:
        state = happen(state, event)
        overlay.apply(event)
    assert told(overlay) == state
