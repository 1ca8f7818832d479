"""Weights that fall with age: in the graph, and in vectors and explanations afterwards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact.load import load_artifact
from app.artifact.write import write_artifact
from app.domain.changes import InteractionChanged
from app.domain.contents import ArtifactContents, data_fingerprint, recent_popularity
from app.domain.courses import CourseFacts
from app.domain.interactions import DAY_MS, LEAST_SHARE, Snapshot
from app.graph.bipartite import BipartiteGraph
from app.serving.catalogue import Catalogue
from app.serving.fold_in import known_parts, trained_edges
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from tests.support.models import DESCRIPTION, TYPES, WEIGHTS, Key, light_gcn, make_snapshot

USERS, ITEMS = ["u0", "u1", "u2"], ["c0", "c1", "c2", "c3"]
READ = 1_700_000_000  # seconds; when the snapshot was read
NEWEST = (READ - 60) * 1000
HALF_LIFE = 10.0
START = READ << 32

keys_with_ages = st.dictionaries(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(TYPES)), st.floats(0, 50), min_size=1
)


def aged(ages: dict[Key, float], *, half_life: float | None = HALF_LIFE) -> Snapshot:
    """A snapshot of interactions with ages in days; nobody's, but always there, is one of age 0."""
    ages = {**ages, ("zero", "c0", "drop"): 0.0}
    users = [*USERS, "zero"]
    snapshot = make_snapshot(users, ITEMS, ages, time=START)
    columns = snapshot.user_rows, snapshot.item_rows, snapshot.type_codes
    days = [ages[users[u], ITEMS[i], TYPES[t]] for u, i, t in zip(*columns, strict=True)]
    times = NEWEST - (np.array(days) * DAY_MS).astype(np.int64)
    return replace(snapshot, timestamps=times, half_life_days=half_life)


def contents_of(snapshot: Snapshot, n_layers: int, combination: str) -> ArtifactContents:
    layer0 = np.random.default_rng(7).normal(size=(len(USERS) + 1 + len(ITEMS), 4))
    contents = ArtifactContents.from_snapshot(snapshot, WEIGHTS, light_gcn(snapshot, layer0, n_layers, combination))
    contents.user_vectors[contents.user_degrees == 0] = 0.0  # as training leaves them
    return contents


def live_of(contents: ArtifactContents) -> LiveModel:
    return LiveModel(ServingIndex("m-000001", contents), Catalogue([(item, CourseFacts()) for item in ITEMS], START))


def tell(live: LiveModel, before: set[Key], after: set[Key]) -> None:
    for key in sorted(before ^ after):
        live.overlay.apply(InteractionChanged(START + 1, *key, removed=key in before))


