import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.interactions import Features, Snapshot
from app.errors import CancelledError
from app.graph.bipartite import BipartiteGraph
from app.training.baselines import ClosedForms, closed_forms
from app.training.blend import IMAGE_RIDGE, FilterKind, linear_image, matrix_scores
from app.training.config import NO_FILTER, Recipe, TrainingConfig
from app.training.evaluate import evaluate, model_scores
from app.training.fit import fit
from app.training.remembered import to_remember
from app.training.run import scores_of, train
from app.training.sampling import steps_in_epoch
from app.training.search import FITTING_SHARE, HANDICAP, Choice, choose, eases, promising, step_seconds
from app.training.split import Split, split
from app.training.start import StartVectors, start_vectors
from tests.support.content import alone
from tests.support.graphs import random_graph
from tests.training.test_run import WEIGHTS, tastes

CONFIG = TrainingConfig(embedding_size=8, batch_size=256, epochs=6)


def parts_of(snapshot: Snapshot) -> Split:
    return split(BipartiteGraph.from_snapshot(snapshot, WEIGHTS), np.random.default_rng(0))


def start(graph: BipartiteGraph, recipe: Recipe) -> StartVectors:
    return start_vectors(graph, recipe, Features.none(), Features.none())


def chosen(parts: Split, config: TrainingConfig, *, began: float | None = None, **remembered: object) -> Choice:
    forms = closed_forms(
        parts.train,
        lambda scores: evaluate(scores, parts),
        filters=("ease", "gf_cf") if config.filter == "auto" else (config.filter,),
        eases=eases(parts.train, config),
        rng=np.random.default_rng(0),
    )
    return choose(parts, start, config, promising(forms, parts), remembered=remembered or None, began=began)


def test_several_recipes_are_tried_and_the_best_one_comes_back() -> None:
    choice = chosen(parts_of(tastes()), CONFIG)
    assert len({trial.recipe.l2_weight for trial in choice.trials}) >= 4
    assert {trial.recipe.parameters for trial in choice.trials} == {"all", "items"}
    assert any(trial is choice.best for trial in choice.trials)
    assert choice.best.score >= HANDICAP * max(trial.score for trial in choice.trials)
    assert all(trial.score >= trial.alone for trial in choice.trials)


def test_a_value_that_was_set_is_not_searched() -> None:
    choice = chosen(parts_of(tastes()), replace(CONFIG, l2_weight=0.25))
    assert {trial.recipe.l2_weight for trial in choice.trials} == {0.25}
    assert {trial.recipe.embedding_size for trial in choice.trials} == {8}


@pytest.mark.parametrize("config", [replace(CONFIG, time_budget_seconds=0), replace(CONFIG, loss="bpr")])
def test_no_budget_or_the_notebooks_loss_means_one_trial(config: TrainingConfig) -> None:
    assert len(chosen(parts_of(tastes()), config).trials) == 1


def test_the_notebooks_loss_keeps_within_the_budget() -> None:
    parts = parts_of(tastes())
    config = TrainingConfig(loss="bpr")
    recipe = config.recipe(parts.train.n_edges, parts.train.n_items)
    epoch = step_seconds(recipe, parts.train) * steps_in_epoch(parts.train, recipe.batch_size)
    short = chosen(parts, replace(config, time_budget_seconds=7 * epoch / FITTING_SHARE)).trials[0].recipe
    assert replace(short, **NO_FILTER) == replace(recipe, epochs=3)
    assert replace(chosen(parts, config).trials[0].recipe, **NO_FILTER) == recipe


def test_a_machine_too_slow_for_the_budget_still_makes_one_whole_fit() -> None:
    """Else a budget would give a worse model than none.  Whether short runs come first is known before."""
    parts, config = parts_of(tastes()), replace(CONFIG, epochs=100)
    recipe = config.recipe(parts.train.n_edges, parts.train.n_items)
    whole = step_seconds(recipe, parts.train) * steps_in_epoch(parts.train, recipe.batch_size) * recipe.epochs
    late = time.perf_counter() - 1001.0
    for_all = chosen(parts, replace(config, time_budget_seconds=1000.0), began=late)
    assert [trial.recipe.epochs for trial in for_all.trials] == [100]
    for_few = chosen(parts, replace(config, time_budget_seconds=4 * whole / FITTING_SHARE), began=late)
    epochs = [trial.recipe.epochs for trial in for_few.trials]
    assert epochs[0] < epochs[1] == 100
    assert for_few.best is for_few.trials[1]


