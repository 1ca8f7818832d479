"""A training run as callers see it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

RunStatus = Literal["queued", "running", "succeeded", "rejected", "failed", "cancelled"]
EndStatus = Literal["succeeded", "rejected", "failed", "cancelled"]
Trigger = Literal["request", "changes", "time", "command"]
Metrics = dict[str, dict[str, float]]
PlanKind = Literal["search", "remembered", "warm_start"]


class Counts(BaseModel):
    """What a run learned from."""

    users: int
    courses: int
    interactions: int


class Progress(BaseModel):
    """How far a run has come."""

    epoch: int = Field(description="Epochs that are done")
    epochs: int = Field(description="Most epochs that there will be; an early stop makes them fewer")
    loss: float | None = Field(None, description="Mean loss of the last epoch")
    seconds_left: float | None = Field(None, description="Estimated from the epochs so far")


class RunError(BaseModel):
    """Why a run failed."""

    type: str = Field(description="Stable slug of the problem")
    detail: str


class Plan(BaseModel):
    """What a run takes over from the model that is served."""

    kind: PlanKind = Field(
        description="`search`: nothing, recipes are tried; `remembered`: its recipe; `warm_start`: its vectors too"
    )
    reason: str


class Trial(BaseModel):
    """A recipe that was tried on held-out interactions."""

    recipe: dict[str, Any] = Field(description="What tells recipes apart; the rest is in `config`")
    epochs: int
    steps: int
    seconds: float = Field(description="Of training")
    filter: str = Field(description="Closed-form item filter that went best with it: `none`, `ease` or `gf_cf`")
    filter_l2: float = Field(description="Regularisation of `ease`")
    filter_power: float = Field(0.0, description="Of popularity and length, by which `ease` normalises; 0: not at all")
    filter_weight: float = Field(description="Of the filter's scores against those of the vectors")
    ndcg: float = Field(description="NDCG@20 with the filter; 0 when the vectors had shrunk to nothing")
    ndcg_alone: float = Field(description="NDCG@20 of the vectors without filter")
    chosen: bool = Field(description="Whether the model is trained by this recipe")


class Run(BaseModel):
    """A training run; what is not known yet is null."""

    run_id: str
    status: RunStatus
    requested_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    trigger: Trigger = Field(
        description="Asked for by a caller, by changed data, by elapsed time, or on a command line"
    )
    cancel_requested: bool = Field(False, description="The run stops at its next step")
    progress: Progress | None = None
    losses: list[float] = Field([], description="Mean loss of each epoch")
    metrics: Metrics | None = Field(
        None, description="recall@20, ndcg@20, ... on held-out interactions, of `model` and of each baseline"
    )
    counts: Counts | None = None
    device: str | None = None
    seed: int | None = None
    config: dict[str, Any] = Field({}, description="Training settings of this run")
    plan: Plan | None = None
    trials: list[Trial] = Field([], description="Recipes that were tried, in the order of trying")
    verdict: str | None = Field(None, description="What held-out interactions say of the model, in a sentence")
    model_id: str | None = Field(None, description="The model that the run published")
    error: RunError | None = None
