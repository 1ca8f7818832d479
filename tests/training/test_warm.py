"""Going on from the model that is served."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.interactions import Snapshot
from app.domain.vocabulary import Vocabulary
from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_adjacency
from app.training.checkpoint import Checkpoint
from app.training.current import Current, Known
from app.training.evaluate import evaluate
from app.training.remembered import to_remember
from app.training.result import TrainedModel
from app.training.run import scores_of, train
from app.training.split import Split
from app.training.warm import obstacle, warm_recipe, warm_start
from app.worker.checkpoints import read_checkpoint, write_checkpoint
from tests.training.test_gate import served, without
from tests.training.test_run import CONFIG, WEIGHTS, tastes

USUAL = replace(CONFIG, time_budget_seconds=0, epochs=60, learning_rate=0.1)
ROOT = Path(__file__).parents[2]


def history(share: float = 0.05, n_users: int = 600) -> tuple[Snapshot, Snapshot, NDArray[np.int32]]:
    """Before and after a share of the interactions, and pairs that are in neither: the rest of everybody's ten."""
    after = tastes(n_users)
    late = np.random.default_rng(3).random(len(after.user_rows)) < share
    taken = BipartiteGraph.from_snapshot(after, WEIGHTS).seen.toarray()
    own = np.add.outer(10 * (np.arange(n_users) % 6), np.arange(10))
    rest = [(u, i) for u in range(n_users) for i in own[u] if not taken[u, i]]
    return without(after, late), after, np.array(rest, np.int32)


def warm(before: Snapshot, after: Snapshot, first: TrainedModel, **others: object) -> TrainedModel:
    current = replace(served(before, first), go_on=True)
    return train(after, WEIGHTS, USUAL, remembered=to_remember(first.recipe), current=current, **others)  # type: ignore[arg-type]


@pytest.mark.timeout(240)
def test_a_short_fit_from_the_served_model_is_as_good_as_a_full_one() -> None:
    before, after, rest = history()
    first, full = (train(snapshot, WEIGHTS, USUAL) for snapshot in (before, after))
    short = warm(before, after, first)
    assert short.went_on
    assert short.trials == ()
    assert short.split == "new"
    assert short.steps < full.steps / 2
    assert short.verdict.accepted
    assert "neither has seen" in short.verdict.reason
    asked = Split(full.graph, rest[:, 0], rest[:, 1], "random")
    ours, theirs = (evaluate(scores_of(model), asked)["recall@10"] for model in (short, full))
    assert theirs > 0.9
    assert ours > 0.98 * theirs


