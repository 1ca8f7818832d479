"""What batches with an ``Idempotency-Key`` were answered, so that who did not hear it hears the same again.

A key is claimed before anything is written and keeps its answer for a time; both are one document.  A claim that is not
renewed lapses, as its process died or lost the database, and then the batch is done again.  All times are the server's.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import uuid4

from bson import Binary
from pymongo import ReturnDocument

from app.store.client import Database, Document

CLAIM_SECONDS = 15  # three missed renewals


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer as it was sent."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the batch of a key."""

    key: str
    owner: str


class Refusal(Enum):
    """Why a key can be neither claimed nor answered."""

    in_progress = "in_progress"
    another_body = "another_body"


class GivenAnswerStore:
    """Every method may raise one of ``client.UNAVAILABLE_ERRORS``.

    kept_seconds: how long an answer is kept after its key was first seen.
    """

    def __init__(self, db: Database, kept_seconds: float) -> None:
        self._answers = db["given_answers"]
        self._kept_ms = round(kept_seconds * 1000)

    async def claim(self, key: str, digest: bytes) -> Claim | GivenAnswer | Refusal:
        """The right to do what this key stands for, or what was answered to the same ``digest`` before."""
        owner = uuid4().hex
        new = {
            **{"_id": "$_id", "owner": {"$literal": owner}, "digest": {"$literal": Binary(digest)}},
            **{"held_until": _in(CLAIM_SECONDS * 1000), "expires_at": _in(self._kept_ms)},
        }
        lapsed = {"$and": [{"$eq": [{"$type": "$status"}, "missing"]}, {"$lte": ["$held_until", "$$NOW"]}]}
        free = {"$or": [lapsed, {"$lte": ["$expires_at", "$$NOW"]}]}  # also when there was none: missing is least
        # A claim that is held for longer than any can be is from before the clock was set back.
        held = {"$mergeObjects": ["$$ROOT", {"held_until": {"$min": ["$held_until", _in(CLAIM_SECONDS * 1000)]}}]}
        document: dict[str, Any] = await self._answers.find_one_and_update(
            {"_id": key},
            [{"$replaceWith": {"$cond": [free, new, held]}}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        if document["owner"] == owner:
            return Claim(key, owner)
        if document["digest"] != digest:
            return Refusal.another_body
        if "status" not in document:
            return Refusal.in_progress
        return GivenAnswer(document["status"], document["media_type"], bytes(document["body"]))

    async def renew(self, claim: Claim) -> None:
        """Hold the claim for its length from now on."""
        await self._answers.update_one(_mine(claim), [{"$set": {"held_until": _in(CLAIM_SECONDS * 1000)}}])

    async def keep(self, claim: Claim, answer: GivenAnswer, users: list[str]) -> None:
        """Keep the answer; ``users``: who is named in it."""
        known = {"status": answer.status, "media_type": answer.media_type, "body": Binary(answer.body)}
        await self._answers.update_one(_mine(claim), {"$set": known | ({"users": users} if users else {})})

    async def release(self, claim: Claim) -> None:
        """Let the key be as if it had never been used."""
        await self._answers.delete_one(_mine(claim))

    async def forget_user(self, user_id: str) -> None:
        """Erase answers that name the user."""
        await self._answers.delete_many({"users": user_id})


def _in(milliseconds: int) -> Document:
    return {"$add": ["$$NOW", milliseconds]}


def _mine(claim: Claim) -> Document:
    return {"_id": claim.key, "owner": claim.owner, "status": {"$exists": False}}
