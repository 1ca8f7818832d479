"""Who may call what: keys are kept in memory, so that a call is let in or turned away without waiting for anything.

A key that was found good once is known again by a short digest under a secret of this process, which takes a few
microseconds less than the check of its salted digest; the keys themselves are not kept.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Collection, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import urlsplit

from starlette.types import Scope

from app.domain.api_keys import KeyScope, StoredKey, matches, split_api_key
from app.errors import (
    ElsewhereError,
    HttpError,
    KeyMissingError,
    KeyRefusedError,
    KeyScopeError,
    TooManyRequestsError,
    UnavailableError,
)
from app.store.api_keys import KeyStore
from app.store.client import UNAVAILABLE_ERRORS

log = logging.getLogger(__name__)

GIVEN = "coursegraph.key"  # where the middleware leaves the key of a request in its scope
ADMITTED = "coursegraph.admitted"  # in the scope of a request that was looked at before: whether it was let in
REFRESH_SECONDS = 0.5  # how long a key that was revoked may still open something
TELL_SECONDS = 30.0  # between two notes of when keys were used, so that a call costs no write
ADMIN_ID = "admin"  # of the key that is a setting


class Grant:
    """What a key that was found good may do; ``expires`` and ``used`` in seconds since 1970."""

    __slots__ = ("expires", "key_id", "saved", "scope", "used")

    def __init__(self, key_id: str, scope: KeyScope, expires: float = math.inf) -> None:
        self.key_id, self.scope, self.expires = key_id, scope, expires
        self.used = 0.0
        self.saved = math.inf  # requests that may be made at once; cut to what can be saved up when it is first used

    def wait_seconds(self, now: float, per_second: float, most: float) -> float:
        """Take one request of those that are saved up, or how long until there is one."""
        saved = min(most, self.saved + (now - self.used) * per_second)
        self.used = now
        if saved < 1:
            self.saved = saved
            return (1 - saved) / per_second
        self.saved = saved - 1
        return 0.0


class Gate:
    """The keys of one process; ``keeping`` keeps them up to date.

    local: nobody but this machine reaches the process; then it is open as long as no key was ever made.
    admin_key: a key with scope admin besides those that are stored.
    origins: pages of other hosts that may call.
    per_second, burst: requests that each key may make, and how many at once; 0: any number.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        local: bool,
        admin_key: str | None = None,
        origins: Collection[str] = (),
        per_second: float = 0.0,
        burst: float = 1.0,
    ) -> None:
        self._store = store
        self._local = local
        self._admin_key = None if admin_key is None else admin_key.encode()
        self._origins = {origin.encode() for origin in origins}
        self._per_second, self._burst = per_second, max(1.0, burst)
        self._anybody = Grant("", KeyScope.admin)  # who needs no key, all together
        self._valid: dict[str, StoredKey] = {}
        self._open = False
        self._read = asyncio.Event()
        self._pepper = secrets.token_bytes(32)
        self._grants: dict[bytes, Grant] = {}
        self._ended: list[Grant] = []  # whose last use is still to be told
        self._told_at = time.time()

    # --- asked by requests

    def admit(self, scope: Scope, needed: KeyScope) -> None:
        """Let a request in.  Raises what ``refusal`` gives."""
        refusal = self.refusal(scope, needed)
        if refusal is not None:
            raise refusal

    def refusal(self, scope: Scope, needed: KeyScope) -> HttpError | None:
        """Why a request is turned away, or None when it may come in.

        One of KeyMissingError, KeyRefusedError, KeyScopeError, ElsewhereError, TooManyRequestsError, or
        UnavailableError while starting.
        """
        given: bytes | None = scope.get(GIVEN)
        if given is None:
            return self._refusal_without_key(scope, needed)
        digest = blake2b(given, key=self._pepper, digest_size=16).digest()
        grant = self._grants.get(digest)
        if grant is None:
            grant = self._verify(given)
            if grant is None:
                return KeyRefusedError() if self._read.is_set() else _not_read()
            self._grants[digest] = grant
        now = time.time()
        if now >= grant.expires:
            return KeyRefusedError()
        if grant.scope < needed:
            return KeyScopeError(grant.key_id, grant.scope.name, needed.name)
        return self._refusal_of_haste(grant, now)

    def describe(self) -> str:
        """Who is answered, for people."""
        if not self._read.is_set():
            return "unknown: the keys have not been read yet"
        if self._open:
            return "this machine only: there are no keys"
        return "keys" if self._valid or self._admin_key else "nobody: there is no valid key"

    def _refusal_without_key(self, scope: Scope, needed: KeyScope) -> HttpError | None:
        if self._open:
            refusal = self._refusal_from_elsewhere(scope["headers"])
            return refusal or self._refusal_of_haste(self._anybody, time.time())
        may_open = self._local and self._admin_key is None and not self._read.is_set()
        return _not_read() if may_open else KeyMissingError(needed.name)

    def _refusal_of_haste(self, grant: Grant, now: float) -> HttpError | None:
        if not self._per_second:
            grant.used = now
            return None
        wait = grant.wait_seconds(now, self._per_second, self._burst)
        return TooManyRequestsError(self._per_second, wait) if wait else None

    def _refusal_from_elsewhere(self, headers: Iterable[tuple[bytes, bytes]]) -> HttpError | None:
        """A browser on this machine lends its place to pages of any host, by their scripts or by their host's name."""
        for name, value in headers:
            if name == b"host":
                if not _is_local(value):
                    return ElsewhereError("Host", value.decode("latin-1"))
            elif name == b"origin" and not _is_local(value) and value not in self._origins:
                return ElsewhereError("Origin", value.decode("latin-1"))
        return None

    def _verify(self, given: bytes) -> Grant | None:
        if self._admin_key is not None and hmac.compare_digest(given, self._admin_key):
            return Grant(ADMIN_ID, KeyScope.admin)
        parts = split_api_key(given.decode("latin-1"))
        stored = None if parts is None else self._valid.get(parts[0])  # an id is no secret
        if parts is None or stored is None or not matches(parts[1], stored):
            return None
        return Grant(stored.key_id, stored.scope, _expiry(stored))

    # --- keeping up

    @contextlib.asynccontextmanager
    async def keeping(self, *, patience_seconds: float) -> AsyncIterator[None]:
        """Know the keys while the block runs; it begins when they have been read, or after ``patience_seconds``."""
        task = asyncio.create_task(self._keep())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._read.wait(), patience_seconds)
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(*UNAVAILABLE_ERRORS):
                await self.tell()

    async def _keep(self) -> None:
        while True:
            try:
                self._take(await self._store.all())
                if time.time() - self._told_at >= TELL_SECONDS:
                    await self.tell()
            except UNAVAILABLE_ERRORS:
                pass  # those that are known stay: a database that is away must not close the service
            except Exception:
                log.exception("the keys could not be read; trying again")
            await asyncio.sleep(REFRESH_SECONDS)

    def _take(self, keys: Collection[StoredKey]) -> None:
        before = self.describe()
        now = datetime.now(UTC)
        self._valid = {key.key_id: key for key in keys if key.is_valid(now)}
        # A revoked key counts: who takes the last one away does not mean to open the service.
        self._open = self._local and self._admin_key is None and not keys
        for digest, grant in list(self._grants.items()):
            if grant.key_id in self._valid:
                grant.expires = _expiry(self._valid[grant.key_id])
            elif grant.key_id != ADMIN_ID:
                self._ended.append(self._grants.pop(digest))
        self._read.set()
        if (after := self.describe()) != before:
            level = logging.WARNING if after.startswith("nobody") else logging.INFO
            log.log(level, "who is answered: %s", after)

    async def tell(self) -> None:
        """Note when keys were used since the last time.  Raises one of UNAVAILABLE_ERRORS, and then nothing is lost."""
        now, ended = time.time(), list(self._ended)
        used = {
            grant.key_id: datetime.fromtimestamp(grant.used, UTC)
            for grant in (*ended, *self._grants.values())
            if grant.used >= self._told_at and grant.key_id != ADMIN_ID
        }
        await self._store.note_use(used)
        self._told_at = now
        del self._ended[: len(ended)]


def _not_read() -> HttpError:
    return UnavailableError("the keys have not been read yet, as the database does not answer")


def _expiry(stored: StoredKey) -> float:
    return math.inf if stored.expires_at is None else stored.expires_at.timestamp()


@lru_cache(256)
def _is_local(value: bytes) -> bool:
    """Whether a Host or an Origin names this machine."""
    try:
        name = urlsplit("//" + value.decode("latin-1").rpartition("://")[2]).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
