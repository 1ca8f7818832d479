"""One run for the worker: data in; embeddings, a filter, and what held-out interactions say of them, out."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.content import ContentMap
from app.domain.embeddings import Embeddings
from app.domain.interactions import Snapshot
from app.domain.item_filter import ItemFilter
from app.errors import CancelledError, CollapsedError, DivergedError
from app.graph.bipartite import BipartiteGraph
from app.graph.content import Content, LearnEncoder, contents_of, users_told, with_items
from app.memory import give_back
from app.training import warm
from app.training.baselines import ClosedForms, closed_forms, popular_scores
from app.training.blend import FilterKind, filter_matrix, linear_image, matrix_scores, plus, strengthened, unit_weight
from app.training.calibrate import divided
from app.training.calibrate import temperature as fitting_temperature
from app.training.checkpoint import Checkpoints
from app.training.collapse import check_not_collapsed
from app.training.config import NO_FILTER, Filter, FilterWish, Recipe, TrainingConfig
from app.training.current import Current, Known
from app.training.evaluate import Judged, Rows, Scores, evaluate, evaluate_together, model_scores, scores_with
from app.training.fit import ALL_OF_USERS, VECTORS, check_learnable, fit, propagated
from app.training.gate import judge_against, side_by_side
from app.training.layer0 import Layer0, Learned
from app.training.newcomers import own_weights, with_fold_in
from app.training.part import Owned
from app.training.ranks import ALONE, Ranks
from app.training.remembered import recipe_fields, remembered_filter
from app.training.result import FitResult, Metrics, OnEpoch, ShouldStop, TrainedModel, Verdict, after
from app.training.search import Choice, Trial, choose, eases, promising, whom_to_ask, with_plain
from app.training.split import Split, split
from app.training.start import StartVectors, start_vectors
from app.training.users import FewUsers, SomeUsers, Users

log = logging.getLogger(__name__)

OTHERS = 2  # trials whose recipes are taken when the last fit collapses
LEAST_HELD_OUT = 100  # fewer say nothing: one hit more or less would be a percent or more
UNJUDGED_GF_CF = {"item_filter": "gf_cf", "filter_weight": 1.0}  # of little data a filter says more than vectors do
UNJUDGED_FILTER: Mapping[FilterWish, Mapping[str, Any]] = {
    "none": {},
    "auto": UNJUDGED_GF_CF,
    "gf_cf": UNJUDGED_GF_CF,
    "ease": {"item_filter": "ease", "filter_l2": 200.0, "filter_weight": 1.0},
}


def train(
    snapshot: Snapshot,
    weights: Mapping[str, float],
    config: TrainingConfig,
    *,
    remembered: Mapping[str, Any] | None = None,
    current: Current | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    learn_encoder: LearnEncoder | None = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> TrainedModel:
    """Choose recipe, filter and number of epochs on held-out interactions, judge, and fit again on everything.

    remembered: fields of a recipe that was chosen for such data before, see ``to_remember``; it is taken then and
    nothing else tried, and no filter but the one it names.
    current: the model that is served, than which this one must not be much worse; with ``go_on`` and a remembered
    recipe its vectors are trained on for a few steps where that will do.
    learn_encoder: makes numbers of words; one that remembers saves the time.
    checkpoints: keep what the fits have done, for when the run is broken off.
    ranks: who trains together; this process is the first, and alone does all but the fits.
    on_epoch counts all fits through.  With too few interactions to hold any out there is one fit of all epochs, and
    UNJUDGED_FILTER beside it.
    Raises NothingToLearnError, CancelledError, DivergedError, CollapsedError, UnusableDeviceError, RankLostError.
    """
    began = time.perf_counter()
    graph = BipartiteGraph.from_snapshot(snapshot, weights)
    check_learnable(graph)

    nodes = _Nodes(snapshot, config.seed, learn_encoder)
    served = None if current is None else (current, Known(current, snapshot))
    why_not = None
    if served is not None and served[0].go_on and remembered:
        hooks = _Hooks(on_epoch, should_stop, checkpoints, ranks)
        recipe = config.recipe(graph.n_edges, graph.n_items, **remembered)
        model = _going_on(graph, recipe, served, nodes, hooks)
        if isinstance(model, TrainedModel):
            return replace(model, seconds=time.perf_counter() - began)
        why_not = model
    parts = split(graph, np.random.default_rng(config.seed))
    if len(parts.held_users) < LEAST_HELD_OUT:
        chosen = {**UNJUDGED_FILTER[config.filter], **(remembered or {})}
        recipe = config.recipe(graph.n_edges, graph.n_items, **chosen)
        final = fit(
            graph,
            nodes.start(graph, recipe),
            recipe,
            on_epoch=on_epoch,
            should_stop=should_stop,
            checkpoints=checkpoints,
            ranks=ranks,
            in_place=True,
            stay=ALL_OF_USERS,
        )
        return replace(_model(final, graph, recipe, began, nodes, ranks=ranks), why_not=why_not)

    count = _Counting(on_epoch, began)

    def judged(scores: Scores) -> Metrics:
        if should_stop is not None and should_stop():  # each of them may take many seconds
            raise CancelledError("the run was cancelled")
        return evaluate(scores, parts)

    kind = remembered_filter(remembered or {})
    filters: tuple[Filter, ...] = ("ease", "gf_cf") if config.filter == "auto" else (config.filter,)
    forms = closed_forms(
        parts.train,
        judged,
        filters=filters if kind is None else (kind.name,),
        eases=eases(parts.train, config) if kind is None or kind.name != "ease" else with_plain(kind),
        rng=np.random.default_rng(config.seed),
    )
    give_back()  # what graph and closed forms were made of
    choice = choose(
        parts,
        nodes.start,
        config,
        promising(forms, parts) if kind is None else {it: each for it, each in forms.filters.items() if it == kind},
        remembered=recipe_fields(remembered or {}),
        began=began,
        on_epoch=count.trying,
        should_stop=should_stop,
        checkpoints=checkpoints,
        ranks=ranks,
    )
    hooks = _Hooks(count.fitting, should_stop, checkpoints, ranks)

    def word_on(choice: Choice) -> _Word:
        chosen = _chosen_scores(choice, parts, forms, nodes)
        metrics = {"model": evaluate(chosen, parts), **forms.metrics}
        return _Word(metrics, _verdict(metrics, served, chosen, parts), fitting_temperature(chosen, parts))

    word = word_on(choice)
    trained = choice.fitted.without_vectors()  # what they need is in layer 0; millions of them are large
    layer0, choice = _layer0(choice.fitted.embeddings, ranks), replace(choice, fitted=trained)
    final, last, note = _fit_last(choice, parts, graph, nodes, hooks, layer0=layer0)
    if last is not choice:
        choice, word = last, word_on(last)
    verdict = word.verdict
    model = _model(
        final,
        graph,
        choice.best.recipe,
        began,
        nodes,
        ranks=ranks,
        parts=parts,
        metrics=word.metrics,
        verdict=replace(verdict, reason=f"{verdict.reason}; {note}") if note else verdict,
        choice=choice,
        temperature=word.temperature,
        ease_l2=forms.ease_l2,
    )
    return replace(model, why_not=why_not)


class _Word(NamedTuple):
    """What the held-out interactions say of a choice."""

    metrics: Mapping[str, Metrics]
    verdict: Verdict
    temperature: float


class _Hooks(NamedTuple):
    on_epoch: OnEpoch | None
    should_stop: ShouldStop | None
    checkpoints: Checkpoints | None
    ranks: Ranks


def _going_on(
    graph: BipartiteGraph, recipe: Recipe, served: tuple[Current, Known], nodes: "_Nodes", hooks: _Hooks
) -> TrainedModel | str:
    """A short fit from the layer 0 of the model that is served; or why that will not do.

    What is held out of it to judge it comes in at the end through propagation alone.
    """
    current, known = served
    rng = np.random.default_rng(recipe.seed)
    if (why := warm.obstacle(current, known, graph, recipe)) is not None:
        return why
    new = warm.hold_out_new(known, graph, rng)
    learned = graph if new is None else new.train
    otherwise = nodes.start(learned, replace(recipe, start="xavier")).whole()
    start = warm.warm_start(current, known, learned, otherwise)
    short = warm.warm_recipe(recipe, learned.n_edges)
    try:
        final = fit(learned, start, short, in_place=True, stay=VECTORS, **hooks._asdict())
        users = Users(hooks.ranks, final.owned)
        check_not_collapsed(final, users)
    except (DivergedError, CollapsedError) as error:
        return str(error)
    root = np.float32(np.sqrt(current.temperature))
    item_vectors = final.embeddings.item_vectors / root

    def scores(rows: Rows) -> NDArray[np.float32]:
        own: NDArray[np.float32] = (users.rows(rows) / root) @ item_vectors.T
        return own

    parts = warm.hold_out_learned(known, graph, rng) if new is None else new
    judged = _beside_the_served(known, scores, learned, parts)
    metrics: dict[str, Metrics] = {}
    if new is None:
        what = "interactions that both have learned from"
        verdict = Verdict(True, f"too few interactions are new to {current.model_id} to judge by")
    else:
        what = "interactions that neither has seen"
        metrics = {"model": judged[1].metrics, "popular": evaluate(popular_scores(learned), parts)}
        verdict = judge(metrics)
        layer0 = _layer0(final.embeddings, hooks.ranks)
        made = propagated(graph, layer0, short, hooks.ranks, ALL_OF_USERS)
        final = replace(final, embeddings=made.embeddings, owned=made.owned)
    against = side_by_side(current, (judged[-1].ndcgs, judged[0].ndcgs), len(parts.held_users), what)
    verdict = Verdict(verdict.accepted and against.accepted, f"{verdict.reason}; {against.reason}")
    if not verdict.accepted:
        return verdict.reason
    began = time.perf_counter()
    model = _model(
        final, graph, recipe, began, nodes, ranks=hooks.ranks, verdict=verdict, temperature=current.temperature
    )
    model = replace(model, went_on=True)
    return replace(model, metrics=metrics, split="new", n_held_out=len(parts.held_users)) if metrics else model


def _beside_the_served(known: Known, scores: Scores, graph: BipartiteGraph, parts: Split) -> list[Judged]:
    """The model that is served and the new one with the same filter; where that one lacks items, the new one without.

    scores: of the new model's vectors.
    """
    theirs, added = known.vector_scores(graph), known.added(graph)
    lacks = bool((known.items < 0).any())

    def blends(rows: Rows) -> list[NDArray[np.float32]]:
        both = [theirs(rows), scores(rows)]
        if added is not None:
            more = added(rows)
            both = [np.add(values, more, out=values) for values in both]
        return [*both, known.without_absent(both[1].copy())] if lacks else both

    return evaluate_together(blends, 3 if lacks else 2, parts)


def _layer0(embeddings: Embeddings, ranks: Ranks) -> NDArray[np.float32] | Layer0:
    """For several ranks as it is, of which each gets its part; for one as what it may learn in."""
    assert embeddings.initial_user is not None
    learned = Learned(embeddings.initial_user, embeddings.initial_item)
    return learned.whole() if ranks.size == 1 else learned


class _Way(NamedTuple):
    """How all interactions may be learned: a trial's recipe, from where, and for how many epochs of which schedule."""

    said: str
    trial: Trial
    start: NDArray[np.float32] | Layer0
    recipe: Recipe
    stop_after: int | None


