"""Readable ids with a number in them: ``r-000017`` outside, 17 as ``_id`` inside, which keeps them in order."""

import re

from pymongo import ReturnDocument

from app.store.client import Database

MAX_DIGITS = 18  # more would not fit in the 64 bits of an _id


def readable_id(prefix: str, number: int) -> str:
    """``r-000017``."""
    return f"{prefix}-{number:06d}"


def number_of(prefix: str, id_: str) -> int | None:
    """The number in an id that ``readable_id`` made, None for anything else."""
    match = re.fullmatch(rf"{prefix}-([0-9]{{6,{MAX_DIGITS}}})", id_)
    return int(match[1]) if match and readable_id(prefix, int(match[1])) == id_ else None


async def next_number(db: Database, name: str) -> int:
    """The next number of a counter, from 1; never the same twice."""
    counter = await db["settings"].find_one_and_update(
        {"_id": f"{name}_counter"}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
    )
    return int(counter["value"])
