"""Ranked lists against a computation that looks at every course and knows no arrays."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact.top_lists import with_top_lists
from app.domain.changes import ChangeBatch, CourseChanged, InteractionChanged, UserChanged
from app.domain.courses import CourseFacts
from app.serving.catalogue import Catalogue
from app.serving.current import CurrentIndex
from app.serving.index import ServingIndex
from app.serving.lists import rank_popular
from app.serving.live import LiveModel
from app.serving.options import Options, RankedList
from tests.support.models import TYPES, WEIGHTS, Key, dense_filter, light_gcn_contents, make_contents

USERS, ITEMS = ["u0", "u1", "u2"], [f"c{number}" for number in range(6)]
NEW, LABELS = ["a-new", "z-new"], ["art", "law"]
START = 100

some_labels = st.lists(st.sampled_from(LABELS), unique=True).map(tuple)
facts = st.builds(
    CourseFacts,
    categories=some_labels,
    tags=some_labels,
    level=st.none() | st.sampled_from(LABELS),
    language=st.none() | st.sampled_from(LABELS),
    prerequisites=st.lists(st.sampled_from([*ITEMS, *NEW, "gone"]), max_size=2).map(tuple),
    available=st.sampled_from([True, True, True, False]),
)
wanted_labels = st.just(()) | st.lists(st.sampled_from([*LABELS, "unheard-of"]), max_size=2).map(tuple)
catalogues = st.dictionaries(st.sampled_from(ITEMS + NEW), facts)
key_sets = st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(TYPES)))
options = st.builds(
    Options,
    n=st.integers(1, 10),
    offset=st.integers(0, 4),
    categories=wanted_labels,
    tags=wanted_labels,
    levels=wanted_labels,
    languages=wanted_labels,
    include_only=st.none() | st.lists(st.sampled_from([*ITEMS, *NEW, "unknown"])).map(tuple),
    prerequisites_met=st.sampled_from([False, False, True]),
    exclude=st.lists(st.sampled_from([*ITEMS, *NEW, "unknown"])).map(tuple),
    exclude_seen=st.booleans(),
    percent_over=st.sampled_from(["recommended", "candidates"]),
    temperature=st.sampled_from([0.25, 1.0, 7.0]),
)
interaction_changes = st.builds(
    InteractionChanged,
    cluster_time=st.integers(START + 1, START + 9),
    user_id=st.sampled_from([*USERS, "met-later"]),
    course_id=st.sampled_from(ITEMS + NEW),
    type=st.sampled_from([*TYPES, "complete"]),
    removed=st.booleans(),
)


def may_be_listed(
    course: str, catalogue: dict[str, CourseFacts], seen: set[str], completed: set[str], wanted: Options
) -> bool:
    if course not in catalogue or course in seen or course in wanted.exclude:
        return False
    own = catalogue[course]
    return (
        own.available
        and (not wanted.categories or not set(own.categories).isdisjoint(wanted.categories))
        and (not wanted.tags or not set(own.tags).isdisjoint(wanted.tags))
        and (not wanted.levels or own.level in wanted.levels)
        and (not wanted.languages or own.language in wanted.languages)
        and (wanted.include_only is None or course in wanted.include_only)
        and (not wanted.prerequisites_met or completed.issuperset(own.prerequisites))
    )


def brute_force(
    keys: set[Key],
    now: set[Key],
    catalogue: dict[str, CourseFacts],
    user: str,
    forgotten: bool,
    wanted: Options,
    seed: int,
) -> tuple[str, list[tuple[str, float, float, int]]]:
    contents = make_contents(USERS, ITEMS, keys, seed=seed)
    has_edge = any(key[0] == user and WEIGHTS[key[2]] > 0 for key in keys)
    if has_edge and not forgotten:
        vector = contents.user_vectors[USERS.index(user)]
        edges = [
            ITEMS.index(c)
            for c in {key[1] for key in now if key[0] == user and WEIGHTS.get(key[2], 1.0) > 0} & set(ITEMS)
        ]
        added = dense_filter(contents)[edges].sum(axis=0)
        scores = {c: float(sum(vector * contents.item_vectors[row]) + added[row]) for row, c in enumerate(ITEMS)}
        source = "model"
    else:
        takers = {c: {key[0] for key in keys if key[1] == c and WEIGHTS[key[2]] > 0} for c in ITEMS + NEW}
        scores = {course: math.log(1 + len(takers[course])) for course in ITEMS + NEW}
        source = "popular"
    seen = {course for u, course, _ in now if u == user} if wanted.exclude_seen else set()
    completed = {course for u, course, type_ in now if u == user and type_ == "complete"}
    candidates = [course for course in scores if may_be_listed(course, catalogue, seen, completed, wanted)]
    best = sorted(candidates, key=lambda course: -scores[course])  # stable: ties in the order of rows
    listed = best[wanted.offset : wanted.offset + wanted.n]
    over = candidates if wanted.percent_over == "candidates" else listed
    total = sum(math.exp(scores[course] / wanted.temperature) for course in over)
    return (
        source,
        [
            (course, scores[course], 100 * math.exp(scores[course] / wanted.temperature) / total, rank)
            for rank, course in enumerate(listed, wanted.offset + 1)
        ],
    )


def check(answer: RankedList, source: str, expected: list[tuple[str, float, float, int]]) -> None:
    assert answer.source == source
    assert [(item.course_id, item.rank) for item in answer.items] == [(course, rank) for course, _, _, rank in expected]
    np.testing.assert_allclose([item.score for item in answer.items], [score for _, score, _, _ in expected], atol=1e-6)
    np.testing.assert_allclose([item.percent for item in answer.items], [share for _, _, share, _ in expected])


@given(
    keys=key_sets,
    catalogue=catalogues,
    changes=st.lists(interaction_changes),
    deleted=st.sets(st.sampled_from(USERS), max_size=1),
    wanted=options,
    user=st.sampled_from([*USERS, "met-later", "never-met"]),
    seed=st.integers(0, 50),
    local=st.booleans(),
    published=st.sampled_from([0, 0, 1, 3, 20]),
)
def test_every_answer_is_the_brute_force_one(
    keys: set[Key],
    catalogue: dict[str, CourseFacts],
    changes: list[InteractionChanged],
    deleted: set[str],
    wanted: Options,
    user: str,
    seed: int,
    local: bool,
    published: int,
) -> None:
    contents = make_contents(USERS, ITEMS, keys, seed=seed)
    if published:
        contents = with_top_lists(contents, published)
    current = CurrentIndex(Catalogue(catalogue.items(), START))
    current.swap(LiveModel(ServingIndex("m-000001", contents), current.catalogue))
    now = {key for key in keys if key[0] not in deleted}
    told: list[InteractionChanged | UserChanged] = [UserChanged(START + 1, id_, removed=True) for id_ in deleted]
    for change in sorted(changes, key=lambda change: change.cluster_time):
        key = change.user_id, change.course_id, change.type
        now = now - {key} if change.removed else now | {key}
        told.append(change)
    if local:
        current.apply_local(told)
    else:
        current.apply(ChangeBatch(tuple(told), START + 9))
    assert current.model is not None
    answer = current.model.recommend(user, wanted)
    assert current.model.recommend(user, wanted) == answer  # from what was kept of the first
    assert next(current.model.recommend_many([user], wanted)) == answer
    check(answer, *brute_force(keys, now, catalogue, user, user in deleted, wanted, seed))
    ids = [item.course_id for item in answer.items]
    assert len(set(ids)) == len(ids)
    if wanted.percent_over == "recommended" and ids:
        assert sum(item.percent for item in answer.items) == pytest.approx(100)


@given(keys=key_sets, catalogue=catalogues, wanted=options, user=st.sampled_from([*USERS, "x"]), size=st.integers(1, 3))
def test_pages_tile_the_list(
    keys: set[Key], catalogue: dict[str, CourseFacts], wanted: Options, user: str, size: int
) -> None:
    live = LiveModel(ServingIndex("m-000001", make_contents(USERS, ITEMS, keys)), Catalogue(catalogue.items()))
    whole = live.recommend(user, replace(wanted, n=100, offset=0))
    pages = [live.recommend(user, replace(wanted, n=size, offset=start)) for start in range(0, 10, size)]
    tiled = [item for page in pages for item in page.items]
    assert [item[:2] + item[3:] for item in tiled] == [item[:2] + item[3:] for item in whole.items]
    assert len(tiled) == len(whole.items)
    if wanted.percent_over == "candidates":
        np.testing.assert_allclose([item.percent for item in tiled], [item.percent for item in whole.items])
        if tiled:
            assert sum(item.percent for item in tiled) == pytest.approx(100)


@given(
    catalogue=catalogues,
    counts=st.dictionaries(st.sampled_from([*ITEMS, *NEW, "deleted"]), st.integers(1, 5)),
    seen=st.sets(st.sampled_from([*ITEMS, "deleted"])),
    wanted=options,
)
def test_before_the_first_model(
    catalogue: dict[str, CourseFacts], counts: dict[str, int], seen: set[str], wanted: Options
) -> None:
    completed = set(sorted(seen)[::2])
    answer = rank_popular(Catalogue(catalogue.items()), counts, seen, wanted, completed)
    left_out = seen if wanted.exclude_seen else set()
    candidates = [
        course for course in sorted(catalogue) if may_be_listed(course, catalogue, left_out, completed, wanted)
    ]
    expected = sorted(candidates, key=lambda course: -counts.get(course, 0))[wanted.offset : wanted.offset + wanted.n]
    assert [item.course_id for item in answer.items] == expected
    assert (answer.model_id, answer.source) == (None, "popular")
    over = candidates if wanted.percent_over == "candidates" else expected
    if wanted.temperature == 1.0:
        total = sum(counts.get(course, 0) + 1 for course in over)
        shares = [100 * (counts.get(course, 0) + 1) / total for course in expected]
        np.testing.assert_allclose([item.percent for item in answer.items], shares)


class TestManyCourses:
    """What needs more courses than a property test has."""

    ITEMS = tuple(f"c{number:03}" for number in range(700))

    def live(self, length: int = 0) -> LiveModel:
        keys = {("u0", "c001", "enroll"), ("u1", "c002", "enroll"), ("u2", "c002", "like")}
        contents = light_gcn_contents(USERS, self.ITEMS, keys)
        if length:
            contents = with_top_lists(contents, length)
        labels = [CourseFacts(categories=(f"k{row % 50}",)) for row in range(700)]
        return LiveModel(ServingIndex("m-000001", contents), Catalogue(zip(self.ITEMS, labels, strict=True), START))

    @pytest.mark.parametrize("length", [0, 5, 50])
    def test_kept_and_published_lists_and_scoring_anew_agree(self, length: int) -> None:
        live = self.live(length)
        whole = live.recommend("u0", Options(n=1000))
        for wanted in (Options(n=3), Options(n=40, offset=7), Options(n=150), Options(n=20, exclude=("c003", "c009"))):
            rest = [item.course_id for item in whole.items if item.course_id not in wanted.exclude]
            found = [item.course_id for item in live.recommend("u0", wanted).items]
            assert found == rest[wanted.offset : wanted.offset + wanted.n]
        few = live.recommend("u0", Options(n=10, categories=("k1", "k4")))
        rest = [item.course_id for item in whole.items if int(item.course_id[1:]) % 50 in {1, 4}]
        assert [item.course_id for item in few.items] == rest[:10]
        all_of_them = live.recommend("u0", Options(n=40, categories=("k1", "k4")))  # but c001, which was taken
        assert [item.course_id for item in all_of_them.items] == rest
        taken_too = live.recommend("u0", Options(n=40, categories=("k1", "k4"), exclude_seen=False))
        assert {item.course_id for item in taken_too.items} == {*rest, "c001"}

    def test_pages_of_a_diverse_list_tile_it(self) -> None:
        live = self.live()
        whole = live.recommend("u0", Options(n=1000, diversity=0.5))
        pages = [live.recommend("u0", Options(n=90, offset=start, diversity=0.5)) for start in range(0, 720, 90)]
        assert [item.course_id for page in pages for item in page.items] == [item.course_id for item in whole.items]
        assert len(whole.items) == 699

    def test_blocks_of_users(self) -> None:
        live, user_ids = self.live(), [*USERS, "unknown"] * 600  # more than a block
        wanted = Options(n=5, percent_over="candidates")
        expected = {user_id: live.recommend(user_id, wanted) for user_id in set(user_ids)}
        for user_id, answer in zip(user_ids, live.recommend_many(user_ids, wanted), strict=True):
            assert (answer.source, answer.model_id) == (expected[user_id].source, expected[user_id].model_id)
            assert [item.course_id for item in answer.items] == [item.course_id for item in expected[user_id].items]
        assert list(live.recommend_many([], wanted)) == []


class TestSwap:
    """One model gives way to the next."""

    def index(self, model_id: str = "m-000002", time: int = START) -> ServingIndex:
        keys = {("u0", "c0", "enroll")}
        return ServingIndex(model_id, make_contents(USERS, ITEMS, keys, seed=len(model_id), time=time))

    def added(self, time: int, course: str) -> InteractionChanged:
        return InteractionChanged(time, "u0", course, "enroll", removed=False)

    @pytest.fixture
    def current(self) -> CurrentIndex:
        current = CurrentIndex(Catalogue([(course, CourseFacts()) for course in ITEMS], START))
        current.swap(LiveModel(self.index("m-000001"), current.catalogue))
        return current

    def listed(self, model: LiveModel | None) -> set[str]:
        assert model is not None
        return {item.course_id for item in model.recommend("u0", Options(n=100)).items}

    def test_a_request_in_flight_keeps_its_model(self, current: CurrentIndex) -> None:
        model = current.model
        current.swap(LiveModel(self.index(), current.catalogue))
        assert model is not None
        assert model.recommend("u0", Options()).model_id == "m-000001"
        assert current.model is not None
        assert current.model.recommend("u0", Options()).model_id == "m-000002"

    def test_own_writes_that_the_stream_has_not_told_go_along(self, current: CurrentIndex) -> None:
        current.apply_local([self.added(105, "c1")])
        current.swap(LiveModel(self.index(), current.catalogue))
        assert self.listed(current.model) == {"c2", "c3", "c4", "c5"}

    def test_also_those_from_before_the_first_model(self) -> None:
        current = CurrentIndex(Catalogue([(course, CourseFacts()) for course in ITEMS], START))
        current.apply_local([self.added(105, "c1")])
        current.swap(LiveModel(self.index(), current.catalogue))
        assert self.listed(current.model) == {"c2", "c3", "c4", "c5"}

    def test_a_model_that_has_not_caught_up_waits(self, current: CurrentIndex) -> None:
        batch = ChangeBatch((self.added(105, "c1"),), 105)
        current.apply(batch)
        late = LiveModel(self.index(), current.catalogue)
        with pytest.raises(ValueError, match="come to 100; wanted at least 105"):
            current.swap(late)
        late.apply(batch)
        current.swap(late)
        assert self.listed(current.model) == {"c2", "c3", "c4", "c5"}

    def test_news_that_are_told_again_after_the_swap(self, current: CurrentIndex) -> None:
        ahead = LiveModel(self.index(), current.catalogue)
        removed = InteractionChanged(106, "u0", "c1", "enroll", removed=True)
        ahead.apply(ChangeBatch((self.added(105, "c1"), removed), 106))
        current.swap(ahead)
        current.apply(ChangeBatch((self.added(105, "c1"),), 105))
        assert "c1" in self.listed(current.model)

    def test_local_writes_are_let_go(self, current: CurrentIndex) -> None:
        current.apply_local([self.added(105, "c1"), CourseChanged(105, "c2", None)])
        current.apply(ChangeBatch((), 104))
        assert self.listed(current.model) == {"c3", "c4", "c5"}
        current.apply(ChangeBatch((), 105))  # the stream has passed and told nothing of the kind
        assert self.listed(current.model) == {"c1", "c2", "c3", "c4", "c5"}
