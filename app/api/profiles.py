"""What users say of themselves, for those of whom nothing else is known."""

from collections.abc import Collection, Iterable

from app.api.kept import Kept
from app.api.outage import Database, unless_gone
from app.domain.changes import Change, UserChanged
from app.errors import UnavailableError
from app.serving.content import Profile
from app.store.client import UNAVAILABLE_ERRORS
from app.store.users import UserStore

AWAY: tuple[type[Exception], ...] = (*UNAVAILABLE_ERRORS, UnavailableError)
KEPT = 5_000  # users; nearly all of them without a profile


class Profiles:
    """Interests and features as they are in the database, kept until the user's record changes."""

    def __init__(self, users: UserStore, database: Database) -> None:
        self._users, self._database = users, database
        self._kept: Kept[Profile | None] = Kept(self._read, KEPT)
        self.clear = self._kept.clear

    async def get(self, user_id: str) -> Profile | None:
        """None for an unknown user, one who says nothing, or while the database is away."""
        return (await self.get_many([user_id])).get(user_id)

    async def get_many(self, user_ids: Collection[str]) -> dict[str, Profile]:
        """Those that there are; while the database is away, of those that are kept."""
        try:
            found = await self._kept.get_many(user_ids)
        except AWAY:  # then they get what is popular
            found = self._kept.present(user_ids)
        return {user_id: profile for user_id, profile in found.items() if profile is not None}

    async def _read(self, user_ids: Collection[str]) -> dict[str, Profile | None]:
        profiles = await unless_gone(self._users.profiles(user_ids), self._database)
        read = {user_id: Profile(interests, features) for user_id, interests, features in profiles}
        return {user_id: read.get(user_id) for user_id in user_ids}

    def note(self, changes: Iterable[Change]) -> None:
        """Forget those whose record has changed."""
        for change in changes:
            if isinstance(change, UserChanged):
                self._kept.forget(change.user_id)
