"""Lists of users with other edges, from the published ones, against scoring everything anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact.top_lists import with_top_lists
from app.domain.changes import ChangeBatch, InteractionChanged
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.moved import moved_list
from app.serving.options import Options
from app.serving.top_lists import TopLists
from tests.support.models import Key, light_gcn_contents, random_filter

USERS, ITEMS = [f"u{number}" for number in range(12)], [f"c{number:03}" for number in range(240)]
START = 100

changes = st.lists(
    st.tuples(st.sampled_from(ITEMS), st.sampled_from(["enroll", "dislike"]), st.booleans()), min_size=1, max_size=6
)


def keys_of(seed: int) -> set[Key]:
    """Twelve courses of each user, two more without a weight."""
    rng, types = np.random.default_rng(seed), ["enroll"] * 12 + ["drop"] * 2
    drawn = [(user, rng.choice(len(ITEMS), len(types), replace=False)) for user in USERS]
    return {(user, ITEMS[item], type_) for user, items in drawn for item, type_ in zip(items, types, strict=True)}


def make_live(seed: int, *, filtered: bool, length: int) -> LiveModel:
    item_filter = random_filter(len(ITEMS), seed) if filtered else None
    contents = light_gcn_contents(USERS, ITEMS, keys_of(seed), item_filter=item_filter)
    if length:
        contents = with_top_lists(contents, length)
    facts = [(course, CourseFacts(categories=(f"k{number % 3}",))) for number, course in enumerate(ITEMS)]
    return LiveModel(ServingIndex("m-000001", contents), Catalogue(facts, START))


@given(seed=st.integers(0, 9), filtered=st.booleans(), told=changes, length=st.sampled_from([80, 150, 240]))
def test_lists_are_those_of_all_scores(
    seed: int, filtered: bool, told: list[tuple[str, str, bool]], length: int
) -> None:
    live, anew = (make_live(seed, filtered=filtered, length=each) for each in (length, 0))
    seen = sorted((course, type_) for user, course, type_ in keys_of(seed) if user == "u0")
    gone = [seen[0], *(pair for pair in seen if pair[1] == "drop")] if seed % 2 else []
    changes = [InteractionChanged(START + 1, "u0", *pair, removed=True) for pair in gone]
    changes += [InteractionChanged(START + 1, "u0", *change) for change in told]
    for model in (live, anew):
        model.apply(ChangeBatch(tuple(changes), START + 2))
    for wanted in (Options(n=10), Options(n=20, offset=3, categories=("k1",)), Options(n=300)):
        answer, expected = live.recommend("u0", wanted), anew.recommend("u0", wanted)
        assert answer.source == expected.source
        assert [item.course_id for item in answer.items] == [item.course_id for item in expected.items]
        np.testing.assert_allclose(
            [item.score for item in answer.items], [item.score for item in expected.items], atol=1e-5
        )
        listed = [item.course_id for item in answer.items]
        assert len(set(listed)) == len(listed)
        assert not live.overlay.types_by_course("u0").keys() & set(listed)
        assert sum(item.percent for item in answer.items) == pytest.approx(100)
        reasons = live.explain("u0", listed)
        sums = [sum(reason.contribution for reason in own) for own in reasons]
        np.testing.assert_allclose(sums, [item.score for item in answer.items], rtol=0, atol=1e-5)
        for own in reasons:
            assert sum(abs(reason.percent) for reason in own) == pytest.approx(100)


def test_one_more_course_seldom_needs_all_scores() -> None:
    found = 0
    for seed in range(20):
        live = make_live(seed, filtered=False, length=200)
        live.apply(ChangeBatch((InteractionChanged(START + 1, "u0", "c007", "enroll", removed=False),), START + 2))
        change, taken, user = live.overlay.edge_change("u0"), live.overlay.taken("u0"), live.users.get("u0")
        published = TopLists(live.index).published(0)
        assert published is not None
        assert user is not None
        vectors = live.index.contents.user_vectors[0], user.vector
        found += moved_list(live.index, published, vectors, change, taken.rows, least=20) is not None
        # Far from where the list was made it says nothing.
        far = user.vector + 100
        assert moved_list(live.index, published, (vectors[0], far), change, taken.rows, least=20) is None
    assert found >= 15


def test_who_takes_the_rest_gets_an_empty_list() -> None:
    few = [f"c{number}" for number in range(4)]
    contents = with_top_lists(light_gcn_contents(["u0"], few, {("u0", "c0", "enroll"), ("u0", "c1", "enroll")}), 8)
    live = LiveModel(ServingIndex("m-000001", contents), Catalogue([(course, CourseFacts()) for course in few], START))
    rest = tuple(InteractionChanged(START + 1, "u0", course, "enroll", removed=False) for course in few[2:])
    live.apply(ChangeBatch(rest, START + 2))
    assert live.recommend("u0", Options()).items == []
