"""What a run takes over from the model that is served: nothing, its recipe, or its vectors too."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app import __version__
from app.artifact.manifest import Manifest
from app.domain.contents import ArtifactContents
from app.schemas.training import Plan, Run, Trial
from app.training.current import Current
from app.training.remembered import to_remember
from app.training.result import TrainedModel

GROWTH = 1.5  # of interactions or courses, in either direction, from which another recipe may suit better
UNIMPORTANT = ("device",)  # settings that a recipe does not depend on
SHOWN_AS = {
    "ndcg@20": "ndcg",
    "ndcg@20 without filter": "ndcg_alone",
    "item_filter": "filter",
}
JUDGED = ("split", "n_held_out", "temperature")
SIZES = ("courses", "interactions")


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of earlier runs.

    manifest, contents: of the model that is served, None when there is none.  last: the run that ended last.
    unreadable: id of the model that is served if it cannot be read.
    """

    manifest: Manifest | None
    contents: ArtifactContents | None
    last: Run | None
    unreadable: str | None = None

    @property
    def model_id(self) -> str | None:
        """Of the model that is served."""
        return None if self.manifest is None else self.manifest.model_id

    @property
    def training(self) -> Mapping[str, Any]:
        """See ``to_keep``; empty when nothing is known."""
        return {} if self.manifest is None else self.manifest.training

    def current(self, margin: float, *, go_on: bool) -> Current | None:
        """The model that is served.  margin, go_on: see Current."""
        if self.manifest is None or self.contents is None:
            return None
        known = {name: self.training[name] for name in JUDGED if name in self.training}
        ndcg = self.manifest.metrics.get("model", {}).get("ndcg@20")
        return Current(self.manifest.model_id, self.contents, ndcg=ndcg, margin=margin, go_on=go_on, **known)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """One of ``search_every`` runs searches a recipe, and one of ``full_every`` trains from the start."""

    search_every: int
    full_every: int
    warm_start: bool


def plan_of(past: Past, settings: Mapping[str, Any], sizes: Mapping[str, int], rhythm: Rhythm) -> Plan:
    """What to take over, and why.  Whether the data let training go on from the vectors is seen only then.

    settings: those of the run, see ``to_keep``.  sizes: courses and interactions.
    """
    reason = next(_why_search(past, settings, sizes, rhythm.search_every), None)
    if reason is not None:
        return Plan(kind="search", reason=reason)
    assert past.manifest is not None
    model_id, training = past.manifest.model_id, past.training
    if not rhythm.warm_start:
        reason = "warm starts are switched off"
    elif training["runs_since_full"] + 1 >= rhythm.full_every:
        reason = f"one of {rhythm.full_every} runs trains from the start"
    if reason is not None:
        return Plan(kind="remembered", reason=f"{reason}, with the recipe of {model_id}")
    return Plan(kind="warm_start", reason=f"data and settings are like those of {model_id}")


def as_done(plan: Plan, trained: TrainedModel) -> Plan:
    """The plan as it went."""
    if plan.kind != "warm_start" or trained.went_on:
        return plan
    return Plan(kind="remembered", reason=f"training could not go on from the vectors: {trained.why_not}")


def _why_search(past: Past, settings: Mapping[str, Any], sizes: Mapping[str, int], search_every: int) -> Iterator[str]:
    manifest, training = past.manifest, past.training
    if manifest is None:
        found = past.unreadable
        yield f"{found}, the model that is served, cannot be read" if found else "no model is served yet"
        return
    model_id = manifest.model_id
    if not training or manifest.code_version != __version__:
        yield f"{model_id}, the model that is served, was trained by release {manifest.code_version}"
        return
    before = training["settings"]
    changed = sorted(name for name in {**before, **settings} if before.get(name) != settings.get(name))
    if changed:
        yield f"{', '.join(changed)} changed since {model_id} was trained"
    if past.last is not None and past.last.status in {"rejected", "failed"}:
        yield f"run {past.last.run_id} before this one was {past.last.status}"
    for name in SIZES:
        then, now = manifest.counts[name], sizes[name]
        if not then / GROWTH <= now <= then * GROWTH:
            yield f"{model_id} was trained on {then:,} {name}, and now there are {now:,}"
    if training["runs_since_search"] + 1 >= search_every:
        yield f"one of {search_every} runs searches"


def to_keep(trained: TrainedModel, plan: Plan, past: Past, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the next runs may want to know of this one, ready for JSON."""
    before = {name: past.training.get(name, 0) + 1 for name in ("runs_since_search", "runs_since_full")}
    return {
        "runs_since_search": 0 if plan.kind == "search" else before["runs_since_search"],
        "runs_since_full": before["runs_since_full"] if plan.kind == "warm_start" else 0,
        "recipe": to_remember(trained.recipe),
        "settings": dict(settings),
        **{name: getattr(trained, name) for name in JUDGED},
    }


def important(config: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """The settings that a recipe depends on, ready for JSON."""
    return {name: value for name, value in config.items() if name not in UNIMPORTANT} | others


def told_trials(trained: TrainedModel) -> list[Trial]:
    """The trials as callers see them."""
    return [_trial(trial) for trial in trained.trials]


def _trial(trial: Mapping[str, Any]) -> Trial:
    values = {SHOWN_AS.get(name, name): value for name, value in trial.items()}
    own = {name: values.pop(name) for name in Trial.model_fields if name in values}
    return Trial(recipe=values, **own)


def told(trials: list[Trial]) -> str:
    """The trials in a few words, for the log; empty without any."""
    if not trials:
        return ""
    names = sorted(
        {name for trial in trials for name, value in trial.recipe.items() if value != trials[0].recipe[name]}
    )
    names = names or ["l2_weight"]
    said = [
        ", ".join(f"{name} {_short(trial.recipe[name])}" for name in names)
        + f", {trial.steps} steps, {trial.filter}{f' x {trial.filter_weight:g}' if trial.filter_weight else ''}: "
        + f"{trial.ndcg:.4f}{' (chosen)' if trial.chosen else ''}"
        for trial in trials
    ]
    return f"NDCG@20 of {len(said)} trial{'s' * (len(said) > 1)}: " + "; ".join(said)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
