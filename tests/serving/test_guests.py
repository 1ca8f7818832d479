"""Users whom a replica does not hold: what is known of them, against what is stored."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.changes import ChangeBatch, InteractionChanged, UserChanged
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue
from app.serving.guests import Guests
from app.serving.index import ServingIndex
from app.serving.listing import ListingReader
from app.serving.live import LiveModel
from app.serving.options import Options
from app.serving.overlay import Overlay, Reading
from app.serving.users import UserVectors
from tests.serving.test_overlay import (
    ALL_ITEMS,
    ALL_TYPES,
    ALL_USERS,
    ITEMS,
    START,
    USERS,
    Event,
    base_keys,
    happen,
    histories,
)
from tests.support.models import Key, holding, light_gcn_contents, make_contents

HELD = 1  # of USERS


def overlay_of(keys: set[Key], held: int = HELD) -> Overlay:
    return Overlay(ServingIndex("m-000001", holding(make_contents(USERS, ITEMS, keys, time=START), held)))


def told_of(overlay: Overlay, user_id: str) -> set[Key]:
    """What the overlay knows of a user who is not absent."""
    types = overlay.types_by_course(user_id)
    taken = overlay.taken(user_id)
    assert {ITEMS[row] for row in taken.rows.tolist()} | taken.others == set(types)
    bits = {name: overlay.bit(name) for name in ALL_TYPES}
    return {(user_id, course, name) for course, has in types.items() for name, bit in bits.items() if has >> bit & 1}


def read(state: Iterable[Key], reading: Reading) -> Mapping[str, list[tuple[str, str]]]:
    """As the store reads it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for user_id, course_id, type_ in sorted(state):
        if user_id in reading.user_ids:
            found.setdefault(user_id, []).append((course_id, type_))
    return found


class Going(NamedTuple):
    """A reading that has begun."""

    context: AbstractContextManager[Reading]
    reading: Reading


@given(base_keys, histories(), st.integers(1, 3), st.data())
def test_of_whoever_is_known_all_is_known(
    base: set[Key], history: Sequence[Event], kept: int, data: st.DataObject
) -> None:
    """The stream is late, some changes are told at once, and reads take their time and come from any moment since."""
    overlay = overlay_of(base)
    guests = Guests(overlay, UserVectors(overlay.index, overlay), kept=kept)
    states, told_until, going = [base], 0, list[Going]()
    own: dict[Key, bool] = {}  # whether the newest change of a key was told at once

    def end(one: Going) -> None:
        since = max(one.reading.since - START, 0)
        at = data.draw(st.integers(min(since, len(states) - 1), len(states) - 1))
        guests.meet(one.reading, read(states[at], one.reading), one.reading.user_ids)
        assert guests.absent(one.reading.user_ids) == []
        one.context.__exit__(None, None, None)

    def check() -> None:
        for user_id in set(ALL_USERS).difference(guests.absent(ALL_USERS)):
            now = told_of(overlay, user_id)
            for key in [(user_id, course, type_) for course in ALL_ITEMS for type_ in ALL_TYPES]:
                since = len(states) - 1 if own.get(key) else told_until
                assert (key in now) in {key in state for state in states[since:]}

    for event in history:
        states.append(happen(states[-1], event))
        told_at_once = data.draw(st.booleans())
        if told_at_once:
            overlay.apply_local(event)
        if isinstance(event, InteractionChanged):
            own[event.user_id, event.course_id, event.type] = told_at_once
        elif event.removed:
            own.update({(event.user_id, c, t): told_at_once for c in ALL_ITEMS for t in ALL_TYPES})
        deliver = data.draw(st.integers(told_until, event.cluster_time - START))
        for delivered in history[told_until:deliver]:
            overlay.apply(delivered)
        told_until = deliver
        overlay.advance(START + told_until - data.draw(st.integers(0, 1)))
        check()
        is_time: bool = data.draw(st.booleans())
        if going and is_time:
            end(going.pop(0))
            check()
        if absent := guests.absent(data.draw(st.lists(st.sampled_from(ALL_USERS), unique=True))):
            context = guests.reading(absent)
            going.append(Going(context, context.__enter__()))
    for one in going:
        end(one)
        check()
    assert len(guests) <= max(kept, len(ALL_USERS) - HELD)
    for delivered in history[told_until:]:
        overlay.apply(delivered)
    overlay.advance(START + len(history))
    told_until = len(history)
    own.clear()
    check()


def test_nothing_is_said_of_somebody_absent() -> None:
    overlay = overlay_of({("u1", "c0", "enroll")})
    overlay.apply(InteractionChanged(START + 1, "u1", "c1", "enroll", removed=False))
    overlay.apply_local(InteractionChanged(START + 2, "u1", "c2", "enroll", removed=False))
    assert overlay.absent(["u0", "u1", "met-later"]) == ["u1", "met-later"]
    assert not overlay.touched("u1")
    for ask in (overlay.taken, overlay.types_by_course, overlay.edges):
        with pytest.raises(LookupError, match="u1"):
            ask("u1")
    with overlay.reading(["u1"]) as reading:
        assert reading.since == START + 2  # what was passed over is in what is read
    whole = Overlay(ServingIndex("m-000001", make_contents(USERS, ITEMS, set(), time=START)))
    assert whole.absent(["met-later"]) == []


