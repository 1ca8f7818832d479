"""A model as callers see it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.schemas.training import Counts, Metrics


class ClickThrough(BaseModel):
    """What became of a model's lists."""

    lists: int = Field(description="Lists answered; each process adds its own every few seconds")
    followed: int = Field(description="Of those, how many an interaction names in its `recommendation_id`")
    interactions: int = Field(description="How many interactions do")
    rate: float | None = Field(description="followed / lists; null before the first list")


class ModelSummary(BaseModel):
    """A published model: what it was made from, how, and how good it is."""

    model_id: str
    current: bool = Field(description="Whether this is the model that is served")
    created_at: datetime
    activated_at: datetime = Field(description="When it was last made the current one")
    run_id: str | None = Field(None, description="The run that made it")
    counts: Counts
    embedding_size: int
    config: dict[str, Any] = Field(description="Training settings")
    seed: int
    device: str | None = None
    metrics: Metrics = Field(
        description="recall@20, ndcg@20, ... on held-out interactions, of `model` and of each baseline"
    )
    data_fingerprint: str = Field(description="Equal for equal users, courses and interactions")
    code_version: str
    click_through: ClickThrough | None = Field(None, description="Only where one model is asked for")
