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
    def training(self) -> Mapping[str, Any]:
        """See ``to_keep``; empty when nothing is known."""
        return {} if self.manifest is None else self.manifest.training

    def current(self, margin: float) -> Current | None:
        """The model that is served.  margin: see Current."""
        if self.manifest is None or self.contents is None:
            return None
        known = {name: self.training[name] for name in JUDGED if name in self.training}
        ndcg = self.manifest.metrics.get("model", {}).get("ndcg@20")
        return Current(self.manifest.model_id, self.contents, ndcg=ndcg, margin=margin, **known)


def plan_of(past: Past, settings: Mapping[str, Any], sizes: Mapping[str, int], search_every: int) -> Plan:
    """Whether recipes are searched, and why.

    settings: those of the run, see ``to_keep``.  sizes: courses and interactions.
    """
    reason = next(_why_search(past, settings, sizes, search_every), None)
    if reason is not None:
        return Plan(kind="search", reason=reason)
    assert past.manifest is not None
    age = past.training["runs_since_search"]
    return Plan(
        kind="remembered",
        reason=f"data and settings are like those of {past.manifest.model_id}, {age + 1} after a search",
    )


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
    before = past.training.get("runs_since_search", 0)
    return {
        "recipe": to_remember(trained.recipe),
        "settings": dict(settings),
        **{name: getattr(trained, name) for name in JUDGED},
        "runs_since_search": 0 if plan.kind == "search" else before + 1,
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