def _fit_last(
    choice: Choice,
    parts: Split,
    graph: BipartiteGraph,
    nodes: "_Nodes",
    hooks: _Hooks,
    *,
    layer0: NDArray[np.float32] | Layer0,
) -> tuple[FitResult, Choice, str]:
    """All interactions learned as the best trial says or, should that collapse, in the next best way, and which it was.

    layer0: of the best trial, which is written to.  If another trial's way was taken, the choice is that.  Raises what
    the first way raised when there is no other.
    """
    failure: CollapsedError | DivergedError | None = None
    judged = choice.fitted, choice.users
    for way in _ways(choice, layer0, graph, nodes):
        try:
            if way.trial is not choice.best:  # first, as the ranks keep the users of one fit
                judged = _tried(way.trial, parts, nodes, hooks)
            final = fit(
                graph,
                way.start,
                way.recipe,
                stop_after=way.stop_after,
                in_place=True,
                stay=ALL_OF_USERS,
                **hooks._asdict(),
            )
            check_not_collapsed(final, Users(hooks.ranks, final.owned))
        except (CollapsedError, DivergedError) as error:
            log.warning("the last fit, %s, failed: %s", way.said, error)
            failure = failure or error
            continue
        if way.recipe is not way.trial.recipe:
            final = after(choice.fitted, final)
        if way.trial is not choice.best:
            fitted, users = judged
            choice = replace(choice, best=way.trial, fitted=fitted, users=users)
        return (
            final,
            choice,
            "" if failure is None else f"learned {way.said}, since the usual last fit failed: {failure}",
        )
    assert failure is not None
    raise failure


