"""What items send to users met later."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from app.domain.contents import ArtifactContents
from app.domain.embeddings import Embeddings
from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import edge_norms
from app.serving.fold_in import Edges, new_parts
from app.training.newcomers import RIDGE, own_weights, with_fold_in
from app.training.run import train
from tests.support.content import alone
from tests.training.test_gate import without
from tests.training.test_run import CONFIG, WEIGHTS, tastes


def test_it_is_the_ridge_regression_of_what_users_have_of_their_own() -> None:
    rng = np.random.default_rng(0)
    graph = BipartiteGraph.from_pairs(rng.integers(0, 40, 300), rng.integers(0, 12, 300), n_users=41, n_items=12)
    users, items, messages = (rng.standard_normal((n, 3)).astype(np.float32) for n in (41, 12, 12))
    embeddings = Embeddings(users, items, items, messages, own_weight=0.25)
    weights = own_weights(embeddings, alone(users, graph), graph.item_degrees)
    assert weights is not None
    norms = csr_array((edge_norms(graph), graph.user_items.indices, graph.user_items.indptr), shape=(41, 12)).toarray()
    inputs = norms @ np.hstack([items, messages]).astype(np.float64)
    squares = inputs.T @ inputs
    penalty = RIDGE * np.trace(squares) / 6 * np.eye(6)
    own = users - norms @ messages
    own[40] = 0.0  # without edges nothing is learned from her
    np.testing.assert_allclose((squares + penalty) @ weights, inputs.T @ own, rtol=1e-3, atol=1e-3)
    sent = with_fold_in(embeddings, weights).fold_in_messages
    assert sent is not None
    np.testing.assert_allclose(norms @ sent, norms @ messages + inputs @ weights, rtol=1e-4, atol=1e-4)


def test_where_users_have_no_part_of_their_own_there_is_nothing_to_learn() -> None:
    graph = BipartiteGraph.from_pairs(np.array([0]), np.array([0]), n_users=1, n_items=2)
    table = np.ones((2, 3), np.float32)
    embeddings = Embeddings(table[:1], table, table, table, own_weight=0.0)
    assert own_weights(embeddings, alone(table[:1], graph), graph.item_degrees) is None
    assert with_fold_in(embeddings, None) is embeddings


def test_without_layers_it_is_learned_from_layer_0() -> None:
    graph = BipartiteGraph.from_pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), n_users=2, n_items=2)
    table = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    embeddings = Embeddings(table, table, table, np.zeros_like(table))
    weights = own_weights(embeddings, alone(table, graph), graph.item_degrees)
    assert weights is not None
    assert np.isfinite(weights).all()
    assert np.abs(weights).max() > 0


@pytest.mark.timeout(240)
def test_users_met_later_get_nearly_the_vector_that_training_would_have_given_them() -> None:
    """Vectors of two models cannot be compared, as they turn; so here are users of the model, by their edges alone."""
    snapshot = tastes()
    model = train(snapshot, WEIGHTS, replace(CONFIG, time_budget_seconds=0, epochs=10))
    contents = ArtifactContents.from_snapshot(snapshot, WEIGHTS, model.embeddings)
    assert contents.fold_in_messages is not None

    for row in range(50):
        rows = contents.edge_rows(row)
        found, trained = new_parts(contents, Edges(rows, np.ones(len(rows)))).vector, contents.user_vectors[row]
        assert np.linalg.norm(found - trained) < 0.3 * np.linalg.norm(trained)


@pytest.mark.timeout(240)
def test_whoever_was_left_out_is_ranked_alike() -> None:
    """Of ten users nothing is told in training; what they like is found as well as for users who were there."""
    snapshot = tastes()
    late = snapshot.user_rows >= 190
    model = train(without(snapshot, late), WEIGHTS, replace(CONFIG, time_budget_seconds=0, epochs=10))
    contents = ArtifactContents.from_snapshot(without(snapshot, late), WEIGHTS, model.embeddings)
    graph = BipartiteGraph.from_snapshot(snapshot, WEIGHTS)
    ranks = []
    for row in range(190, 200):
        own = graph.user_items[[row]].indices
        found = new_parts(contents, Edges(own[1:].astype(np.int32), np.ones(len(own) - 1))).vector
        scores = contents.item_vectors @ found
        scores[own[1:]] = -np.inf
        ranks.append(float(np.mean(scores > scores[own[0]])))
    assert np.mean(ranks) < 0.25
