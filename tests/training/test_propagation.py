import numpy as np
import pytest
import torch
from torch import Tensor

from app.graph.normalise import normalised_adjacency
from app.training.config import Combination
from app.training.loss import add_l2, bpr_loss
from app.training.propagation import Propagation
from tests.support.graphs import dense_propagation, random_graph

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
    rows = torch.cat([users, positives, negatives])

    final = torch.tensor(dense_propagation(graph, n_layers, combination)) @ layer0
    difference = (final[users] * (final[positives] - final[negatives])).sum(1)
    expected_loss = -torch.log(torch.sigmoid(difference)).mean()
    total = expected_loss + weight / (2 * batch) * (layer0[rows] ** 2).sum()
    (expected,) = torch.autograd.grad(total, layer0)

    loss, gradient = _ours(
        our_propagation(n_layers, combination, weighted), layer0.detach(), (users, positives, negatives)
    )
    add_l2(gradient, layer0.detach(), rows, weight, batch)
    assert float(loss) == pytest.approx(float(expected_loss.detach()), rel=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def our_propagation(n_layers: int, combination: Combination, weighted: bool) -> Propagation:
    adjacency = normalised_adjacency(random_graph(weighted=weighted), np.float64)
    return Propagation(adjacency, n_layers, combination, CPU)


@torch.no_grad()
def _ours(propagate: Propagation, layer0: Tensor, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    loss, gradient = bpr_loss(propagate(layer0), *batch)
    return loss, propagate(gradient)


def test_the_hardest_pairs_keep_their_gradient() -> None:
    vectors = torch.tensor([[1.0], [-30.0], [30.0]])
    loss, gradient = bpr_loss(vectors, torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    assert float(loss) == pytest.approx(60.0)
    assert gradient[:, 0].tolist() == pytest.approx([60.0, -1.0, 1.0])