def test_the_weight_is_halved_after_each_half_life() -> None:
    keys: dict[Key, float] = {(USERS[k], ITEMS[k], "like"): age for k, age in enumerate((0.0, 10.0, 30.0))}
    weights = aged(keys).edge_weights(WEIGHTS)
    np.testing.assert_allclose(weights[:3], [2.0, 1.0, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(aged(keys, half_life=None).edge_weights(WEIGHTS)[:3], [2, 2, 2])


def test_who_took_a_course_long_ago_counts_less_in_what_is_popular() -> None:
    keys: dict[Key, float] = {
        **{("u0", "c0", "like"): 20.0, ("u0", "c0", "enroll"): 10.0, ("u0", "c0", "drop"): 0.0},
        **{("u1", "c0", "enroll"): 0.0, ("u1", "c1", "drop"): 0.0, ("u2", "c2", "enroll"): 30.0},
    }
    popularity = recent_popularity(aged(keys), WEIGHTS, HALF_LIFE)
    np.testing.assert_allclose(popularity[:3], [1.5, 0, 0.125], rtol=1e-6)
    assert recent_popularity(make_snapshot([], ["c0"], []), WEIGHTS, HALF_LIFE).tolist() == [0]


def test_times_of_the_future_and_of_long_ago() -> None:
    """One wrong clock must not make everything else old, and nothing old leaves the graph."""
    keys: dict[Key, float] = {("u0", "c0", "enroll"): -1e5, ("u1", "c0", "enroll"): 0.0, ("u2", "c0", "enroll"): 1e4}
    np.testing.assert_allclose(aged(keys).edge_weights(WEIGHTS)[:3], [1, 1, LEAST_SHARE])
    only_future = replace(aged({}), timestamps=np.array([NEWEST * 2]))
    np.testing.assert_array_equal(only_future.edge_weights({"drop": 1.0}), [1])
    assert len(replace(make_snapshot([], [], []), half_life_days=1.0).edge_weights(WEIGHTS)) == 0


def test_the_half_life_is_part_of_what_a_model_is_made_of() -> None:
    keys: dict[Key, float] = {("u0", "c0", "enroll"): 1.0}
    assert data_fingerprint(aged(keys)) != data_fingerprint(aged(keys, half_life=None))


@given(keys_with_ages)
def test_the_model_keeps_the_weights_of_the_graph(ages: dict[Key, float]) -> None:
    snapshot = aged(ages)
    graph, contents = BipartiteGraph.from_snapshot(snapshot, WEIGHTS), contents_of(snapshot, 1, "sum")
    np.testing.assert_array_equal(contents.item_degrees, graph.item_degrees)
    np.testing.assert_array_equal(contents.user_degrees, graph.user_degrees)
    for row in range(len(USERS)):
        edges = trained_edges(contents, row)
        of_user = slice(*graph.user_items.indptr[row : row + 2])
        np.testing.assert_array_equal(edges.rows, graph.user_items.indices[of_user])
        np.testing.assert_array_equal(edges.weights, graph.user_items.data[of_user])


@given(keys_with_ages, st.integers(0, 3), st.sampled_from(["sum", "mean"]))
def test_the_parts_of_a_trained_vector_add_up_to_it(ages: dict[Key, float], n_layers: int, combination: str) -> None:
    contents = contents_of(aged(ages), n_layers, combination)
    live = live_of(contents)
    tell(live, set(), set(ages))  # all are told again
    for row, user in enumerate(USERS):
        if contents.user_degrees[row] == 0:
            continue
        parts = known_parts(contents, row, trained_edges(contents, row))
        np.testing.assert_allclose(parts.vector, contents.user_vectors[row], rtol=1e-5, atol=1e-6)
        found = live.users.get(user)
        assert found is not None
        np.testing.assert_allclose(found.vector, contents.user_vectors[row], rtol=1e-5, atol=1e-6)


@given(keys_with_ages, st.sets(st.tuples(st.just("u0"), st.sampled_from(ITEMS), st.sampled_from(TYPES))))
def test_up_to_one_layer_a_changed_user_is_as_if_propagated_anew(ages: dict[Key, float], own: set[Key]) -> None:
    """What was removed is gone, what came since is as new as the newest; the rest has its age.

    A pair of which one type of several is removed has no age of its own: left out here.
    """
    before = {key for key in ages if key[0] == "u0"}
    kept = {key for key in before if key in own or not any(other[1] == key[1] for other in own)}
    own |= kept
    if any(
        0 < len({k for k in before if k[1] == item} & own) < len({k for k in before if k[1] == item}) for item in ITEMS
    ):
        return
    later = {key: age for key, age in ages.items() if key[0] != "u0"} | {key: ages.get(key, 0.0) for key in own}
    live = live_of(contents_of(aged(ages), 1, "sum"))
    tell(live, set(ages), set(later))
    user = live.users.get("u0")
    if live.index.user_row("u0") is None or user is None:
        return
    expected = contents_of(aged(later), 1, "sum").user_vectors[0]
    if expected.any():
        np.testing.assert_allclose(user.vector, expected, rtol=1e-4, atol=1e-5)


@given(
    keys_with_ages,
    st.sets(st.tuples(st.sampled_from([*USERS, "v"]), st.sampled_from(ITEMS), st.sampled_from(TYPES))),
    st.sampled_from([*USERS, "v"]),
)
def test_contributions_add_up_to_the_score(ages: dict[Key, float], after: set[Key], user: str) -> None:
    live = live_of(contents_of(aged(ages), 2, "mean"))
    tell(live, set(ages), after)
    answer = live.recommend(user, Options(n=100, exclude_seen=False))
    explained = live.explain(user, [item.course_id for item in answer.items])
    if answer.source != "popular":
        for item, reasons in zip(answer.items, explained, strict=True):
            assert sum(reason.contribution for reason in reasons) == pytest.approx(item.score, abs=1e-5)


def test_the_weights_are_published(tmp_path: Path) -> None:
    contents = contents_of(aged({("u0", "c0", "enroll"): 5.0, ("u1", "c1", "like"): 10.0}), 1, "sum")
    write_artifact(tmp_path / "model", contents, DESCRIPTION)
    found = load_artifact(tmp_path / "model").contents.seen_weights
    assert found is not None
    np.testing.assert_allclose(found, [2**-0.5, 1.0, 0.0], rtol=1e-6)
