"""How many users, courses and interactions there may be: beyond that known ones may change and new ones are refused."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol, TypeVar

from app.errors import HttpError, QuotaError
from app.schemas.interactions import Interaction
from app.store.keys import interaction_key

Row = TypeVar("Row")
Refused = list[tuple[int, HttpError]]  # positions and why


class Counted(Protocol):
    """A store that knows about how many records it has, and which of some ids."""

    async def count(self) -> int:
        """About how many records there are."""
        ...

    async def existing(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that are known."""
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one kind; writers at the same time may pass it by what they are writing.  most: 0 is any number."""

    store: Counted
    kind: str
    most: int
    setting: str

    async def refused(self, ids: Sequence[str]) -> Refused:
        """Positions of the rows that would make a new record for which there is no room."""
        if not self.most:
            return []
        room = self.most - await self.store.count()
        if len(ids) <= room:
            return []
        known = await self.store.existing(ids)
        refused: Refused = []
        for position, id_ in enumerate(ids):
            if id_ in known:
                continue
            if room > 0:
                room -= 1
                known.add(id_)
            else:
                refused.append((position, QuotaError(self.kind, self.most, self.setting)))
        return refused


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of all kinds."""

    users: Quota
    courses: Quota
    interactions: Quota

    async def refused_interactions(self, rows: Sequence[Interaction], *, auto_create: bool) -> Refused:
        """Also those whose user or course would be one too many."""
        refused = dict(
            await self.interactions.refused([interaction_key(row.user_id, row.course_id, row.type) for row in rows])
        )
        if auto_create:
            refused.update(await self.users.refused([row.user_id for row in rows]))
            refused.update(await self.courses.refused([row.course_id for row in rows]))
        return sorted(refused.items(), key=itemgetter(0))


def without(rows: Sequence[Row], refused: Refused) -> list[Row]:
    """The rows that are not refused."""
    places = {place for place, _ in refused}
    return [row for place, row in enumerate(rows) if place not in places]
