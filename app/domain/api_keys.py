"""API keys: how one is made, what is kept of it, and whether a given key is one that is kept.

A key is ``cg_ID_SECRET``: the id finds the record, the secret is 256 random bits.  Kept is only a salted BLAKE2b digest
of the secret.  A slow hash (argon2, scrypt) makes guessing of secrets that people think up expensive; nobody guesses
256 random bits at any speed, and a slow hash would hold a process up for 50 ms and more at each wrong key.
The salt keeps equal secrets from being seen to be equal and one table from serving all databases.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

SECRET_BYTES = 32
SALT_BYTES = hashlib.blake2b.SALT_SIZE
PERSON = b"coursegraph-key"  # the digest means nothing in any other place
_KEY = re.compile(r"cg_([0-9a-f]{8})_([0-9a-f]{64})")


class KeyScope(IntEnum):
    """What a key may do; each includes those before."""

    read = 1
    write = 2
    admin = 3


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of a key.  Times in UTC."""

    key_id: str
    name: str
    scope: KeyScope
    salt: bytes
    digest: bytes
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it was neither revoked nor has expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def make_key(
    name: str, scope: KeyScope, created_at: datetime, expires_at: datetime | None = None
) -> tuple[str, StoredKey]:
    """A new key, which is shown once, and what to keep of it."""
    key_id, secret, salt = secrets.token_hex(4), secrets.token_hex(SECRET_BYTES), secrets.token_bytes(SALT_BYTES)
    stored = StoredKey(key_id, name, scope, salt, _digest(secret, salt), created_at, expires_at)
    return f"cg_{key_id}_{secret}", stored


def split_api_key(key: str) -> tuple[str, str] | None:
    """Id and secret, or None when it does not look like a key."""
    found = _KEY.fullmatch(key)
    return None if found is None else (found[1], found[2])


def matches(secret: str, stored: StoredKey) -> bool:
    """Whether it is the secret of the key; takes the same time wherever they differ."""
    return hmac.compare_digest(_digest(secret, stored.salt), stored.digest)


def _digest(secret: str, salt: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), salt=salt, person=PERSON).digest()
