import json
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.embeddings import Embeddings
from app.domain.interactions import Features
from app.errors import CancelledError, DivergedError, NothingToLearnError
from app.graph.bipartite import BipartiteGraph
from app.training.checkpoint import Checkpoint, finished, fit_key
from app.training.config import Combination, Loss, TrainingConfig
from app.training.device import UnusableDeviceError, choose_device
from app.training.fit import fit
from app.training.result import FitResult
from app.training.sampling import usable_edges
from app.training.start import start_vectors
from tests.support.graphs import checkerboard, random_graph

SMALL = TrainingConfig(embedding_size=16, loss="bpr", epochs=30, device="cpu").recipe(150, 100)


def start(graph: BipartiteGraph, size: int = 16) -> NDArray[np.float32]:
    recipe = replace(SMALL, embedding_size=size, start="xavier")
    return start_vectors(graph, recipe, Features.none(), Features.none()).whole()


def graph_of(pairs: list[tuple[int, int]], n_users: int, n_items: int) -> BipartiteGraph:
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return BipartiteGraph.from_pairs(rows[:, 0], rows[:, 1], n_users=n_users, n_items=n_items)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("combination", ["sum", "mean"])
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_the_checkerboard_is_solved(loss: Loss, combination: Combination) -> None:
    graph, withheld = checkerboard()
    recipe = TrainingConfig(embedding_size=16, loss=loss, combination=combination, epochs=60).recipe(graph.n_edges, 100)
    trained = fit(graph, start(graph), recipe).embeddings
    scores = trained.user_vectors @ trained.item_vectors.T
    scores[graph.seen.toarray()] = -np.inf
    assert (scores.argmax(1) == withheld).all()


@pytest.mark.parametrize("combination", ["sum", "mean"])
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_what_serving_folds_users_in_with(n_layers: int, combination: Combination) -> None:
    """Items: own layer 0 and what users send; an isolated one has its own alone.  No layers, no messages."""
    graph = random_graph(weighted=True)
    trained = fit(graph, start(graph), replace(SMALL, n_layers=n_layers, combination=combination, epochs=2)).embeddings
    assert trained.own_weight == (1 / (n_layers + 1) if combination == "mean" else 1)
    own = trained.own_weight * trained.initial_item
    np.testing.assert_allclose(trained.item_vectors[-1], own[-1], rtol=1e-6)
    assert trained.item_messages is not None
    if n_layers == 0:
        assert np.abs(trained.item_messages).max() == 0
        np.testing.assert_array_equal(trained.item_vectors, trained.initial_item)
    else:
        assert (trained.item_vectors[:-1] != own[:-1]).any()
        np.testing.assert_allclose(trained.item_messages[-1], own[-1], rtol=1e-6)


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not() -> None:
    graph = random_graph(n_users=300, n_items=90)
    first, second = (fit(graph, start(graph), SMALL) for _ in range(2))
    assert (first.embeddings.user_vectors == second.embeddings.user_vectors).all()
    assert (first.embeddings.item_vectors == second.embeddings.item_vectors).all()
    assert first.losses == second.losses
    other = fit(graph, start(graph), replace(SMALL, seed=1))
    assert (first.embeddings.user_vectors != other.embeddings.user_vectors).any()


def test_the_loss_falls_and_every_epoch_is_told() -> None:
    graph = random_graph()
    told: list[tuple[int, int, float]] = []
    result = fit(graph, start(graph), SMALL, on_epoch=lambda *a: told.append(a[:3]))
    assert [(epoch, epochs) for epoch, epochs, _ in told] == [(epoch, 30) for epoch in range(1, 31)]
    assert [loss for *_, loss in told] == list(result.losses)
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert result.epochs == result.steps == 30
    assert result.device == "cpu"


