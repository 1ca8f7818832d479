"""Several processes train the model that one trains."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.embeddings import Embeddings
from app.domain.interactions import Features
from app.errors import CancelledError, DivergedError, RankLostError
from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import edge_norms
from app.training.checkpoint import Array, Checkpoint
from app.training.config import Loss, Recipe, TrainingConfig
from app.training.distributed.board import Ends
from app.training.distributed.launch import LocalGroup, local_ranks
from app.training.distributed.parts import user_bounds
from app.training.evaluate import Validation
from app.training.fit import ALL_OF_USERS, VECTORS, fit
from app.training.ranks import Ranks
from app.training.split import split
from app.training.start import start_vectors
from app.training.users import Users
from tests.support.graphs import checkerboard, random_graph
from tests.support.ranks import BOARD, CASES, RANGES_OF, SOCKETS, Case, alone

ROOT = Path(__file__).parents[2]
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
Found = dict[tuple[str, int, str], list[dict[str, Array]]]
WAYS = [(2, SOCKETS), (4, SOCKETS), (2, BOARD)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each rank of 2 and of 4 has after all cases."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result: Found = {}
    command = [sys.executable, "-m", "tests.support.ranks", str(folder)]
    ends = Ends.of_ranks(2)
    descriptors = [*(end.descriptors for end in ends), [], []]
    processes = [
        subprocess.Popen([*command, *map(str, [rank, *own])], env=environment, cwd=ROOT, pass_fds=own)
        for rank, own in enumerate(descriptors)
    ]
    for end in ends:
        end.close()
    try:
        assert [process.wait(timeout=120) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
    for size, over in WAYS:
        for case in CASES:
            files = [folder / f"{case.name}-{size}-{over}-{rank}.npz" for rank in range(size)]
            result[case.name, size, over] = [dict(np.load(file)) for file in files]
    return result


@pytest.mark.parametrize(("size", "over"), WAYS)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_ranks_come_to_the_model_of_one(case: Case, size: int, over: str, found: Found) -> None:
    """Weights, isolated users and items, users with nothing, a rank without edges, both combinations."""
    expected, parts = alone(case), found[case.name, size, over]
    assert len(parts) == len(RANGES_OF[size]) - 1
    n_items = len(expected["item_vectors"])
    for name in ("first_exp_avg", "layer0", "exp_avg", "user_vectors", "item_vectors", "losses"):
        tolerance = TOLERANCE[case.dtype]
        if name == "first_exp_avg" and case.dtype == "float64":
            tolerance = 1e-12  # a tenth of the gradient: what a wrong sum in the backward pass shows in
        if name in ("item_vectors", "losses"):
            joined = parts[0][name]
        elif name == "user_vectors":
            joined = np.concatenate([part[name] for part in parts])
        else:
            joined = np.concatenate([*(part[name][:-n_items] for part in parts), parts[0][name][-n_items:]])
        assert joined.dtype == expected[name].dtype
        np.testing.assert_allclose(joined, expected[name], rtol=0, atol=tolerance * np.abs(expected[name]).max())
    for part in parts[1:]:
        np.testing.assert_array_equal(part["layer0"][-n_items:], parts[0]["layer0"][-n_items:])
        np.testing.assert_array_equal(part["item_vectors"], parts[0]["item_vectors"])


def start(graph: BipartiteGraph) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = np.random.default_rng(0).normal(0, 0.1, (graph.n_nodes, 8)).astype(np.float32)
    return vectors


def recipe_of(loss: Loss, graph: BipartiteGraph, **changes: object) -> Recipe:
    config = TrainingConfig(loss=loss, embedding_size=8, epochs=6, batch_size=100, device="cpu")
    return replace(config.recipe(graph.n_edges, graph.n_items), **{"half": False, **changes})  # type: ignore[arg-type]


def summed_in_a_step(ranks: LocalGroup, *, half: bool, n_users: int) -> set[int]:
    """Bytes of some steps of two layers, 40 items and vectors of 8: 2 K + 1 sums of (I, D)."""
    graph, counted = random_graph(n_users=n_users, n_items=40), []
    recipe = recipe_of("softmax", graph, half=half, n_layers=2)

    def should_stop() -> bool:
        counted.append(ranks.summed_bytes)
        return len(counted) > 4

    with pytest.raises(CancelledError):
        fit(graph, start(graph), recipe, ranks=ranks, should_stop=should_stop)
    return set(np.diff(counted).tolist())


class Kept:
    """Checkpoints in memory; after some, somebody is killed."""

    def __init__(self, group: LocalGroup, kill_after: int) -> None:
        self.latest: dict[str, Checkpoint] = {}
        self.resumed: list[int] = []
        self._group, self._steps, self._kill_after = group, 0, kill_after

    def resume(self, key: str) -> Checkpoint | None:
        kept = self.latest.get(key)
        if kept is not None:
            self.resumed.append(kept.values["steps"])
        return kept and Checkpoint(kept.arrays, json.loads(json.dumps(kept.values)))

    def due(self) -> bool:
        self._steps += 1
        if self._steps == self._kill_after:
            os.kill(self._group.others[-1], signal.SIGKILL)
        return self._steps < self._kill_after and self._steps % 2 == 0

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        arrays = {name: array.copy() for name, array in checkpoint.arrays.items()}
        self.latest[key] = Checkpoint(arrays, checkpoint.values)


@pytest.mark.timeout(120)
def test_fits_over_ranks_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same two processes: traffic as computed, bits, validation, cancelled, diverged, one of them killed."""
    monkeypatch.setattr("app.training.distributed.scratch.LEAST_BYTES", 1)
    graph = random_graph(n_users=200, n_items=60, weighted=True)
    parts = split(graph, np.random.default_rng(0))
    recipe = recipe_of("softmax", parts.train, decay=False)
    validation, begin = Validation(parts), start(parts.train)
    single = fit(parts.train, begin, recipe, validate=validation)
    with local_ranks(2, 20.0) as ranks:
        assert isinstance(ranks, LocalGroup)
        threads = {int(task.name): (task / "comm").read_text() for task in Path("/proc/self/task").iterdir()}
        of_gloo = {os.sched_getscheduler(thread) for thread, name in threads.items() if name.startswith("gloo")}
        assert (of_gloo, os.sched_getscheduler(0)) == ({os.SCHED_BATCH}, os.SCHED_OTHER)
        for half, n_users in ((False, 50), (True, 50), (True, 400)):
            assert summed_in_a_step(ranks, half=half, n_users=n_users) == {40 * 8 * 5 * (2 if half else 4)}
        told: list[int] = []
        first = fit(
            parts.train,
            begin,
            recipe,
            validate=validation,
            ranks=ranks,
            on_epoch=lambda epoch, *_: told.append(epoch),
        )
        assert told == [1, 2, 3, 4, 5, 6]
        assert first.embeddings.user_vectors.shape == single.embeddings.user_vectors.shape
        assert first.score == float(np.mean(validation(first.embeddings)))
        made = start_vectors(graph, recipe, Features.none(), Features.none())
        of_parts, of_whole = (fit(graph, initial, recipe, ranks=ranks) for initial in (made, made.whole()))
        np.testing.assert_array_equal(of_parts.embeddings.user_vectors, of_whole.embeddings.user_vectors)
        board, withheld = checkerboard()
        solved = fit(board, start(board), recipe_of("softmax", board, epochs=60), ranks=ranks).embeddings
        scores = solved.user_vectors @ solved.item_vectors.T
        scores[board.seen.toarray()] = -np.inf
        assert (scores.argmax(1) == withheld).all()
        with pytest.raises(CancelledError):
            fit(graph, start(graph), recipe, ranks=ranks, should_stop=lambda: True)
        with pytest.raises(DivergedError):
            fit(graph, np.full((graph.n_nodes, 8), 1e30, np.float32), recipe, ranks=ranks)
        kept = Kept(ranks, kill_after=9)
        before = ranks.others
        told.clear()
        again = fit(
            parts.train,
            begin,
            recipe,
            validate=validation,
            ranks=ranks,
            checkpoints=kept,
            on_epoch=lambda epoch, *_: told.append(epoch),
        )
        assert told == [1, 2, 3, 4, 5, 6]
        assert kept.resumed == [7]  # asked for the eighth time before the eighth step
        assert ranks.others != before
        for field in fields(Embeddings):
            np.testing.assert_array_equal(
                getattr(again.embeddings, field.name), getattr(first.embeddings, field.name), err_msg=field.name
            )
        assert (again.losses, again.score, again.steps) == (first.losses, first.score, first.steps)