@pytest.mark.timeout(240)
def test_layer_0_is_what_was_trained_and_new_nodes_get_that_of_their_neighbours() -> None:
    before, after, _ = history(n_users=200)
    first = train(before, WEIGHTS, USUAL)
    trained = first.embeddings
    assert trained.initial_user is not None
    current = served(before, first)
    after = replace(after, users=Vocabulary([f"u{row}" for row in range(199)] + ["new"]))
    after = replace(after, items=Vocabulary([*after.items.ids, "taken by nobody"]))
    graph = BipartiteGraph.from_snapshot(after, WEIGHTS)
    otherwise = np.full((graph.n_nodes, 16), 7.0, np.float32)
    layer0 = warm_start(current, Known(current, after), graph, otherwise)
    root = np.sqrt(first.temperature)
    np.testing.assert_allclose(layer0[:199], trained.initial_user[:199] * root, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(layer0[200:260], trained.initial_item * root, rtol=1e-6)
    sent = normalised_adjacency(graph)[[199], :][:, 200:260] @ layer0[200:260]
    np.testing.assert_allclose(layer0[199], sent[0], rtol=1e-5)
    assert (layer0[260] == 7.0).all()


@pytest.mark.timeout(240)
def test_items_alone_send_new_items_two_hops() -> None:
    """Where users have no layer 0, a new item's neighbours have nothing to send but what they have of others."""
    before, after, _ = history(n_users=200)
    recipe = to_remember(USUAL.recipe(1200, 60, parameters="items", n_layers=1, l2_weight=1e-3))
    first = train(before, WEIGHTS, replace(USUAL, batch_size=128), remembered=recipe)
    current = served(before, first)
    after = replace(after, items=Vocabulary(["new", *after.items.ids[1:]]))
    graph = BipartiteGraph.from_snapshot(after, WEIGHTS)
    layer0 = warm_start(current, Known(current, after), graph, np.zeros((graph.n_nodes, 16), np.float32))
    assert not layer0[:200].any()
    adjacency = normalised_adjacency(graph)
    known = layer0.copy()
    known[200] = 0.0
    np.testing.assert_allclose(layer0[200], (adjacency @ (adjacency @ known))[200], rtol=1e-4, atol=1e-6)
    assert layer0[200].any()


@pytest.mark.timeout(240)
def test_what_is_too_different_is_trained_from_the_start() -> None:
    before, after, _ = history(n_users=300)
    first = train(before, WEIGHTS, replace(USUAL, epochs=4))
    current = served(before, first)
    graph = BipartiteGraph.from_snapshot(after, WEIGHTS)
    recipe = first.recipe
    assert obstacle(current, Known(current, after), graph, recipe) is None
    longer = replace(recipe, embedding_size=32)
    assert "no vectors of size 32" in str(obstacle(current, Known(current, after), graph, longer))
    strangers = replace(after, users=Vocabulary([f"v{row}" for row in range(100)] + list(after.users.ids[100:])))
    assert "knows only 72%" in str(obstacle(current, Known(current, strangers), graph, recipe))
    half = without(after, np.arange(len(after.user_rows)) % 2 == 0)
    few = BipartiteGraph.from_snapshot(half, WEIGHTS)
    assert "of the interactions came or went" in str(obstacle(current, Known(current, half), few, recipe))
    fallen_back = warm(before, strangers, first)
    assert not fallen_back.went_on
    assert "knows only 72%" in str(fallen_back.why_not)
    assert fallen_back.trials


@pytest.mark.timeout(240)
def test_few_new_interactions_are_no_obstacle_and_the_verdict_says_what_was_compared() -> None:
    before, after, _ = history(0.01, 400)
    first = train(before, WEIGHTS, USUAL)
    model = warm(before, after, first)
    assert model.went_on
    assert model.metrics == {}
    assert "too few interactions are new" in model.verdict.reason
    assert "interactions that both have learned from" in model.verdict.reason


@pytest.mark.timeout(240)
def test_a_short_fit_that_is_worse_is_not_taken_and_a_full_run_follows() -> None:
    """The layer 0 that is published is noise, while the vectors of the one served are as good as before."""
    before, after, _ = history()
    first = train(before, WEIGHTS, USUAL)
    noise = 1000 * np.random.default_rng(0).standard_normal(first.embeddings.initial_item.shape)
    current = served(before, first)
    spoilt = replace(current.contents, initial_item=noise.astype(np.float32))
    current = replace(current, contents=spoilt, go_on=True)
    model = train(after, WEIGHTS, USUAL, remembered=to_remember(first.recipe), current=current)
    assert not model.went_on
    assert "neither has seen" in str(model.why_not)
    assert model.trials


def test_a_short_fit_has_few_steps_whatever_the_size() -> None:
    for n_edges in (500, 50_000, 1_000_000):
        recipe = warm_recipe(USUAL.recipe(n_edges, 100), n_edges)
        assert recipe.epochs * -(-n_edges // recipe.batch_size) <= 30


class Files:
    """Checkpoints in one file, after every step; the process kills itself once ``deadly`` of them are kept."""

    def __init__(self, folder: Path, deadly: int | None = None) -> None:
        self.resumed, self.n_kept = 0, 0
        self._folder, self._deadly = folder, deadly

    def resume(self, key: str) -> Checkpoint | None:
        path = self._folder / key
        self.resumed += path.exists()
        return read_checkpoint(path) if path.exists() else None

    def due(self) -> bool:
        return self._deadly is not None

    def keep(self, key: str, checkpoint: Checkpoint) -> None:
        new = self._folder / "new"  # what was resumed from is still read
        write_checkpoint(new, checkpoint)
        new.replace(self._folder / key)
        self.n_kept += 1
        if self.n_kept == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def stand() -> tuple[Snapshot, Snapshot, TrainedModel]:
    before, after, _ = history(n_users=300)
    return before, after, train(before, WEIGHTS, replace(USUAL, epochs=10))


@pytest.mark.timeout(180)
def test_killed_in_its_middle_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.training.test_warm import Files, stand, warm; import sys; "
        "warm(*stand(), checkpoints=Files(Path(sys.argv[1]), 9))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    before, after, first = stand()
    kept = Files(tmp_path)
    again = warm(before, after, first, checkpoints=kept)
    assert kept.resumed == 1
    undisturbed = warm(before, after, first)
    for name in ("user_vectors", "item_vectors", "initial_item", "item_messages"):
        np.testing.assert_array_equal(getattr(again.embeddings, name), getattr(undisturbed.embeddings, name))
    assert again.losses == undisturbed.losses
    other = train(before, WEIGHTS, replace(USUAL, epochs=10, seed=1))
    elsewhere = Files(tmp_path)
    warm(before, after, other, checkpoints=elsewhere)
    assert elsewhere.resumed == 0, "what was kept is of a fit that started from another model"


def test_served_models_of_the_first_releases_are_not_gone_on_from() -> None:
    before, after, first = stand()
    current = served(before, first)
    old: Current = replace(current, contents=replace(current.contents, item_messages=None))
    graph = BipartiteGraph.from_snapshot(after, WEIGHTS)
    assert "no vectors" in str(obstacle(old, Known(old, after), graph, first.recipe))