def test_the_best_weights_come_back_not_the_last() -> None:
    graph = random_graph()
    scores = iter([0.1, 0.5, 0.2, 0.3, 0.4, 0.45, 0.0])
    offered: list[Embeddings] = []

    def validate(embeddings: Embeddings) -> float:
        offered.append(embeddings)
        return next(scores)

    result = fit(graph, start(graph), replace(SMALL, epochs=20), validate=validate)
    assert len(offered) == 6
    assert (result.embeddings.user_vectors == offered[1].user_vectors).all()
    assert (offered[1].user_vectors != offered[5].user_vectors).any()
    assert (result.score, result.epochs, result.steps) == (0.5, 2, 2)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (graph_of([], 0, 0), "no users"),
        (graph_of([], 0, 3), "no users"),
        (graph_of([], 3, 0), "no courses"),
        (graph_of([], 3, 3), "no interactions"),
        (graph_of([(0, 0)], 1, 1), "every course"),
        (graph_of([(u, i) for u in range(3) for i in range(4)], 3, 4), "every course"),
        (graph_of([(0, 0), (0, 1)], 2, 2), "every course"),
    ],
)
def test_nothing_to_learn_is_said(graph: BipartiteGraph, reason: str) -> None:
    with pytest.raises(NothingToLearnError, match=reason):
        fit(graph, start(graph), SMALL)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "graph",
    [
        graph_of([(0, 0)], 1, 2),
        graph_of([(0, i) for i in range(5)] + [(1, 2)], 2, 5),
        graph_of([(0, i) for i in range(3000)] + [(u, u) for u in range(1, 50)], 50, 3001),
        graph_of([(u, 0) for u in range(2000)], 2000, 3),
        graph_of([(u, u // 2) for u in range(40)], 40, 20),
    ],
    ids=["one user", "one took everything", "giant user", "giant course", "disconnected"],
)
def test_odd_graphs_train_to_finite_vectors(graph: BipartiteGraph) -> None:
    result = fit(graph, start(graph), replace(SMALL, epochs=5))
    assert np.isfinite(result.embeddings.user_vectors).all()
    assert np.isfinite(result.embeddings.item_vectors).all()
    assert np.isfinite(result.losses).all()


def test_divergence_is_said() -> None:
    graph = random_graph()
    with pytest.raises(DivergedError, match="after 1 steps"):
        fit(graph, np.full((graph.n_nodes, 16), 1e30, np.float32), SMALL)
    with pytest.raises(DivergedError, match="overflow"):
        fit(graph, start(graph), replace(SMALL, epochs=1, learning_rate=1e30))


@pytest.mark.parametrize("after", [0, 3])
def test_a_run_stops_before_the_next_step(after: int) -> None:
    graph = random_graph()
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > after

    with pytest.raises(CancelledError):
        fit(graph, start(graph), SMALL, should_stop=should_stop)
    assert len(asked) == after + 1


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(UnusableDeviceError, match="'cuda:99'"):
        choose_device("cuda:99")
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: TrainingConfig(embedding_size=0), "embedding_size"),
        (lambda: TrainingConfig(n_layers=-1), "n_layers"),
        (lambda: TrainingConfig(epochs=0), "epochs"),
        (lambda: TrainingConfig(batch_size=0), "batch_size"),
        (lambda: TrainingConfig(learning_rate=float("nan")), "learning_rate"),
        (lambda: TrainingConfig(l2_weight=-1), "l2_weight"),
    ],
)
def test_values_that_cannot_be_are_named(change: Callable[[], TrainingConfig], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        change()


def test_the_batch_grows_with_the_data() -> None:
    expected: dict[Loss, tuple[int, ...]] = {
        "bpr": (2048, 2048, 2048, 20_000),
        "softmax": (256, 500, 4096, 16_384),  # its own edges are left out of a step: at most a quarter of all
    }
    for loss, sizes in expected.items():
        config = TrainingConfig(loss=loss)
        assert tuple(config.recipe(n, 100).batch_size for n in (12, 2000, 50_000, 1_000_000)) == sizes
    assert TrainingConfig(batch_size=7).recipe(1_000_000, 100).batch_size == 7


class Kept:
    """Checkpoints in memory, after every so many steps."""

    def __init__(self, every: int = 1) -> None:
        self.latest: dict[str, Checkpoint] = {}
        self.every, self.asked, self.die_after = every, 0, -1

    def resume(self, key: str) -> Checkpoint | None:
        kept = self.latest.get(key)
        return kept and Checkpoint(kept.arrays, json.loads(json.dumps(kept.values)))

    def due(self) -> bool:
        self.asked += 1
        return self.asked % self.every == 0

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        arrays = {name: array.copy() for name, array in checkpoint.arrays.items()}
        self.latest[key] = Checkpoint(arrays, checkpoint.values)
        if self.asked == self.die_after:
            raise KeyboardInterrupt


def equal(first: FitResult, second: FitResult) -> None:
    for field in fields(Embeddings):
        np.testing.assert_array_equal(getattr(first.embeddings, field.name), getattr(second.embeddings, field.name))
    assert (first.losses, first.steps, first.score) == (second.losses, second.steps, second.score)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
@pytest.mark.parametrize("validated", [False, True])
def test_a_fit_that_was_broken_off_goes_on_to_the_same_bits(loss: Loss, validated: bool) -> None:
    """Broken off in the first epoch, before the first step of a later one and in the middle of one, and again."""
    graph = random_graph(n_users=200, n_items=60)
    config = TrainingConfig(embedding_size=8, n_layers=2, combination="mean", loss=loss, epochs=6, batch_size=100)
    recipe = config.recipe(graph.n_edges, graph.n_items)
    begin = start(graph, 8)

    def validate(embeddings: Embeddings) -> float:
        return -abs(float(embeddings.item_vectors[0, 0]) * 1e3 % 1 - 0.5)  # goes up and down

    def run(checkpoints: Kept | None) -> FitResult:
        return fit(graph, begin, recipe, validate=validate if validated else None, checkpoints=checkpoints)

    undisturbed = run(None)
    n_steps = -(-len(usable_edges(graph)) * max(1, 1024 // graph.n_edges) // 100)
    assert n_steps > 3
    kept = Kept()
    moments = (2, n_steps + 2, 2 * n_steps + 5, 3 * n_steps + 3)
    for die_after in moments:
        kept.die_after = die_after
        kept.asked = 0 if die_after == 2 else kept.asked
        with pytest.raises(KeyboardInterrupt):
            run(kept)
    kept.die_after = -1
    told: list[int] = []
    resumed = fit(
        graph,
        begin,
        recipe,
        validate=validate if validated else None,
        checkpoints=kept,
        on_epoch=lambda epoch, *_: told.append(epoch),
    )
    equal(resumed, undisturbed)
    assert told == list(range(1, len(told) + 1)), "the curve of losses is whole"
    assert kept.asked <= len(told) * n_steps + len(moments), "no step is done twice"


def test_only_the_same_fit_goes_on() -> None:
    graph = random_graph()
    keys = {
        fit_key(graph, start(graph), SMALL),
        fit_key(graph, start(graph), replace(SMALL, seed=1)),
        fit_key(graph, start(graph) + 1, SMALL),
        fit_key(random_graph(seed=1), start(graph), SMALL),
        fit_key(graph, start(graph), SMALL, 3),
    }
    assert len(keys) == 5
    assert fit_key(random_graph(), start(graph), SMALL) in keys


def test_a_finished_fit_is_not_done_again() -> None:
    graph = random_graph()
    result = fit(graph, start(graph), SMALL)
    kept = Kept()
    kept.keep(fit_key(graph, start(graph), SMALL, None, False), finished(result))
    told: list[float] = []
    again = fit(graph, start(graph), SMALL, checkpoints=kept, on_epoch=lambda *a: told.append(a[2]))
    equal(again, result)
    assert told == list(result.losses)
    assert kept.asked == 0


def test_a_start_is_left_as_it_is_or_learned_in_place_to_the_same_bits() -> None:
    graph = random_graph(weighted=True)
    first, kept = start(graph), start(graph)
    apart = fit(graph, first, SMALL).embeddings
    np.testing.assert_array_equal(first, kept)
    in_place = fit(graph, first, SMALL, in_place=True).embeddings
    assert not np.array_equal(first, kept)
    for name in ("user_vectors", "item_vectors", "initial_user", "initial_item", "item_messages"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(in_place, name))


@pytest.mark.parametrize(
    ("n_edges", "n_items", "size"), [(4_999_999, 20_000, 128), (5_000_000, 20_000, 64), (4_999_999, 5_000, 64)]
)
def test_vectors_are_longer_for_large_catalogues_but_not_for_millions_of_edges(
    n_edges: int, n_items: int, size: int
) -> None:
    assert TrainingConfig().recipe(n_edges, n_items).embedding_size == size
