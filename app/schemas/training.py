"""A training run as callers see it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

RunStatus = Literal["queued", "running", "succeeded", "rejected", "failed", "cancelled"]
EndStatus = Literal["succeeded", "rejected", "failed", "cancelled"]
Trigger = Literal["request", "changes", "time", "command"]
Metrics = dict[str, dict[str, float]]


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
    model_id: str | None = Field(None, description="The model that the run published")
    error: RunError | None = None
