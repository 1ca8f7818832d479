import numpy as np
import pytest
import torch
from torch import Tensor

from app.graph.normalise import normalised_adjacency, reverse_positions
from app.training.config import Combination
from app.training.loss import Groups, Pairs, add_l2, bpr_loss, pool_softmax_loss
from app.training.propagation import Propagation
from tests.support.graphs import dense_adjacency, dense_propagation, random_graph

CPU = torch.device("cpu")
LAYERS = pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
COMBINATIONS = pytest.mark.parametrize("combination", ["sum", "mean"])
WEIGHTED = pytest.mark.parametrize("weighted", [False, True])


@LAYERS
@COMBINATIONS
@WEIGHTED
def test_it_equals_dense_numpy_in_float64(n_layers: int, combination: Combination, weighted: bool) -> None:
    graph = random_graph(weighted=weighted)
    vectors = np.random.default_rng(1).normal(size=(graph.n_nodes, 64))
    expected = dense_propagation(graph, n_layers, combination) @ vectors
    propagate = Propagation(normalised_adjacency(graph), n_layers, combination, CPU)
    result = propagate(torch.tensor(vectors, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-6 * np.abs(expected).max())


@LAYERS
@COMBINATIONS
def test_an_isolated_node_keeps_its_vector_and_gets_nothing(n_layers: int, combination: Combination) -> None:
    graph = random_graph()
    vectors = torch.randn(graph.n_nodes, 8, generator=torch.Generator().manual_seed(0))
    result = Propagation(normalised_adjacency(graph), n_layers, combination, CPU)(vectors)
    scale = 1 / (n_layers + 1) if combination == "mean" else 1
    for node in (graph.n_users - 1, graph.n_nodes - 1):
        torch.testing.assert_close(result[node], vectors[node] * scale, rtol=1e-6, atol=0)


@LAYERS
@COMBINATIONS
@WEIGHTED
def test_the_gradient_equals_autograd_in_float64(n_layers: int, combination: Combination, weighted: bool) -> None:
    graph = random_graph(weighted=weighted)
    rng = np.random.default_rng(2)
    batch, weight = 50, 0.3
    layer0 = torch.tensor(rng.normal(size=(graph.n_nodes, 8)), requires_grad=True)
    users = torch.tensor(rng.integers(0, graph.n_users, batch))
    positives, negatives = (torch.tensor(rng.integers(graph.n_users, graph.n_nodes, batch)) for _ in range(2))
    weights = torch.tensor(rng.choice([0.5, 2.0], batch))
    rows = torch.cat([users, positives, negatives])

    final = torch.tensor(dense_propagation(graph, n_layers, combination)) @ layer0
    difference = (final[users] * (final[positives] - final[negatives])).sum(1)
    expected_loss = -(weights * torch.log(torch.sigmoid(difference))).mean()
    total = expected_loss + weight / (2 * batch) * (layer0[rows] ** 2).sum()
    (expected,) = torch.autograd.grad(total, layer0)

    pairs = Pairs(users, positives, negatives, weights)
    loss, gradient = _ours(our_propagation(n_layers, combination, weighted), layer0.detach(), pairs)
    add_l2(gradient, layer0.detach(), torch.bincount(rows, minlength=graph.n_nodes).double(), weight, batch)
    assert float(loss) == pytest.approx(float(expected_loss.detach()), rel=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def our_propagation(n_layers: int, combination: Combination, weighted: bool) -> Propagation:
    adjacency = normalised_adjacency(random_graph(weighted=weighted), np.float64)
    return Propagation(adjacency, n_layers, combination, CPU)


@torch.no_grad()
def _ours(propagate: Propagation, layer0: Tensor, batch: Pairs) -> tuple[Tensor, Tensor]:
    loss, gradient = bpr_loss(propagate(layer0), batch)
    return loss, propagate(gradient)


def test_the_hardest_pairs_keep_their_gradient() -> None:
    vectors = torch.tensor([[1.0], [-30.0], [30.0]])
    loss, gradient = bpr_loss(vectors, Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]), torch.ones(1)))
    assert float(loss) == pytest.approx(60.0)
    assert gradient[:, 0].tolist() == pytest.approx([60.0, -1.0, 1.0])


def test_entries_left_out_count_nothing_and_come_back() -> None:
    graph = random_graph(weighted=True)
    dense = normalised_adjacency(graph).toarray()
    edges = np.array([3, 40, 77])
    entries = torch.from_numpy(np.concatenate([edges, reverse_positions(graph)[edges]]))
    users, items = graph.edge_users()[edges], graph.user_items.indices[edges] + graph.n_users
    masked = dense.copy()
    masked[users, items] = masked[items, users] = 0
    vectors = torch.randn(graph.n_nodes, 8, generator=torch.Generator().manual_seed(0))
    propagate = Propagation(normalised_adjacency(graph), 1, "sum", CPU)
    before = propagate(vectors)
    with propagate.without(entries):
        result = propagate(vectors)
    np.testing.assert_allclose(result.numpy(), vectors.numpy() + masked @ vectors.numpy(), atol=1e-5)
    assert (propagate(vectors) == before).all()


def test_the_softmax_gradient_equals_autograd_in_float64() -> None:
    rng = np.random.default_rng(3)
    n_nodes, n_groups, group, n_pool = 50, 3, 4, 6
    vectors = torch.tensor(rng.normal(size=(n_nodes, 8)), requires_grad=True)
    users, positives = (torch.tensor(rng.integers(0, n_nodes, n_groups * group)) for _ in range(2))
    pools = torch.tensor(rng.integers(0, n_nodes, (n_groups, n_pool)))
    pairs = torch.tensor([0, 0, 5, *([7] * n_pool)])
    slots = torch.tensor([1, 4, 2, *range(n_pool)])  # pair 7 has no negative at all
    weights = torch.tensor([2.0, 1.0, 0.5] * 3 + [0.0, 0.0, 1.0], dtype=torch.float64)

    loss = torch.zeros((), dtype=torch.float64)
    hidden = set(zip(pairs.tolist(), slots.tolist(), strict=True))
    for b in range(n_groups * group):
        allowed = [m for m in range(n_pool) if (b, m) not in hidden]
        candidates = torch.cat([positives[b : b + 1], pools[b // group][allowed]])
        loss = loss - weights[b] / 10 * torch.log_softmax(vectors[candidates] @ vectors[users[b]], 0)[0]
    (expected,) = torch.autograd.grad(loss, vectors)
    ours, gradient = pool_softmax_loss(vectors.detach(), Groups(users, positives, pools, pairs, slots, weights))
    assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@LAYERS
@COMBINATIONS
def test_the_result_is_the_own_part_and_what_neighbours_send(n_layers: int, combination: Combination) -> None:
    graph = random_graph(weighted=True)
    vectors = torch.randn(graph.n_nodes, 8, generator=torch.Generator().manual_seed(0))
    propagate = Propagation(normalised_adjacency(graph), n_layers, combination, CPU)
    expected = propagate.own_weight * vectors.numpy() + dense_adjacency(graph) @ propagate.messages(vectors).numpy()
    np.testing.assert_allclose(propagate(vectors).numpy(), expected, atol=1e-5)
