"""Users as they are stored."""

from app.errors import UnknownUserError
from app.schemas.users import StoredUser, User
from app.store.client import Document
from app.store.keys import with_prefix
from app.store.records import RecordStore


class UserStore(RecordStore[User, StoredUser]):
    """Users; deleting one deletes what they did."""

    collection, id_field, json_fields = "users", "user_id", ("interests", "attributes")
    unknown, given, stored = UnknownUserError, User, StoredUser

    def interactions_of(self, record_id: str) -> Document:
        """A user's interactions are one range of keys."""
        return {"_id": with_prefix(record_id)}