def _tried(trial: Trial, parts: Split, nodes: "_Nodes", hooks: _Hooks) -> tuple[FitResult, FewUsers]:
    """What a trial came to, and the users by whom it is judged."""
    start = nodes.start(parts.train, trial.recipe)
    stop = trial.epochs
    fitted = fit(parts.train, start, trial.recipe, stop_after=stop, in_place=True, stay=ALL_OF_USERS, **hooks._asdict())
    users = Users(hooks.ranks, fitted.owned)
    return fitted.without_vectors(), users.few(whom_to_ask(parts)).with_sums(users.sums())


def _ways(
    choice: Choice, layer0: NDArray[np.float32] | Layer0, graph: BipartiteGraph, nodes: "_Nodes"
) -> Iterator[_Way]:
    """First as usual, then what is likelier to hold.

    Where the learning rate decays, the best trial's own layer 0 goes on: as good as another fit from the start (NDCG
    within a percent on five public data sets, oftener above) in half its time.
    """
    best = choice.best
    if best.recipe.decay:
        yield _Way("going on from the trial", best, layer0, best.recipe.going_on(best.epochs), None)
    yield _Way("from the start", best, nodes.start(graph, best.recipe), best.recipe, best.epochs)
    others = [trial for trial in choice.trials if trial.score > 0 and _of_vectors(trial) != _of_vectors(best)]
    for trial in sorted(others, key=lambda trial: -trial.score)[:OTHERS]:
        start = nodes.start(graph, trial.recipe)
        yield _Way("by the recipe of another trial", trial, start, trial.recipe, trial.epochs)
    if best.epochs > 1:
        start = nodes.start(graph, best.recipe)
        yield _Way("for half of the epochs", best, start, best.recipe, best.epochs // 2)


def _of_vectors(trial: Trial) -> Recipe:
    """What the vectors are learned by, but for how long."""
    return replace(trial.recipe, epochs=1, **NO_FILTER)


def scores_of(model: TrainedModel) -> Scores:
    """Scores of the published model, embeddings and filter, for its users and items."""
    return _sum(model_scores(model.embeddings), model.item_filter, model.graph)


def judge(metrics: Mapping[str, Metrics]) -> Verdict:
    """The model must not rank the held-out interactions worse than most-popular does."""
    model, popular = metrics["model"]["ndcg@20"], metrics["popular"]["ndcg@20"]
    if model >= popular:
        return Verdict(True, f"NDCG@20 is {model:.4f} on held-out interactions, most-popular has {popular:.4f}")
    return Verdict(False, f"NDCG@20 is only {model:.4f} on held-out interactions, most-popular has {popular:.4f}")


def _verdict(
    metrics: Mapping[str, Metrics], served: tuple[Current, Known] | None, scores: Scores, parts: Split
) -> Verdict:
    """Against most-popular and, where a model is served, against that."""
    verdict = judge(metrics)
    if served is None or not verdict.accepted:
        return verdict
    against = judge_against(*served, scores, parts)
    return Verdict(against.accepted, f"{verdict.reason}; {against.reason}")


def _chosen_scores(choice: Choice, parts: Split, forms: ClosedForms, nodes: "_Nodes") -> Scores:
    """Of the chosen model, filter and all, as it is without the held-out interactions."""
    fitted, users, recipe = choice.fitted.embeddings, choice.users, choice.best.recipe
    matrix = None
    if recipe.item_filter != "none":
        matrix = forms.filters[FilterKind.of(recipe)]
    item_filter = _strengthened(matrix, scores_with(users, fitted.item_vectors), parts.train, recipe)
    embeddings, _ = nodes.with_items(fitted, parts.train, item_filter, users)  # whoever is asked about has edges
    return _sum(scores_with(users, embeddings.item_vectors), item_filter, parts.train)


def _filter(own: Scores, graph: BipartiteGraph, recipe: Recipe) -> ItemFilter | None:
    """The recipe's filter of the graph, in the right proportion to these scores of vectors."""
    if recipe.item_filter == "none" or recipe.filter_weight == 0:
        return None
    return _strengthened(FilterKind.of(recipe).matrix(graph), own, graph, recipe)


def _strengthened(matrix: csr_array | None, own: Scores, graph: BipartiteGraph, recipe: Recipe) -> ItemFilter | None:
    if matrix is None:
        return None
    users = np.flatnonzero(graph.user_degrees > 0)
    unit = unit_weight(own, matrix_scores(graph, matrix), users)
    return strengthened(matrix, recipe.filter_weight * unit)


def _sum(own: Scores, item_filter: ItemFilter | None, graph: BipartiteGraph) -> Scores:
    return own if item_filter is None else plus(own, matrix_scores(graph, filter_matrix(item_filter)), 1.0)


class _Nodes:
    """What is known of the nodes beside the graph, for every vector size that is tried."""

    def __init__(self, snapshot: Snapshot, seed: int, learn: LearnEncoder | None) -> None:
        self._snapshot, self._seed, self._learn = snapshot, seed, learn
        self._contents: dict[int, tuple[Content | None, Content | None]] = {}  # of users and items, by size
        self._starts: dict[Any, StartVectors] = {}

    def start(self, graph: BipartiteGraph, recipe: Recipe) -> StartVectors:
        """Layer 0 to train from; found once for each graph and size."""
        key = id(graph), recipe.embedding_size, recipe.start, recipe.start_rms  # all else that matters is the same
        if key not in self._starts:
            users, items = self._of_size(recipe.embedding_size)
            features = self._snapshot.user_features, self._snapshot.item_features
            self._starts[key] = start_vectors(graph, recipe, *features, user_content=users, item_content=items)
        return self._starts[key]

    def with_items(
        self, embeddings: Embeddings, graph: BipartiteGraph, item_filter: ItemFilter | None, users: SomeUsers
    ) -> tuple[Embeddings, ContentMap | None]:
        """With what content says of items that the graph hardly knows, and the filter says nothing of."""
        _, items = self._of_size(embeddings.item_vectors.shape[1])
        image = None
        if items is not None and item_filter is not None:
            image = linear_image(filter_matrix(item_filter), users.sums())
        return with_items(embeddings, graph, items, image)

    def place(self, users: Users, graph: BipartiteGraph) -> None:
        """Give users without edges the vectors that content tells of, or zeros."""
        content, _ = self._of_size(users.size)
        users.place(*users_told(graph, content, users.rows))

    def _of_size(self, size: int) -> tuple[Content | None, Content | None]:
        if size not in self._contents:
            self._contents[size] = contents_of(self._snapshot, size, self._seed, self._learn)
        return self._contents[size]


class _Counting:
    """Epochs of all fits as one count, for the progress of the run."""

    def __init__(self, on_epoch: OnEpoch | None, began: float) -> None:
        self._on_epoch, self._began = on_epoch, began
        self._done, self._told = 0, 0

    def trying(self, epoch: int, epochs: int, loss: float) -> None:
        """An epoch of a trial."""
        self._tell(epoch, epochs, loss)

    def fitting(self, epoch: int, epochs: int, loss: float, _seconds: float) -> None:
        """An epoch of the last fit, or of another one when that failed."""
        if epoch == 1:
            self._done = self._told
        self._tell(self._done + epoch, self._done + epochs, loss)

    def _tell(self, epoch: int, epochs: int, loss: float) -> None:
        self._told = epoch
        if self._on_epoch is not None:
            self._on_epoch(epoch, epochs, loss, time.perf_counter() - self._began)


def _model(
    final: FitResult,
    graph: BipartiteGraph,
    recipe: Recipe,
    began: float,
    nodes: _Nodes,
    *,
    ranks: Ranks,
    parts: Split | None = None,
    metrics: Mapping[str, Metrics] = MappingProxyType({}),
    verdict: Verdict | None = None,
    choice: Choice | None = None,
    temperature: float = 1.0,
    ease_l2: float | None = None,
) -> TrainedModel:
    unjudged = Verdict(True, f"not judged: {LEAST_HELD_OUT} interactions to hold out are needed, and there were fewer")
    users = Users(ranks, final.owned)
    check_not_collapsed(final, users)
    nobody = final.embeddings.user_vectors[:0]
    # Before filter and words, which take their measure from it.
    trained = divided(replace(final.embeddings, user_vectors=nobody), temperature)
    users.divide(float(np.sqrt(temperature)))
    item_filter = _filter(scores_with(users, trained.item_vectors), graph, recipe)
    to_newcomers = own_weights(trained, users, graph.item_degrees)
    embeddings, content_map = nodes.with_items(trained, graph, item_filter, users)
    embeddings = with_fold_in(embeddings, to_newcomers)
    nodes.place(users, graph)
    owned = Owned(users.own, final.owned.counts)
    return TrainedModel(
        embeddings=replace(embeddings, user_vectors=owned.part.vectors),
        owned=owned,
        content=content_map,
        item_filter=item_filter,
        trials=tuple(trial.as_dict() | {"chosen": trial is choice.best} for trial in choice.trials) if choice else (),
        graph=graph,
        recipe=recipe,
        losses=final.losses,
        epochs=final.epochs,
        steps=final.steps,
        device=final.device,
        seconds=time.perf_counter() - began,
        fit_seconds=final.seconds,
        split=parts.kind if parts else "none",
        n_held_out=len(parts.held_users) if parts else 0,
        metrics=metrics,
        verdict=verdict or unjudged,
        ease_l2=ease_l2,
        temperature=temperature,
        validation=choice.fitted.validation if choice else (),
    )
