"""Which recipe fits these data: tried on held-out interactions, short runs first, within a time budget.

All at full length where there is time for that, else successive halving (Jamieson and Talwalkar 2016) in two rungs.
What may be tried follows from sizes alone and not from a clock, so that the same data give the same model on any
machine that keeps up with the budget; on one that does not, what no longer fits is left out.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.graph.bipartite import BipartiteGraph
from app.training.baselines import ClosedForms
from app.training.blend import FilterKind, kept_scores, sample_of, unit_weight
from app.training.checkpoint import Checkpoints
from app.training.collapse import collapsed
from app.training.config import (
    DEFAULT_LAYERS,
    GOING_ON,
    MANY_ITEMS,
    NO_FILTER,
    SMALL,
    Recipe,
    TrainingConfig,
    epochs_of,
)
from app.training.evaluate import METRIC, Scores, Validation, scores_with, sweep
from app.training.fit import VECTORS, fit
from app.training.ranks import ALONE, Ranks
from app.training.result import FitResult, ShouldStop
from app.training.sampling import steps_in_epoch
from app.training.split import Split, few_users
from app.training.start import StartVectors
from app.training.users import FewUsers, Users

log = logging.getLogger(__name__)

Start = Callable[[BipartiteGraph, Recipe], StartVectors]
"""Layer 0 to train from."""
OnTrialEpoch = Callable[[int, int, float], None]
"""Called after each epoch of a trial: epochs done in all trials, the most there will be with the last fit, loss."""

SHORT_STEPS = 60  # of a first look; what is best after them is among the best after STEPS
L2_WEIGHTS = (0.02, 0.05, 0.1, 0.01)  # none suits all data, and nothing else matters as much
FEW_EDGES, L2_OF_FEW = 15, 0.1  # of a user on average, up to which the largest is the likeliest
UNMASKED: tuple[dict[str, Any], ...] = ({"mask": False, "l2_weight": 0.02}, {"mask": False, "l2_weight": 0.05})
ITEMS_ONLY = {"parameters": "items", "n_layers": 1, "l2_weight": 1e-3}  # where users are many and short
LONGER = 128  # numbers in a vector, tried where the usual is 64
HANDICAP = 0.99  # of its score, with which that is compared: on other interactions it is seldom as good as on these
FINALISTS = 3  # of the first rung that are trained at full length
POWER = 0.25  # of EASE, half of the way to a symmetric normalisation
ENOUGH_USERS = 2_000  # with held-out interactions, by whom EASE with a power and without are told apart
EASES = (
    *(FilterKind("ease", l2) for l2 in (20.0, 50.0, 100.0, 200.0, 400.0, 1000.0, 2000.0)),
    *(FilterKind("ease", l2, POWER) for l2 in (50.0, 200.0, 600.0)),
)
EASE_MANY = 3_000  # items from which fewer matrices are tried: they take seconds each
EASES_OF_MANY = (FilterKind("ease", 200.0), FilterKind("ease", 1000.0), FilterKind("ease", 200.0, POWER))
FILTER_WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 10.0, 30.0)  # every second first, then the best's neighbours
# Times the best of them, judged by all users; the vectors of the last fit need less of a filter.
FINER = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4)
AS_GOOD = 0.995  # of the best score: half a percent is chance; of little data the filter is the safer part
VALIDATION_USERS, VALIDATION_USERS_OF_MANY = 3_000, 1_500  # a standard error of a percent or so, for a second
# Of a step on two cores of 2023, for planning: seconds an edge, layer and number; a pair of the batch and number; and
# a number of a node's vector.
EDGE_SECONDS, PAIR_SECONDS, NODE_SECONDS = 2.2e-10, 2e-8, 1e-9
FITTING_SHARE = 0.7  # of the budget; the rest goes to closed forms and judging
FAVOUR = 1.02  # by which another recipe has to beat the usual one in short runs, which like less L2 than long ones do


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe that was tried, with the filter that went best with it.

    epochs: those whose weights were best.  score: NDCG@20 on the held-out interactions; alone: the same of the vectors
    without filter.  seconds: of the fit.  share: of the recipe's epochs that were done before it stopped early.
    steps: in ``epochs``.
    """

    recipe: Recipe
    epochs: int
    score: float
    alone: float
    seconds: float
    share: float
    steps: int

    def as_dict(self) -> dict[str, Any]:
        """What tells trials apart, ready for JSON."""
        of_vectors = ("embedding_size", "n_layers", "parameters", "mask", "l2_weight")
        names = (*of_vectors, *NO_FILTER)
        return {name: getattr(self.recipe, name) for name in names} | {
            "epochs": self.epochs,
            "steps": self.steps,
            METRIC: round(self.score, 5),
            f"{METRIC} without filter": round(self.alone, 5),
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """The best trial with its vectors of the training part, and all that were made.

    users: the vectors of those users whom others are asked about; in ``fitted`` there is only their layer 0.
    """

    best: Trial
    fitted: FitResult
    users: FewUsers
    trials: tuple[Trial, ...]


def choose(
    parts: Split,
    start: Start,
    config: TrainingConfig,
    filters: Mapping[FilterKind, csr_array],
    *,
    remembered: Mapping[str, Any] | None = None,
    began: float | None = None,
    on_epoch: OnTrialEpoch | None = None,
    should_stop: ShouldStop | None = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> Choice:
    """Try recipes, each with every filter, on the held-out part.

    filters: of the graph without that part.  remembered: fields of a recipe that was chosen before; only it is tried
    then.  began: when the time budget did, by ``time.perf_counter``; None: now.  Raises what ``fit`` raises.
    """
    began = time.perf_counter() if began is None else began
    hooks = _Hooks(began, on_epoch, should_stop, checkpoints, ranks)
    return _Search(parts, start, config, filters, hooks).run(remembered)


def eases(graph: BipartiteGraph, config: TrainingConfig) -> tuple[FilterKind, ...]:
    """Those to try on a graph; none where their cost is too great."""
    if graph.n_items > config.ease_items:
        return ()
    return EASES if graph.n_items <= EASE_MANY else EASES_OF_MANY


def promising(forms: ClosedForms, parts: Split) -> Mapping[FilterKind, csr_array]:
    """The filters to try beside vectors: of EASE with a power at most the best, where it is the best alone."""
    shares = _Shares.by(parts)
    best = max(forms.eases, key=lambda kind: shares.of(kind) * forms.eases[kind], default=None)
    return {kind: matrix for kind, matrix in forms.filters.items() if not kind.power or kind == best}


def with_plain(kind: FilterKind) -> tuple[FilterKind, ...]:
    """An EASE, and before it the one without a power, which is what a report compares with."""
    return (replace(kind, power=0.0), kind) if kind.power else (kind,)


def step_seconds(recipe: Recipe, graph: BipartiteGraph) -> float:
    """Expected time of a step on two cores."""
    a_number = 4 * recipe.n_layers * graph.n_edges * EDGE_SECONDS / (2 if recipe.half else 1)
    a_number += min(recipe.batch_size, graph.n_edges) * PAIR_SECONDS + graph.n_nodes * NODE_SECONDS
    return recipe.embedding_size * a_number


def whom_to_ask(parts: Split) -> NDArray[np.int64]:
    """The users by whom a fit without the held-out part is judged and measured, ascending."""
    some = sample_of(np.flatnonzero(parts.train.user_degrees > 0))
    return np.union1d(parts.held_users.astype(np.int64), some)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of scores on held-out interactions, by which filters and trials are compared.  power: of EASE with one."""

    power: float

    @classmethod
    def by(cls, parts: Split) -> "_Shares":
        return cls(1.0 if len(np.unique(parts.held_users)) >= ENOUGH_USERS else HANDICAP)

    def of(self, kind: FilterKind) -> float:
        return self.power if kind.power else 1.0

    def worth(self, trial: Trial) -> float:
        share = HANDICAP if trial.recipe.parameters == "items" else 1.0
        return trial.score * self.of(FilterKind.of(trial.recipe)) * share


class _Hooks(NamedTuple):
    began: float
    on_epoch: OnTrialEpoch | None
    should_stop: ShouldStop | None
    checkpoints: Checkpoints | None
    ranks: Ranks


class _Search:
    def __init__(
        self,
        parts: Split,
        start: Start,
        config: TrainingConfig,
        filters: Mapping[FilterKind, csr_array],
        hooks: _Hooks,
    ) -> None:
        self._start, self._config = start, config
        self._began, self._on_epoch, self._should_stop, self._checkpoints, self._ranks = hooks
        self._graph, self._all, self._matrices = parts.train, parts, filters
        many = self._graph.n_items > MANY_ITEMS
        self._parts = few_users(parts, VALIDATION_USERS_OF_MANY if many else VALIDATION_USERS)
        self._users = np.unique(self._parts.held_users)
        self._filters = {kind: kept_scores(self._graph, matrix, self._users) for kind, matrix in filters.items()}
        self._shares = _Shares.by(parts)
        self._looking = False  # whether runs are short: EASE with a power makes up for much of what those lack
        self._trials: list[Trial] = []
        self._best: tuple[Trial, FitResult, FewUsers] | None = None
        self._done = 0  # epochs in the trials so far
        self._ahead = 0  # the most epochs expected after this trial, those of the last fit included

    def run(self, remembered: Mapping[str, Any] | None) -> Choice:
        usual = self._recipe(**(remembered or self._usual()))
        self._ahead = usual.epochs
        recipes = [self._within_budget(usual)] if remembered or not self._searching() else self._plan(usual)
        for recipe in recipes:
            self._try(recipe)
        assert self._best is not None
        best, fitted, few = self._best
        settled = self._settled(best, fitted, few)
        return Choice(settled, fitted, few, tuple(settled if trial is best else trial for trial in self._trials))

    def _settled(self, trial: Trial, fitted: FitResult, few: FewUsers) -> Trial:
        """With the best weight of the filter by all users, on data that are not small the least that is as good."""
        recipe = trial.recipe
        if recipe.item_filter == "none":
            return trial
        users = np.unique(self._all.held_users)
        matrix = self._matrices[FilterKind.of(recipe)]
        own = scores_with(few, fitted.embeddings.item_vectors)
        added = kept_scores(self._graph, matrix, users)
        unit = unit_weight(own, added, users)
        weights = [recipe.filter_weight * factor for factor in FINER]
        scores = [found[METRIC] for found in sweep(own, added, [unit * weight for weight in weights], self._all)]
        least = max(scores) * (1.0 if self._graph.n_edges < SMALL else AS_GOOD)
        weight, score = next((weight, score) for weight, score in zip(weights, scores, strict=True) if score >= least)
        filtered = {"filter_weight": weight} if weight else NO_FILTER
        return replace(trial, recipe=replace(recipe, **filtered), score=score)

    def _searching(self) -> bool:
        return self._config.loss != "bpr" and self._config.time_budget_seconds > 0

    def _within_budget(self, recipe: Recipe) -> Recipe:
        """With no more epochs than there is time for twice, where the learning rate leaves them open."""
        budget = FITTING_SHARE * self._config.time_budget_seconds
        if recipe.decay or self._config.epochs is not None or not budget:
            return recipe
        fitting = int(budget / 2 / self._seconds(replace(recipe, epochs=1)))
        return replace(recipe, epochs=max(1, min(recipe.epochs, fitting)))

    def _plan(self, usual: Recipe) -> Iterator[Recipe]:
        """All at full length where there is room; else short runs, then the best of them, as many as there is room for.

        At least one full run, and the time of the last fit on all interactions, are set aside.
        """
        full, short = self._seconds(usual), self._seconds(self._shortened(usual))
        last = GOING_ON * full
        room = FITTING_SHARE * self._config.time_budget_seconds - full - last
        all_looks = [*self._first_looks()]
        if len(all_looks) > 1 and full * (len(all_looks) - 1) <= room:
            yield from self._at_length(all_looks, usual, room)
            return
        looks = all_looks[: max(0, int(room / short))]
        if len(looks) < 2:  # nothing to choose from
            yield usual
            return
        self._looking = True
        full_ones = FINALISTS + self._longer(usual) + 1  # the last fit too
        for place, changes in enumerate(looks):
            if place and self._lasts_too_long(short + full + last):
                looks = looks[:place]
                break
            recipe = self._shortened(self._recipe(**changes))
            self._ahead = (len(looks) - place - 1) * recipe.epochs + full_ones * usual.epochs
            yield recipe
        room -= len(looks) * short
        self._looking = False
        scores = [self._shares.worth(trial) * (1 if place else FAVOUR) for place, trial in enumerate(self._trials)]
        ranking = sorted(range(len(scores)), key=lambda place: -scores[place])
        finalists = ranking[: 1 + max(0, min(FINALISTS - 1, int(room / full)))]
        self._best = None  # a look only ranks: the best of several short runs is often so by chance
        yield from self._at_length([looks[place] for place in finalists], usual, room)

    def _at_length(self, changes: Sequence[dict[str, Any]], usual: Recipe, room: float) -> Iterator[Recipe]:
        """Full runs, and the best of them with longer vectors, as many as the budget has room for.

        room: beside one of them and the last fit; the first one matters more than the last minute.
        """
        full, longer = self._seconds(usual), self._longer(usual)
        last = GOING_ON * full
        worth: dict[int, float] = {}
        for place, changed in enumerate(changes):
            if place and self._lasts_too_long(full + last):
                break
            self._ahead = (len(changes) - place + longer) * usual.epochs
            yield self._recipe(**changed)
            worth[place] = self._shares.worth(self._trials[-1])
        room -= full * (len(changes) - 1)
        times, self._ahead = LONGER / usual.embedding_size, usual.epochs
        fits_in = room > full * times + last * (times - 1) and not self._lasts_too_long(times * (full + last))
        if longer and fits_in:
            best = max(worth, key=lambda place: worth[place])
            yield self._recipe(**changes[best] | {"embedding_size": LONGER})

    def _longer(self, usual: Recipe) -> bool:
        return self._config.embedding_size is None and usual.embedding_size < LONGER

    def _first_looks(self) -> Iterator[dict[str, Any]]:
        """What may be tried instead of the usual values; the likeliest first."""
        if self._config.l2_weight is not None:
            return
        likeliest = self._usual()
        if likeliest:
            yield likeliest
        yield from (look for weight in L2_WEIGHTS if (look := {"l2_weight": weight}) != likeliest)
        if self._config.n_layers == DEFAULT_LAYERS:
            yield dict(ITEMS_ONLY)
        if self._config.loss == "softmax" and self._graph.n_edges < SMALL:
            yield from map(dict, UNMASKED)

    def _usual(self) -> dict[str, Any]:
        """What is likelier than the usual values of the configuration, which know nothing of users."""
        short = self._graph.n_edges <= FEW_EDGES * np.count_nonzero(self._graph.user_degrees)
        return {"l2_weight": L2_OF_FEW} if self._config.loss == "softmax" and short else {}

    def _recipe(self, **chosen: Any) -> Recipe:
        return self._config.recipe(self._graph.n_edges, self._graph.n_items, **chosen)

    def _shortened(self, recipe: Recipe) -> Recipe:
        epochs = epochs_of(SHORT_STEPS, self._graph.n_edges, recipe.batch_size)
        return replace(recipe, epochs=min(epochs, recipe.epochs))

    def _seconds(self, recipe: Recipe) -> float:
        steps = steps_in_epoch(self._graph, recipe.batch_size) * recipe.epochs
        return step_seconds(recipe, self._graph) * steps

    def _lasts_too_long(self, seconds: float) -> bool:
        """Whether so much more fitting goes beyond the budget, at the speed seen so far."""
        planned = sum(self._seconds(trial.recipe) * trial.share for trial in self._trials)
        pace = sum(trial.seconds for trial in self._trials) / max(planned, 1e-9)
        over = time.perf_counter() - self._began + pace * seconds > self._config.time_budget_seconds
        if over:
            log.info("no time for more than %d trials within the budget", len(self._trials))
        return over

    def _try(self, recipe: Recipe) -> None:
        fitted = fit(
            self._graph,
            self._start(self._graph, recipe),
            recipe,
            on_epoch=self._tell,
            should_stop=self._should_stop,
            checkpoints=self._checkpoints,
            validate=Validation(self._parts),
            ranks=self._ranks,
            in_place=True,
            stay=VECTORS,
        )
        assert fitted.score is not None
        users, items = Users(self._ranks, fitted.owned), fitted.embeddings.item_vectors
        asked = whom_to_ask(self._all)
        few = users.few(asked)
        score, own = fitted.score, scores_with(few, items)
        epochs = recipe.epochs
        best = FilterKind("none")
        for kind, added in self._filters.items():
            if self._looking and kind.power:
                continue
            weight, value = self._best_weight(own, added)
            if self._shares.of(kind) * value > self._shares.of(best) * score:
                best, score = kind, value
                recipe = replace(
                    recipe,
                    item_filter=kind.name,
                    filter_l2=kind.l2,
                    filter_power=kind.power,
                    filter_weight=weight,
                )
        if collapsed(users, len(users), items):  # its ranking is that of rounding errors, however good by luck
            score, recipe = 0.0, replace(recipe, **NO_FILTER)
        share = fitted.epochs_done / epochs
        self._done += fitted.epochs_done
        trial = Trial(recipe, fitted.epochs, score, fitted.score, fitted.seconds, share, fitted.steps)
        log.info("tried %s", trial.as_dict())
        self._trials.append(trial)
        if self._best is None or self._shares.worth(trial) > self._shares.worth(self._best[0]):
            self._best = trial, fitted.without_vectors(layer0=True), few.with_sums(users.sums())

    def _best_weight(self, own: Scores, added: Scores) -> tuple[float, float]:
        unit = unit_weight(own, added, self._users)
        found: dict[float, float] = {}
        tried: tuple[float, ...] = FILTER_WEIGHTS[1::2]
        while tried:
            blends = sweep(own, added, [unit * weight for weight in tried], self._parts)
            found |= {weight: measures[METRIC] for weight, measures in zip(tried, blends, strict=True)}
            place = FILTER_WEIGHTS.index(max(found, key=lambda weight: found[weight]))
            tried = tuple(weight for weight in FILTER_WEIGHTS[place - 1 : place + 2] if weight not in found)
        return max(found.items(), key=lambda item: item[1])

    def _tell(self, epoch: int, epochs: int, loss: float, _seconds: float) -> None:
        if self._on_epoch is not None:
            self._on_epoch(self._done + epoch, self._done + epochs + self._ahead, loss)
