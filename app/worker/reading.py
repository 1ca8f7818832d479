"""Reading over ranks: each reads its range of users, and the first puts together what they found.

No rank but the first ever has more than its own users.  The first has of all users what a model is made of and, in its
item filter, lists and files, holds: ids, and a course, a type and a time for each interaction.
"""

from collections.abc import Callable, Sequence

from app.domain.interactions import Snapshot
from app.domain.packed_ids import PackedIds, pack_ids
from app.store.snapshot import ReadUsers, UserColumns, UserRange, read_snapshot, read_users
from app.store.user_columns import columns_of, parcel_of, parcel_of_failure, raise_failure
from app.training.checkpoint import Array, Checkpoint
from app.training.ranks import Ranks

READ = "read"  # the errand


def read_over(
    ranks: Ranks,
    uri: str,
    database_name: str,
    types: Sequence[str],
    *,
    half_life_days: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Snapshot:
    """As ``read_snapshot``, which one process does alone.  Raises CancelledError and RankLostError too."""
    if ranks.size == 1:
        return read_snapshot(uri, database_name, types, half_life_days=half_life_days, should_stop=should_stop)

    def gather(ranges: Sequence[UserRange], items: Sequence[str], read: ReadUsers) -> UserColumns:
        blob, offsets = pack_ids(items)
        arrays: dict[str, Array] = {"item_ids": blob, "item_id_offsets": offsets}
        same = {"errand": READ, "types": [*types], "database": database_name}
        requests = [Checkpoint(arrays, {"low": users.low, "high": users.high, **same}) for users in ranges]
        gathered = ranks.gathered(requests, lambda request: _parcel(read, _range(request)))
        if gathered.failed is not None:
            raise_failure(gathered.failed)
        return columns_of(gathered.arrays, gathered.values)

    return read_snapshot(
        uri,
        database_name,
        types,
        half_life_days=half_life_days,
        n_ranges=ranks.size,
        gather=gather,
        should_stop=should_stop,
    )


def read(uri: str, request: Checkpoint) -> Checkpoint:
    """What a rank but the first does when it is asked to read."""
    arrays, values = request.arrays, request.values
    items = [*PackedIds(arrays["item_ids"], arrays["item_id_offsets"])]
    return _parcel(lambda users: read_users(uri, values["database"], values["types"], users, items), _range(request))


def _range(request: Checkpoint) -> UserRange:
    return UserRange(request.values["low"], request.values["high"])


def _parcel(read: ReadUsers, users: UserRange) -> Checkpoint:
    try:
        parcel = parcel_of(read(users))
    except Exception as error:
        parcel = parcel_of_failure(error)
    return Checkpoint(parcel.arrays, parcel.values)
