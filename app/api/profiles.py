"""What users say of themselves, for those of whom nothing else is known."""

from collections import OrderedDict
from collections.abc import Collection, Iterable

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
        self._kept: OrderedDict[str, Profile | None] = OrderedDict()
        self._asked: dict[str, object] = {}  # who is being read, and by whom: a change meanwhile ends that

    async def get(self, user_id: str) -> Profile | None:
        """None for an unknown user, one who says nothing, or while the database is away."""
        if user_id in self._kept:
            self._kept.move_to_end(user_id)
            return self._kept[user_id]
        return (await self.get_many([user_id])).get(user_id)

    async def get_many(self, user_ids: Collection[str]) -> dict[str, Profile]:
        """Those that there are."""
        wanted = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in self._kept]
        found = {user_id: profile for user_id in user_ids if (profile := self._kept.get(user_id)) is not None}
        if not wanted:
            return found
        reading = object()
        self._asked.update(dict.fromkeys(wanted, reading))
        try:
            profiles = await unless_gone(self._users.profiles(wanted), self._database)
            read = {user_id: Profile(interests, features) for user_id, interests, features in profiles}
        except AWAY:  # then they get what is popular
            return found
        finally:
            unchanged = [user_id for user_id in wanted if self._asked.get(user_id) is reading]
            for user_id in unchanged:
                del self._asked[user_id]
        for user_id in unchanged:
            self._kept[user_id] = read.get(user_id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found | read

    def note(self, changes: Iterable[Change]) -> None:
        """Forget those whose record has changed."""
        for change in changes:
            if isinstance(change, UserChanged):
                self._kept.pop(change.user_id, None)
                self._asked.pop(change.user_id, None)

    def clear(self) -> None:
        """Forget all, as changes may have been missed."""
        self._kept.clear()
        self._asked.clear()
