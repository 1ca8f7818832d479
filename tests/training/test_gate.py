"""A new model beside the one that is served, on interactions that neither has seen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents
from app.domain.interactions import Snapshot
from app.domain.vocabulary import Vocabulary
from app.graph.bipartite import BipartiteGraph
from app.serving.fold_in import Edges, known_parts, trained_edges
from app.training.current import Current, Known
from app.training.evaluate import evaluate, model_scores, ndcg_of_users
from app.training.result import TrainedModel
from app.training.run import scores_of, train
from app.training.split import split
from tests.support.graphs import dense_propagation
from tests.training.test_run import CONFIG, WEIGHTS, tastes


def without(snapshot: Snapshot, dropped: NDArray[np.bool_]) -> Snapshot:
    """As it was before these interactions."""
    columns = ("user_rows", "item_rows", "type_codes", "timestamps")
    return replace(snapshot, **{name: getattr(snapshot, name)[~dropped] for name in columns})


def grown(n_users: int = 300) -> tuple[Snapshot, Snapshot]:
    """Before and after a quarter of the interactions."""
    after = tastes(n_users)
    return without(after, np.random.default_rng(5).random(len(after.user_rows)) < 0.25), after


def served(snapshot: Snapshot, model: TrainedModel, **known: Any) -> Current:
    contents = ArtifactContents.from_snapshot(snapshot, WEIGHTS, model.embeddings, model.item_filter)
    return replace(Current("m-000001", contents, temperature=model.temperature), **known)


def worse(current: Current, noise: float) -> Current:
    """The same with vectors of which so much is noise."""
    rng, contents = np.random.default_rng(0), current.contents

    def noisy(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        drawn = rng.standard_normal(vectors.shape) * vectors.std()
        mixed: NDArray[np.float32] = ((1 - noise) * vectors + noise * drawn).astype(np.float32)
        return mixed

    return replace(current, contents=replace(contents, item_vectors=noisy(contents.item_vectors), filter_starts=None))


@pytest.mark.timeout(240)
def test_the_served_model_scores_as_it_is_served() -> None:
    """Users with the interactions they have now, by the same sum as fold-in; new users and items are told apart."""
    before, after = grown()
    model = train(before, WEIGHTS, CONFIG)
    current = served(before, model)
    wider = Vocabulary([*after.users.ids, "stranger"]), Vocabulary(["unknown", *after.items.ids])
    after = replace(after, users=wider[0], items=wider[1], item_rows=after.item_rows + np.int32(1))
    graph = BipartiteGraph.from_snapshot(after, WEIGHTS)
    known = Known(current, after)
    assert known.users.tolist() == [*range(300), -1]
    assert known.items[0] == -1
    rows = np.array([0, 7, 299])
    scores = known.scores(graph)(rows)
    assert np.isneginf(scores[:, 0]).all()
    contents = current.contents
    for row, found in zip(rows.tolist(), scores, strict=True):
        taken = graph.user_items[[row]].indices - 1
        vector = known_parts(contents, row, Edges(taken.astype(np.int32), np.ones(len(taken)))).vector
        expected = contents.item_vectors @ vector
        if contents.item_filter is not None:
            expected = expected + contents.item_filter.scores(taken)
        np.testing.assert_allclose(found[1:], expected, rtol=1e-4, atol=1e-5)
        assert len(trained_edges(contents, row).rows) < len(taken) or row != 0
    users = graph.edge_users()
    seen = known.seen(users, graph.user_items.indices)
    assert seen.sum() == len(before.user_rows)


@pytest.mark.timeout(240)
def test_own_vectors_are_the_trained_layer_0() -> None:
    model = train(tastes(), WEIGHTS, replace(CONFIG, time_budget_seconds=0, epochs=5))
    current = served(tastes(), model)
    own = Known(current, tastes()).own_vectors() / current.contents.own_weight
    graph = model.graph
    layer0 = np.concatenate([own, model.embeddings.initial_item])
    vectors = dense_propagation(graph, 3, "sum") @ layer0
    np.testing.assert_allclose(vectors[: graph.n_users], model.embeddings.user_vectors, rtol=1e-3, atol=1e-4)


def test_ndcg_of_users_is_what_is_averaged() -> None:
    parts = split(BipartiteGraph.from_snapshot(tastes(), WEIGHTS), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    users, items = rng.standard_normal((200, 4), np.float32), rng.standard_normal((60, 4), np.float32)

    def scores(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return users[rows] @ items.T

    own = ndcg_of_users(scores, parts)
    assert len(own) == len(np.unique(parts.held_users))
    assert own.mean() == pytest.approx(evaluate(scores, parts)["ndcg@20"])


@pytest.mark.timeout(240)
def test_a_model_much_worse_than_the_one_served_is_rejected_on_what_neither_has_seen() -> None:
    before, after = grown(1000)
    good = train(before, WEIGHTS, CONFIG)
    current = served(before, good, ndcg=good.metrics["model"]["ndcg@20"], split=good.split, n_held_out=good.n_held_out)
    bad = replace(CONFIG, embedding_size=1, loss="bpr", filter="none")
    rejected = train(after, WEIGHTS, bad, current=current)
    assert rejected.metrics["model"]["ndcg@20"] > rejected.metrics["popular"]["ndcg@20"], "it would pass without"
    assert not rejected.verdict.accepted
    assert "interactions that neither has seen" in rejected.verdict.reason
    assert "worse by more than 5%" in rejected.verdict.reason
    assert train(after, WEIGHTS, bad, current=replace(current, margin=1.0)).verdict.accepted
    assert train(after, WEIGHTS, bad, current=worse(current, 1.0)).verdict.accepted, "the one served is worse still"
    accepted = train(after, WEIGHTS, CONFIG, current=current)
    assert accepted.verdict.accepted
    assert "interactions that neither has seen" in accepted.verdict.reason


@pytest.mark.timeout(240)
def test_where_too_little_is_new_the_recorded_value_is_compared() -> None:
    snapshot = tastes(700)
    good = train(snapshot, WEIGHTS, CONFIG)
    recorded = {"ndcg": good.metrics["model"]["ndcg@20"], "split": good.split, "n_held_out": good.n_held_out}
    current = served(snapshot, good, **recorded)
    again = train(snapshot, WEIGHTS, CONFIG, current=current)
    assert again.verdict.accepted
    assert "only 0 of the held-out interactions are new to m-000001, so its own NDCG@20" in again.verdict.reason
    bad = replace(CONFIG, embedding_size=1, loss="bpr", filter="none")
    rejected = train(snapshot, WEIGHTS, bad, current=current)
    assert not rejected.verdict.accepted
    assert "its own NDCG@20 when it was trained" in rejected.verdict.reason
    for otherwise in ({"split": "time"}, {"n_held_out": 2 * good.n_held_out}, {"ndcg": None}):
        unjudged = train(snapshot, WEIGHTS, bad, current=replace(current, **otherwise))
        assert unjudged.verdict.accepted
        assert "not compared with m-000001" in unjudged.verdict.reason


def test_scores_of_a_trained_model_are_those_of_its_parts() -> None:
    model = train(tastes(), WEIGHTS, replace(CONFIG, epochs=4, filter="none"))
    rows = np.arange(5)
    np.testing.assert_array_equal(scores_of(model)(rows), model_scores(model.embeddings)(rows))
