"""Users as they are stored."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import UnknownUserError
from app.schemas.users import StoredUser, User
from app.store.client import Document
from app.store.keys import with_prefix
from app.store.records import RecordStore


class StoredProfile(NamedTuple):
    """What a user says of herself.  features: (C,) float32."""

    user_id: str
    interests: dict[str, float]
    features: NDArray[np.float32] | None


class UserStore(RecordStore[User, StoredUser]):
    """Users; deleting one deletes what they did."""

    collection, id_field, json_fields = "users", "user_id", ("interests", "attributes")
    unknown, given, stored = UnknownUserError, User, StoredUser

    def interactions_of(self, record_id: str) -> Document:
        """A user's interactions are one range of keys."""
        return {"_id": with_prefix(record_id)}

    async def profiles(self, user_ids: Collection[str]) -> list[StoredProfile]:
        """Of those users who have interests or features; in no order."""
        found = self._records.find({"_id": {"$in": list(user_ids)}}, {"interests": 1, "features": 1})
        profiles = [_profile(document) for document in await found.to_list(None)]
        return [profile for profile in profiles if profile.interests or profile.features is not None]


def _profile(document: Document) -> StoredProfile:
    features = document.get("features")
    with np.errstate(over="ignore"):  # beyond 32 bits it becomes infinite, and is of no use
        vector = None if features is None else np.array(features, np.float32)
    if vector is not None and not np.isfinite(vector).all():
        vector = None
    return StoredProfile(document["_id"], orjson.loads(document.get("interests", "{}")), vector)
