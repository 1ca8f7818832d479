"""Writing Gorse's records as ours: what Gorse does not know of a record stays as it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.api.batches import Outcome
from app.api.gorse.bodies import chunks
from app.api.service import RecordService
from app.errors import NotFoundError
from app.schemas.gorse.base import Changes, Merge


def changes_of(row: BaseModel) -> Changes:
    """Every field of a record: those that were not given have their defaults."""
    return dict(row)


async def merge_rows(service: RecordService[Any, Any], rows: Sequence[tuple[str, Changes]], merge: Merge) -> int:
    """Create records or change those that are there; how many were written.

    rows: ids and what they say.  Raises RequestValidationError, one of UNAVAILABLE_ERRORS.
    """
    n_written = 0
    for some in chunks(rows):
        try:
            records = await service.store.merged(some, merge)
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False)) from None
        n_written += written(await service.write(records))
        service.batch.count(len(some), 0)
    return n_written


def written(outcome: Outcome) -> int:
    """How many rows were written.  Raises the reason why one was not."""
    for _, reason in outcome.unknown:
        raise reason
    return outcome.created + outcome.updated


async def delete_record(service: RecordService[Any, Any], record_id: str) -> int:
    """Erase a record and its interactions; 1, or 0 when there was none."""
    try:
        deleted = await service.delete(record_id)
    except NotFoundError:
        return 0
    return deleted.users + deleted.courses


@contextmanager
def found(kind: str, record_id: str) -> Iterator[None]:
    """Inside, a record that is not there is not found in Gorse's words, which its clients' users may look for."""
    try:
        yield
    except NotFoundError:
        raise NotFoundError(f"{record_id}: {kind} not found") from None
