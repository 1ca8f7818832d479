"""API keys as they are stored: everything of them but their secrets."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError

from app.domain.api_keys import KeyScope, StoredKey, make_key
from app.errors import UnknownKeyError
from app.store.bulk import translated
from app.store.client import Database, Document


class KeyStore:
    """Makes keys, ends them, and gives those that there are."""

    def __init__(self, db: Database) -> None:
        self._keys = db["api_keys"]

    async def create(self, name: str, scope: KeyScope, lifetime: timedelta | None = None) -> tuple[str, StoredKey]:
        """A new key, which nobody can read again, and its record.  ``lifetime``: None is for ever."""
        while True:
            now = _now()
            key, stored = make_key(name, scope, now, None if lifetime is None else now + lifetime)
            try:
                await self._keys.insert_one(_to_document(stored))
            except DuplicateKeyError:  # of the id, once in 2**32 / number of keys
                continue
            return key, stored

    async def rotate(self, key_id: str, overlap: timedelta) -> tuple[str, StoredKey]:
        """A key with the same name, scope and lifetime; the old one lives for the overlap.  Raises UnknownKeyError."""
        old = await self._valid(key_id)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        key, stored = await self.create(old.name, old.scope, lifetime)
        end = _now() + overlap
        end = end if old.expires_at is None else min(end, old.expires_at)
        await self._keys.update_one({"_id": key_id}, {"$set": {"expires_at": end}})
        return key, stored

    async def revoke(self, key_id: str) -> StoredKey:
        """The key, which from now on opens nothing.  Raises UnknownKeyError."""
        document = await self._keys.find_one_and_update(
            {"_id": key_id, "revoked_at": None},
            {"$set": {"revoked_at": _now()}},
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            raise UnknownKeyError(key_id)
        return _from_document(document)

    async def all(self) -> list[StoredKey]:
        """Every key that was ever made, oldest first; so those that are revoked still say that keys are in use."""
        return [_from_document(document) async for document in self._keys.find().sort([("created_at", 1), ("_id", 1)])]

    async def note_use(self, used: Mapping[str, datetime]) -> None:
        """When each of these keys was last used."""
        if used:
            with translated():
                await self._keys.bulk_write(
                    [UpdateOne({"_id": key_id}, {"$max": {"last_used_at": at}}) for key_id, at in used.items()],
                    ordered=False,
                )

    async def _valid(self, key_id: str) -> StoredKey:
        document = await self._keys.find_one({"_id": key_id})
        if document is None or not (stored := _from_document(document)).is_valid(_now()):
            raise UnknownKeyError(key_id)
        return stored


def _now() -> datetime:
    """To the millisecond, as it is stored."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _to_document(key: StoredKey) -> Document:
    return {
        "_id": key.key_id,
        "name": key.name,
        "scope": key.scope.name,
        "salt": key.salt,
        "digest": key.digest,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _from_document(document: Document) -> StoredKey:
    fields = {name: value for name, value in document.items() if name not in {"_id", "scope"}}
    return StoredKey(key_id=document["_id"], scope=KeyScope[document["scope"]], **fields)
