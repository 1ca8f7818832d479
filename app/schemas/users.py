"""A user as callers send and receive it."""

from pydantic import Field

from app.schemas.fields import Attributes, FeatureVector, Id, Interests, NewId, Record, ServerTimes, UtcTime


class UserFields(Record):
    """All of a user but the id."""

    features: FeatureVector | None = Field(None, description="Content vector, all users' of one length")
    interests: Interests = Field({}, description="Weight of each tag; a list of tags weighs each 1")
    attributes: Attributes = Field({}, description="Anything else, kept as given; numbers fit in 64 bits")


class UserBody(UserFields):
    """Body of `PUT /users/{user_id}`; an id in it must equal the one in the path."""

    user_id: Id | None = None


class User(UserFields):
    """A user in a batch; the server's times are taken and ignored, so that an export can be sent back."""

    user_id: NewId
    created_at: UtcTime | None = Field(None, exclude=True, description="Ignored: the server's own")
    updated_at: UtcTime | None = Field(None, exclude=True, description="Ignored: the server's own")


class StoredUser(UserFields, ServerTimes):
    """A user as it is stored."""

    user_id: Id
