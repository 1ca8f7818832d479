"""What Gorse answers besides its records."""

from pydantic import BaseModel, Field

from app.schemas.gorse.feedback import GorseFeedback
from app.schemas.gorse.items import GorseItem
from app.schemas.gorse.users import GorseUser


class GorseSuccess(BaseModel):
    """What a write did."""

    RowAffected: int = Field(description="Rows that were really written or removed")


class GorseScore(BaseModel):
    """An entry of a list."""

    Id: str
    Score: float


class GorseUserPage(BaseModel):
    """Some users in the order of their ids."""

    Cursor: str = Field(description="Send it as `cursor` to get the next page; empty on the last one")
    Users: list[GorseUser]


class GorseItemPage(BaseModel):
    """Some items in the order of their ids."""

    Cursor: str = Field(description="Send it as `cursor` to get the next page; empty on the last one")
    Items: list[GorseItem]


class GorseFeedbackPage(BaseModel):
    """Some feedback in the order of its keys."""

    Cursor: str = Field(description="Send it as `cursor` to get the next page; empty on the last one")
    Feedback: list[GorseFeedback]


class GorseHealth(BaseModel):
    """Whether the service works; both stores of Gorse are one here."""

    Ready: bool
    DataStoreError: str | None
    CacheStoreError: str | None
    DataStoreConnected: bool
    CacheStoreConnected: bool