class Finished:
    """Keeps what is finished, as long fits are."""

    def __init__(self) -> None:
        self.kept: dict[str, Checkpoint] = {}

    def resume(self, key: str) -> Checkpoint | None:
        return self.kept.get(key)

    def due(self) -> bool:
        return False

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        self.kept[key] = Checkpoint(checkpoint.arrays, json.loads(json.dumps(checkpoint.values)))


@pytest.mark.timeout(120)
def test_vectors_of_users_stay_with_their_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and sums are those of the whole, also when a fit is over that was kept with layer 0 alone."""
    monkeypatch.setattr("app.training.fit.FINISHED_SECONDS", 0.0)
    graph = random_graph(n_users=70, n_items=20)
    recipe, kept = recipe_of("softmax", graph), Finished()
    with local_ranks(2, 20.0) as ranks:
        whole = fit(graph, start(graph), recipe, ranks=ranks).embeddings
        for stay, finished in ((ALL_OF_USERS, 0), (VECTORS, 1), (VECTORS, 1)):
            fitted = fit(graph, start(graph), recipe, ranks=ranks, checkpoints=kept, stay=stay)
            assert len(kept.kept) == finished
            assert (fitted.embeddings.initial_user is None) == (stay == ALL_OF_USERS)
            users = Users(ranks, fitted.owned)
            assert 0 < len(users.own.vectors) < len(users) == 70
            rows = np.array([69, 0, 33, 5, 33])
            np.testing.assert_array_equal(users.rows(rows), whole.user_vectors[rows])
            check_sums(users, whole.user_vectors, graph)
            assert len(users.rows(rows[:0])) == 0
        (only,) = kept.kept.values()
        assert only.arrays["user_vectors"].size == 0
        few = users.few(np.array([3, 60]))
        np.testing.assert_array_equal(few.rows(np.array([60, 3, 60])), whole.user_vectors[[60, 3, 60]])
        with pytest.raises(KeyError):
            few.rows(np.array([4]))
        fit(graph, start(graph), recipe, ranks=ranks)
        with pytest.raises(RankLostError, match="lost another one"):
            lose(ranks, users)


def check_sums(users: Users, vectors: NDArray[np.float32], graph: BipartiteGraph) -> None:
    wide = vectors.astype(np.float64)
    wanted = wide.sum(axis=0), wide.T @ wide, (graph.user_items.toarray() > 0).T @ wide
    items = np.random.default_rng(3).standard_normal((graph.n_items, 5)).astype(np.float32)
    messages = np.random.default_rng(4).standard_normal((graph.n_items, vectors.shape[1])).astype(np.float32)
    norms = csr_array(
        (edge_norms(graph), graph.user_items.indices, graph.user_items.indptr), shape=graph.user_items.shape
    )
    inputs, own = norms @ items, vectors - norms @ messages
    for found, array in zip(
        users.own_regression(items, messages, graph.item_degrees), (inputs.T @ inputs, inputs.T @ own), strict=True
    ):
        np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-4)
    for found, array in zip(users.sums(), wanted, strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-12, atol=1e-12)


def lose(ranks: Ranks, users: Users) -> None:
    assert isinstance(ranks, LocalGroup)
    os.kill(ranks.others[0], signal.SIGKILL)
    users.rows(np.arange(70))


@pytest.mark.timeout(60)
def test_a_rank_that_does_not_answer_is_given_up_in_time() -> None:
    graph = random_graph()
    with local_ranks(2, 3.0) as ranks:
        assert isinstance(ranks, LocalGroup)
        (other,) = ranks.others

        def stop_the_other() -> bool:
            if other in ranks.others:
                os.kill(other, signal.SIGSTOP)
            return False

        ranks.renewed = lambda: False  # type: ignore[method-assign] # as over several machines
        with pytest.raises(RankLostError, match=r"rank 0 of 2 lost another one: .*(3000ms|[Tt]imed? ?out)"):
            fit(graph, start(graph), recipe_of("bpr", graph), ranks=ranks, should_stop=stop_the_other)


def test_work_is_divided_evenly() -> None:
    rng = np.random.default_rng(0)
    users = np.concatenate([rng.integers(0, 100, 5000), rng.integers(100, 1000, 5000)])
    graph = BipartiteGraph.from_pairs(users, rng.integers(0, 500, 10_000), n_users=1000, n_items=500)
    bounds = user_bounds(graph, 4)
    work = [graph.user_items.indptr[high] - graph.user_items.indptr[low] + high - low for low, high in pairwise(bounds)]
    assert sum(work) == graph.n_edges + graph.n_users
    assert max(work) < 1.05 * min(work)
    assert user_bounds(BipartiteGraph.from_pairs(users[:0], users[:0], n_users=2, n_items=1), 4)[-1] == 2