def test_a_remembered_recipe_is_taken() -> None:
    choice = chosen(parts_of(tastes()), CONFIG, l2_weight=0.01, parameters="items", n_layers=1)
    (trial,) = choice.trials
    assert (trial.recipe.parameters, trial.recipe.n_layers) == ("items", 1)
    assert choice.fitted.embeddings.own_weight == 0.0


def test_the_same_data_choose_the_same() -> None:
    first, second = (chosen(parts_of(tastes()), CONFIG) for _ in range(2))
    assert first.best.recipe == second.best.recipe
    assert [trial.score for trial in first.trials] == [trial.score for trial in second.trials]


def test_a_recipe_whose_vectors_vanish_is_not_chosen() -> None:
    """Its ranking may be good by luck, so the score it is compared by is 0."""
    parts = parts_of(tastes())
    vanished = chosen(parts, replace(CONFIG, epochs=100), l2_weight=1.0).best
    assert (vanished.score, vanished.recipe.item_filter) == (0.0, "none")
    assert vanished.alone > 0.0
    usual = chosen(parts, replace(CONFIG, time_budget_seconds=0)).best
    assert usual.score >= usual.alone > 0.0


def test_a_normalised_filter_has_to_be_better_clearly_where_few_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, to be tried beside vectors at all; and of several only the best is."""
    parts = parts_of(tastes())
    plain, weak, strong = (FilterKind("ease", l2, power) for l2, power in ((50.0, 0.0), (50.0, 0.25), (200.0, 0.25)))
    matrices = {kind: csr_array(np.eye(2, dtype=np.float32)) for kind in (FilterKind("gf_cf"), plain, weak, strong)}

    def is_tried(score: float) -> bool:
        forms = ClosedForms({}, matrices, 50.0, {plain: 0.2, weak: 0.2001, strong: score})
        tried = set(promising(forms, parts))
        assert {FilterKind("gf_cf"), plain} <= tried <= {FilterKind("gf_cf"), plain, strong}
        return strong in tried

    assert [is_tried(score) for score in (0.2021, 0.2019)] == [True, False]
    monkeypatch.setattr("app.training.search.ENOUGH_USERS", len(np.unique(parts.held_users)))
    assert [is_tried(score) for score in (0.2019, 0.2003)] == [True, True]


def test_short_runs_are_compared_without_a_normalised_filter() -> None:
    parts, config, kind = parts_of(tastes()), replace(CONFIG, epochs=100), FilterKind("ease", 50.0, 0.25)
    recipe = config.recipe(parts.train.n_edges, parts.train.n_items)
    whole = step_seconds(recipe, parts.train) * steps_in_epoch(parts.train, recipe.batch_size) * recipe.epochs
    config = replace(config, time_budget_seconds=4 * whole / FITTING_SHARE)
    knowing = kind.matrix(BipartiteGraph.from_snapshot(tastes(), WEIGHTS))  # also what was held out
    trials = choose(parts, start, config, {kind: knowing}).trials
    tried = {(trial.recipe.epochs == 100, trial.recipe.filter_power) for trial in trials}
    assert tried == {(False, 0.0), (True, 0.25)}


def test_which_ones_are_tried_depends_on_the_size_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(n_items=40)

    def powers() -> list[float]:
        return [kind.power for kind in eases(graph, CONFIG)]

    assert powers() == [0.0] * 7 + [0.25] * 3
    monkeypatch.setattr("app.training.search.EASE_MANY", 39)
    assert powers() == [0.0] * 2 + [0.25]
    assert eases(graph, replace(CONFIG, ease_items=39)) == ()


def test_what_is_remembered_of_a_normalised_filter_is_taken_again() -> None:
    """It alone, and the report still compares with EASE as it is known."""
    remembered = {"item_filter": "ease", "filter_l2": 50.0, "filter_power": 0.25, "filter_weight": 1.0}
    config = TrainingConfig(embedding_size=2, epochs=1, l2_weight=5.0)
    model = train(tastes(), WEIGHTS, config, remembered=remembered)
    assert FilterKind.of(model.recipe) == FilterKind("ease", 50.0, 0.25)
    assert to_remember(model.recipe)["filter_power"] == 0.25
    plain = train(tastes(), WEIGHTS, config, remembered=remembered | {"filter_power": 0.0})
    assert FilterKind.of(plain.recipe) == FilterKind("ease", 50.0)
    assert model.metrics["ease"] == plain.metrics["ease"]
    assert model.ease_l2 == plain.ease_l2 == 50.0


def test_closed_forms_are_broken_off_by_a_cancelled_run() -> None:
    judged: list[bool] = []

    def should_stop() -> bool:
        judged.append(True)
        return len(judged) > 1

    with pytest.raises(CancelledError):
        train(tastes(), WEIGHTS, CONFIG, should_stop=should_stop, on_epoch=lambda *_: pytest.fail("an epoch was done"))


def test_without_a_filter_there_is_none() -> None:
    choice = chosen(parts_of(tastes()), replace(CONFIG, filter="none"))
    assert {trial.recipe.item_filter for trial in choice.trials} == {"none"}


def test_a_filter_that_helps_is_published_in_proportion() -> None:
    """A model that hardly learns leaves the ranking to the filter."""
    config = TrainingConfig(embedding_size=2, epochs=1, l2_weight=5.0, time_budget_seconds=0, filter="ease")
    model = train(tastes(), WEIGHTS, config)
    assert model.recipe.item_filter == "ease"
    assert model.item_filter is not None
    parts = Split(model.graph, *_unseen_of_own_group(model.graph), "random")
    alone, together = evaluate(model_scores(model.embeddings), parts), evaluate(scores_of(model), parts)
    assert together["recall@10"] > max(0.95, alone["recall@10"])
    assert model.metrics["model"]["ndcg@20"] > 0.9 * model.metrics["ease"]["ndcg@20"]


def _unseen_of_own_group(graph: BipartiteGraph) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    seen = graph.seen.toarray()
    users, items = np.nonzero(~seen)
    own = items // 10 == users % 6
    return users[own].astype(np.int32), items[own].astype(np.int32)


def test_users_without_a_layer_of_their_own_are_what_their_items_make_them() -> None:
    graph = random_graph(n_items=20)
    recipe = replace(CONFIG.recipe(graph.n_edges, graph.n_items), parameters="items", n_layers=1, half=False)
    made = fit(graph, start(graph, recipe), recipe).embeddings
    weights = graph.user_items.toarray()
    degrees = np.sqrt(np.outer(graph.user_degrees, graph.item_degrees))
    norms = np.divide(weights, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    assert made.own_weight == 0.0
    assert made.item_messages is not None
    np.testing.assert_allclose(made.user_vectors, norms @ made.item_messages, atol=1e-5)


def test_the_image_of_a_filter_scores_as_near_to_it_as_vectors_can() -> None:
    graph = random_graph(n_items=20)
    rng = np.random.default_rng(1)
    users = rng.normal(size=(graph.n_users, 6)).astype(np.float32)
    matrix = FilterKind("ease", 5.0).matrix(graph)
    wanted = matrix_scores(graph, matrix)(np.arange(graph.n_users))
    found = linear_image(matrix, alone(users, graph).sums())
    shrink = np.sqrt(IMAGE_RIDGE * np.mean(np.linalg.eigvalsh(users.T @ users)))
    stacked = np.concatenate([users, shrink * np.eye(6)]), np.concatenate([wanted, np.zeros((6, 20))])
    best, *_ = np.linalg.lstsq(*stacked)
    np.testing.assert_allclose(found, best.T, atol=1e-5)


def test_the_image_of_a_filter_is_no_longer_than_it_must_be_where_users_are_alike() -> None:
    """Else scores lose their digits, and a course that is only described stands above all others."""
    graph = random_graph(n_items=20)
    rng = np.random.default_rng(1)
    kinds = rng.normal(size=(2, 6))[rng.integers(0, 2, graph.n_users)]
    users = (kinds + 1e-4 * rng.normal(size=kinds.shape)).astype(np.float32)
    matrix = FilterKind("ease", 5.0).matrix(graph)
    found = linear_image(matrix, alone(users, graph).sums())
    assert np.abs(found).max() < 10 * np.abs(matrix_scores(graph, matrix)(np.arange(graph.n_users))).max()


def test_the_last_fit_goes_on_from_the_best_trial() -> None:
    told: list[float] = []
    config = replace(CONFIG, time_budget_seconds=0)
    model = train(tastes(), WEIGHTS, config, on_epoch=lambda _epoch, _epochs, loss, _seconds: told.append(loss))
    (trial,) = model.trials
    assert model.epochs == trial["epochs"] + round(trial["epochs"] / 2)
    assert model.losses[trial["epochs"]] < model.losses[0], "what was learned is not learned anew"
    assert model.losses[trial["epochs"] :] == tuple(told[-round(trial["epochs"] / 2) :])


def test_the_notebooks_loss_is_fitted_from_the_start_on_everything() -> None:
    model = train(tastes(), WEIGHTS, replace(CONFIG, loss="bpr"))
    assert model.epochs == model.trials[0]["epochs"]