def test_a_read_that_fails_leaves_nothing_behind() -> None:
    overlay = overlay_of(set())
    with pytest.raises(TimeoutError), overlay.reading(["u1"]) as reading:
        raise TimeoutError
    overlay.apply(InteractionChanged(START + 1, "u1", "c1", "enroll", removed=False))
    assert reading.told == []
    assert overlay.absent(["u1"]) == ["u1"]


def meet(guests: Guests, keys: Iterable[Key], user_ids: Sequence[str], wanted: Sequence[str] = ()) -> None:
    with guests.reading(guests.absent(user_ids)) as reading:
        guests.meet(reading, read(keys, reading), wanted)


def test_as_many_are_kept_as_there_is_room_for() -> None:
    overlay = overlay_of(set(), held=0)
    guests = Guests(overlay, UserVectors(overlay.index, overlay), kept=3, kept_pairs=6)
    people = [f"p{number}" for number in range(6)]
    keys = {(user_id, course, "enroll") for user_id in people for course in ITEMS[:2]}
    for user_id in people[:4]:
        meet(guests, keys, [user_id])
    assert guests.absent(people) == ["p0", "p4", "p5"]
    meet(guests, keys, ["p4"], wanted=["p1", "p4"])
    assert guests.absent(people) == ["p0", "p2", "p5"]
    meet(guests, keys, people, wanted=people)  # one request may need more than there is room for
    assert guests.absent(people) == []
    meet(guests, keys, ["q"])
    assert guests.absent(["q"]) == []
    assert len(guests) == 3
    overlay.forget("q")
    meet(guests, keys | {("r", "c0", "enroll"), ("r", "c1", "like"), ("r", "c2", "drop")}, ["r", "s", "t"])
    assert guests.absent(["q"]) == []  # of the deleted it remains known
    assert overlay.forgotten("q")
    meet(guests, {(f"x{number}", f"n{course}", "enroll") for number in range(2) for course in range(5)}, ["x0", "x1"])
    assert len(guests) == 2


def test_lists_of_guests_are_those_of_somebody_met_after_training() -> None:
    people, items = [f"p{number}" for number in range(6)], [f"c{number}" for number in range(12)]
    rng = np.random.default_rng(5)
    keys = {(people[user], items[item], "enroll") for user, item in rng.integers(0, (6, 12), (30, 2)).tolist()}
    contents = light_gcn_contents(people, items, keys)
    catalogue = Catalogue([(id_, CourseFacts()) for id_ in items], START)
    none = LiveModel(ServingIndex("m-000001", holding(contents, 0)), catalogue)
    met_later = LiveModel(ServingIndex("m-000001", light_gcn_contents(people, items, keys)), catalogue)
    new = {user_id: f"new-{user_id}" for user_id in people}
    changes = [
        InteractionChanged(START + 1, new[user], item, type_, removed=False) for user, item, type_ in sorted(keys)
    ]
    met_later.apply(ChangeBatch(tuple(changes), START + 1))
    meet(none.guests, keys, people, people)
    for user_id in people:
        found, wanted = none.recommend(user_id, Options(n=12)), met_later.recommend(new[user_id], Options(n=12))
        assert found == wanted
        assert found.source == "fold_in"
    assert [*none.recommend_many(people, Options(n=3, diversity=0.5))]


def test_a_listing_says_nothing_of_those_who_are_not_held() -> None:
    keys = {("u0", "c0", "enroll"), ("u1", "c0", "enroll")}
    index = overlay_of(keys).index
    reader = ListingReader(index)
    reader.add([("u0", "c1", "enroll"), ("u1", "c2", "enroll"), ("later", "c2", "enroll")])
    overlay = reader.finish(START + 5, ["u0"])
    assert told_of(overlay, "u0") == {("u0", "c1", "enroll")}
    assert overlay.absent(["u0", "u1", "later"]) == ["u1", "later"]


def test_who_was_deleted_is_known_to_have_taken_nothing() -> None:
    overlay = overlay_of({("u1", "c0", "enroll")})
    overlay.apply(UserChanged(START + 1, "u1", removed=True))
    overlay.apply(InteractionChanged(START + 2, "u1", "c2", "enroll", removed=False))
    assert told_of(overlay, "u1") == {("u1", "c2", "enroll")}
    assert overlay.forgotten("u1")


def test_own_writes_while_she_is_read_stay_on_top_of_older_ones_told_later() -> None:
    overlay = overlay_of(set())
    with overlay.reading(["u1"]) as reading:
        overlay.apply_local(InteractionChanged(START + 5, "u1", "c0", "enroll", removed=False))
        overlay.meet(reading, {})
    overlay.apply(InteractionChanged(START + 3, "u1", "c0", "enroll", removed=True))
    assert told_of(overlay, "u1") == {("u1", "c0", "enroll")}
    overlay.apply(InteractionChanged(START + 5, "u1", "c0", "enroll", removed=False))
    overlay.advance(START + 5)
    assert told_of(overlay, "u1") == {("u1", "c0", "enroll")}
