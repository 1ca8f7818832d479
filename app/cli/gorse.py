"""Files that Gorse has exported: JSON lines of users, items or feedback."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.cli.files import CONSOLE, RowFile
from app.cli.loading import Checked, Loader
from app.cli.tables import TABLES
from app.errors import ImportFileError
from app.schemas.gorse.base import Merge
from app.schemas.gorse.feedback import GorseFeedback, to_interaction
from app.schemas.gorse.items import GorseItem, merge_item
from app.schemas.gorse.users import GorseUser, merge_user
from app.schemas.rows import validate_rows


@dataclass(frozen=True, slots=True)
class Kind:
    """id_field: the key that such rows have and those of the kinds above them in ``KINDS`` have not."""

    model: type[BaseModel]
    id_field: str
    merge: Merge | None = None


KINDS = {
    "interactions": Kind(GorseFeedback, "FeedbackType"),
    "courses": Kind(GorseItem, "ItemId", merge_item),
    "users": Kind(GorseUser, "UserId", merge_user),
}


def gorse_files(paths: Sequence[Path]) -> dict[str, list[RowFile]]:
    """The files of each kind, in the order in which they are best loaded.  Raises ImportFileError."""
    by_kind: dict[str, list[RowFile]] = {kind: [] for kind in TABLES}
    for path in paths:
        kind = _kind_of(path)
        by_kind[kind].append(RowFile(path, "ndjson", TABLES[kind]))
    return {kind: files for kind, files in by_kind.items() if files}


class GorseLoader(Loader):
    """As Loader, from Gorse's rows; every type of feedback is accepted, and what Gorse does not know stays."""

    def _checked(self, file: RowFile) -> Iterator[Checked]:
        for lines, values in self._chunks(file):
            good, rejected = validate_rows(KINDS[self.kind].model, values, numbers=lines)
            if self.kind == "interactions":
                good = [(line, to_interaction(row)) for line, row in good if isinstance(row, GorseFeedback)]
            yield good, rejected

    async def _to_records(self, rows: list[Any]) -> list[Any]:
        kind = KINDS[self.kind]
        assert kind.merge is not None, "interactions are no records"
        return await self._records.merged([(getattr(row, kind.id_field), dict(row)) for row in rows], kind.merge)


def _kind_of(path: Path) -> str:
    """By the keys of the first row that can be read."""
    if path == CONSOLE:
        raise ImportFileError("-: what Gorse exported is looked at first, which standard input cannot be; give a file")
    for _, row in RowFile(path, "ndjson", TABLES["users"]).rows():
        keys = {str(key).lower() for key in row} if isinstance(row, Mapping) else set()
        for name, kind in KINDS.items():
            if kind.id_field.lower() in keys:
                return name
    wanted = ", ".join(kind.id_field for kind in KINDS.values())
    raise ImportFileError(f"{path}: no row has one of the keys {wanted}; wanted JSON lines that Gorse exported")
