"""How the collections are divided among the shards of a cluster.

What grows with the users is sharded, by keys that every call of a hot path names, so that the router asks only the
shards that have it:

- ``interactions`` by ranges of ``_id``, which begins with the user: what one user did lies together, and training can
  read users range by range.
- ``users`` by a hash of the id: they are asked for by id, and ids that ascend would all be written to one shard.
- ``given_answers`` by a hash of the idempotency key.
- the pieces of models' files by file and number, which is also the unique index of GridFS; a file is read in order.

Everything else is small and stays on one shard: ``training_runs`` has a unique index that no shard key could begin.
Whatever asks for a course's interactions, counts, exports or erases asks all shards.
"""

from collections.abc import Mapping

from pymongo import IndexModel

from app.errors import NotRouterError, ShardKeyError
from app.store.client import INDEXES, Database, Document
from app.store.model_files import BUCKET

SHARD_KEYS: Mapping[str, Document] = {
    "interactions": {"_id": 1},
    "users": {"_id": "hashed"},
    "given_answers": {"_id": "hashed"},
    f"{BUCKET}.chunks": {"files_id": 1, "n": 1},
}
UNIQUE = (f"{BUCKET}.chunks",)  # whose shard key GridFS wants unique


def shard_commands(database: str) -> list[Document]:
    """What is said to the router's ``admin``, in order."""
    return [
        {"enableSharding": database},
        *(
            {"shardCollection": f"{database}.{collection}", "key": key, "unique": collection in UNIQUE}
            for collection, key in SHARD_KEYS.items()
        ),
    ]


def index_of(collection: str) -> IndexModel:
    """The index that a collection with documents needs before it can be sharded."""
    return IndexModel(list(SHARD_KEYS[collection].items()), **({"unique": True} if collection in UNIQUE else {}))


def unique_indexes(collection: str) -> list[list[str]]:
    """Fields of the unique indexes of a collection of ours, but for that of ``_id``."""
    return [[*index.document["key"]] for index in INDEXES.get(collection, ()) if index.document.get("unique")]


async def shard(db: Database) -> list[str]:
    """Divide the collections; those that were not divided before.

    A collection without documents is divided too; its pieces go to other shards as the balancer likes.
    Raises NotRouterError, and ShardKeyError if one is divided by another key.
    """
    admin = db.client.admin
    if (await admin.command("hello")).get("msg") != "isdbgrid":
        raise NotRouterError
    known = {
        document["_id"]: document["key"]
        for document in await db.client["config"]["collections"].find({}, {"key": 1}).to_list(None)
        if "key" in document
    }
    for collection, key in SHARD_KEYS.items():
        found = known.get(f"{db.name}.{collection}")
        if found is not None and dict(found) != key:
            raise ShardKeyError(f"{db.name}.{collection}", dict(found), key)
    enable, *each = shard_commands(db.name)
    await admin.command(enable)
    divided = []
    for collection, command in zip(SHARD_KEYS, each, strict=True):
        if command["shardCollection"] not in known:
            if SHARD_KEYS[collection] != {"_id": 1}:
                await db[collection].create_indexes([index_of(collection)])
            await admin.command(command)
            divided.append(collection)
    return divided
