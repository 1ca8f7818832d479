import numpy as np
import pytest
from scipy.special import softmax

from app.graph.bipartite import BipartiteGraph
from app.training.calibrate import divided, temperature
from app.training.evaluate import model_scores
from app.training.run import scores_of, train
from app.training.split import Split
from tests.support.graphs import random_graph
from tests.support.models import random_embeddings
from tests.training.test_run import CONFIG, WEIGHTS, tastes


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_the_temperature_with_which_the_held_out_were_drawn_is_found(scale: float) -> None:
    """Each of 400 users takes one of 50 items with the probabilities of a softmax of the scores over ``scale``."""
    rng = np.random.default_rng(0)
    scores = scale * rng.normal(size=(400, 50)).astype(np.float32)
    graph = BipartiteGraph.from_pairs(np.array([0]), np.array([0]), n_users=400, n_items=50)
    draws = rng.random((400, 1))
    items = (np.cumsum(softmax(scores / scale, axis=1), axis=1) < draws).sum(axis=1)
    items[0] = max(items[0], 1)  # what the first one has taken is not held out
    parts = Split(graph, np.arange(400, dtype=np.int32), items.astype(np.int32), "random")
    assert temperature(lambda users: scores[users].copy(), parts) == pytest.approx(scale, rel=0.3)


def test_scores_that_are_all_the_same_stay() -> None:
    graph = random_graph(n_items=10)
    parts = Split(graph, np.array([0], np.int32), np.array([0], np.int32), "random")
    assert temperature(lambda users: np.ones((len(users), 10), np.float32), parts) == 1.0


def test_divided_vectors_have_divided_scores() -> None:
    embeddings = random_embeddings(5, 7, 3)
    users = np.arange(5)
    scores = model_scores(divided(embeddings, 8.0))(users)
    np.testing.assert_allclose(scores, model_scores(embeddings)(users) / 8.0, atol=1e-6)


@pytest.mark.timeout(60)
def test_a_published_model_shares_its_percentages_out() -> None:
    """Users of a group have four of ten courses left, each as likely as the others."""
    model = train(tastes(), WEIGHTS, CONFIG)
    scores = scores_of(model)(np.arange(200)).astype(np.float64)
    scores[model.graph.seen.toarray()] = -np.inf
    shares = softmax(scores, axis=1)
    own = np.array([shares[user, 10 * (user % 6) : 10 * (user % 6) + 10].sum() for user in range(200)])
    assert own.mean() > 0.7
    assert np.median(shares.max(axis=1)) < 0.6
