import numpy as np
import pytest
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph
from app.training import filters
from app.training.baselines import closed_forms, gf_cf_scores
from app.training.blend import FilterKind, filter_matrix, kept_scores, matrix_scores, strengthened, unit_weight
from app.training.evaluate import evaluate
from app.training.filters import cut_columns, cut_rows, ease, gf_cf, n_neighbours, two_hop
from app.training.split import split
from tests.support.graphs import random_graph


def normalised(graph: BipartiteGraph) -> np.ndarray:
    weights = graph.user_items.toarray().astype(np.float64)
    users, items = (np.where(d > 0, d, 1.0) for d in (graph.user_degrees, graph.item_degrees))
    return weights / np.sqrt(users)[:, None] / np.sqrt(items)


def test_ease_is_its_definition() -> None:
    graph = random_graph(n_items=30)
    taken = (graph.user_items.toarray() > 0).astype(np.float64)
    inverse = np.linalg.inv(taken.T @ taken + 7.0 * np.eye(30))
    expected = np.eye(30) - inverse / np.diag(inverse)
    np.testing.assert_allclose(ease(graph, 7.0), expected, atol=1e-6)


def test_ease_of_a_normalised_matrix_is_its_definition() -> None:
    """Users and items without any, too; at power 1/2 it is the symmetric normalisation."""
    graph = random_graph(n_items=30)
    taken = (graph.user_items.toarray() > 0).astype(np.float64)
    lengths, takers = (np.maximum(taken.sum(axis), 1.0) for axis in (1, 0))
    for power in (0.25, 0.5):
        users, items = np.diag(lengths**-power), np.diag(takers**-power)
        x = users @ taken @ items
        gram = x.T @ x
        inverse = np.linalg.inv(gram + 7.0 * np.trace(gram) / np.trace(taken.T @ taken) * np.eye(30))
        expected = items @ (np.eye(30) - inverse / np.diag(inverse)) @ np.linalg.inv(items)
        np.testing.assert_allclose(ease(graph, 7.0, power), expected, atol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.25])
def test_ease_of_no_interactions_says_nothing(power: float) -> None:
    none = np.empty(0, np.int64)
    assert not ease(BipartiteGraph.from_pairs(none, none, n_users=2, n_items=3), 7.0, power).any()


def test_ease_is_the_best_linear_model_without_a_diagonal() -> None:
    """Steck 2019: of all B with zero diagonal it has the least |R - RB|^2 + l2 |B|^2."""
    graph = random_graph(n_items=12)
    taken = (graph.user_items.toarray() > 0).astype(np.float64)

    def cost(matrix: np.ndarray) -> float:
        return float(((taken - taken @ matrix) ** 2).sum() + 5.0 * (matrix**2).sum())

    best = ease(graph, 5.0).astype(np.float64)
    rng = np.random.default_rng(0)
    for _ in range(20):
        change = rng.normal(size=best.shape) * 1e-2
        np.fill_diagonal(change, 0.0)
        assert cost(best + change) > cost(best)


@pytest.mark.parametrize("block_products", [1, 50, 1e9])
def test_two_hop_in_blocks_of_any_size(block_products: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "BLOCK_PRODUCTS", block_products)
    graph = random_graph(n_items=40)
    expected = normalised(graph).T @ normalised(graph)
    np.testing.assert_allclose(two_hop(graph).toarray(), expected, atol=1e-6)


def test_two_hop_of_items_that_nobody_took() -> None:
    graph = BipartiteGraph.from_pairs(np.array([0, 1, 1]), np.array([1, 1, 4]), n_users=3, n_items=6)
    matrix = two_hop(graph).toarray()
    np.testing.assert_allclose(matrix, normalised(graph).T @ normalised(graph), atol=1e-6)
    assert not matrix[[0, 2, 3, 5]].any()


def test_cuts_keep_the_greatest() -> None:
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(20, 20)).astype(np.float32)
    cut = cut_columns(dense, 4).toarray()
    for column, kept in zip(dense.T, cut.T, strict=True):
        assert set(np.flatnonzero(kept)) == set(np.argsort(-np.abs(column))[:4])
        assert (kept[kept != 0] == column[kept != 0]).all()
    rows = cut_rows(csr_array(np.abs(dense)), 4).toarray()
    for row, kept in zip(np.abs(dense), rows, strict=True):
        assert set(np.flatnonzero(kept)) == set(np.argsort(-row)[:4])


