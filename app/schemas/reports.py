"""What a batch, an import or a deletion did."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Kind = Literal["users", "courses", "interactions"]


class RejectedRow(BaseModel):
    """A row that was not written, and why."""

    index: int = Field(description="Position in the batch, from 0")
    id: str | None = Field(description="Its id as far as it could be read")
    type: str = Field(description="Stable slug of the problem")
    detail: str = Field(description="The key, the value and what was wanted")


class NotedRow(RejectedRow):
    """A rejected row of somebody's batch."""

    at: datetime = Field(description="When its batch came")
    kind: Kind


class BatchReport(BaseModel):
    """What became of each row: rows = accepted + rejected, and accepted = created + updated + unchanged."""

    accepted: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = Field(
        0, description="Something newer was there under the same key, in the store or later in the batch"
    )
    rejected: list[RejectedRow] = []


class Deleted(BaseModel):
    """How many documents a deletion erased."""

    users: int = 0
    courses: int = 0
    interactions: int = 0
    vectors: int = Field(0, description="1: the served model had a vector of the user, which is used no more")
    rejected_rows: int = Field(0, description="Rows of batches that were not taken and named the user")