def test_a_filter_is_of_bounded_size() -> None:
    sizes = {0: 1_000, 10: 1_000, 3_000: 1_000, 5_000: 600, 10_000: 300, 30_000: 100, 1_000_000: 100}
    assert {n_items: n_neighbours(n_items) for n_items in sizes} == sizes


def test_gf_cf_is_its_definition_when_every_direction_passes() -> None:
    """With as many singular vectors as items the low-pass part is the identity on what was taken."""
    graph = random_graph(n_items=20)
    taken = (graph.user_items.toarray() > 0).astype(np.float64)
    left = normalised(graph)
    right = np.linalg.svd(left)[2][: np.linalg.matrix_rank(left)].T
    roots = np.sqrt(graph.item_degrees)
    low_pass = (right / np.where(roots > 0, roots, 1.0)[:, None]) @ (right * roots[:, None]).T
    users = np.arange(graph.n_users)
    scores = gf_cf_scores(graph, np.random.default_rng(0))(users)
    np.testing.assert_allclose(scores, taken @ (left.T @ left + 0.3 * low_pass), atol=1e-4)


@pytest.mark.parametrize("n_users", [30, 40])
def test_the_filter_has_the_low_pass_part_where_courses_outnumber_users(
    n_users: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "DENSE_ROWS", 7)
    graph = random_graph(n_users=n_users, n_items=40)
    users, linear = np.arange(n_users), matrix_scores(graph, two_hop(graph))
    np.testing.assert_array_equal(gf_cf(graph).toarray(), two_hop(graph).toarray())
    monkeypatch.setattr(filters, "LOW_PASS_ITEMS", (39, 40))
    expected = gf_cf_scores(graph, np.random.default_rng(0)) if n_users < 40 else linear
    np.testing.assert_allclose(matrix_scores(graph, gf_cf(graph))(users), expected(users), atol=1e-5)


def test_a_published_filter_scores_what_the_matrix_does() -> None:
    graph = random_graph(n_items=25)
    matrix = FilterKind("gf_cf").matrix(graph)
    made = strengthened(matrix, 2.0)
    assert made is not None
    users = np.arange(graph.n_users)
    scores = matrix_scores(graph, filter_matrix(made))(users)
    taken = (graph.user_items.toarray() > 0).astype(np.float64)
    np.testing.assert_allclose(scores, 2.0 * taken @ matrix.toarray(), atol=1e-5)
    for user in users:
        rows = np.flatnonzero(taken[user])
        np.testing.assert_allclose(made.scores(rows), scores[user], atol=1e-5)
        parts = made.contributions(rows, [3, 24, 25, 7])
        np.testing.assert_allclose(parts.sum(0), [*scores[user][[3, 24]], 0.0, scores[user][7]], atol=1e-5)
    np.testing.assert_allclose(made.column(7), 2.0 * matrix.toarray()[:, 7], atol=1e-6)
    some = np.array([1, 4, 5])
    np.testing.assert_allclose(kept_scores(graph, matrix, some)(np.array([5, 1])), scores[[5, 1]] / 2.0, atol=1e-5)


def test_a_filter_that_says_nothing_counts_nothing() -> None:
    empty = csr_array(np.zeros((5, 5), np.float32))
    graph = random_graph(n_items=5)
    own = matrix_scores(graph, csr_array(np.eye(5, dtype=np.float32)))
    unit = unit_weight(own, matrix_scores(graph, empty), np.arange(graph.n_users))
    assert unit == 0.0
    assert strengthened(empty, unit) is None


def test_closed_forms_that_cost_too_much_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(random_graph(n_items=30), np.random.default_rng(0))

    def made() -> tuple[set[str], set[str]]:
        forms = closed_forms(
            parts.train,
            lambda scores: evaluate(scores, parts),
            filters=("ease", "gf_cf"),
            eases=[FilterKind("ease", 1.0), FilterKind("ease", 10.0), FilterKind("ease", 5.0, 0.25)],
            rng=np.random.default_rng(0),
        )
        assert forms.ease_l2 in {1.0, 10.0}
        assert forms.metrics["ease"]["ndcg@20"] == max(forms.eases[kind] for kind in forms.eases if not kind.power)
        return set(forms.metrics), {kind.name for kind in forms.filters}

    assert made() == ({"popular", "item_cosine", "gf_cf", "ease"}, {"ease", "gf_cf"})
    monkeypatch.setattr("app.training.baselines.MOST_PRODUCTS", 1.0)
    assert made() == ({"popular", "ease"}, {"ease"})
