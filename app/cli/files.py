"""Files of rows: CSV and NDJSON, plain or gzipped."""

import contextlib
import csv
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import orjson
from pydantic import BaseModel

from app.cli.tables import ALIASES, Table
from app.errors import ImportFileError
from app.schemas.rows import UnreadableRow

Format = Literal["csv", "ndjson"]
FORMATS: tuple[Format, ...] = ("csv", "ndjson")
SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
CONSOLE = Path("-")  # standard input or output

MAX_CELL_CHARACTERS = 2**24  # the csv module stops at 131,072, which a long content vector exceeds

Row = tuple[int, Any]  # line in the file, from 1, and the row


def is_gzipped(path: Path) -> bool:
    """By its name."""
    return path.suffix == ".gz"


def format_of(path: Path, forced: Format | None, default: Format | None = None) -> Format:
    """The format of a file by its name.  Raises ImportFileError when the name does not tell."""
    suffix = (path.with_suffix("") if is_gzipped(path) else path).suffix
    found = forced or SUFFIXES.get(suffix) or (default if path == CONSOLE else None)
    if found is None:
        wanted = ", ".join(SUFFIXES)
        raise ImportFileError(f"{path}: the name does not tell the format; wanted {wanted} (and .gz), or --format")
    return found


class RowFile:
    """A file of rows."""

    def __init__(self, path: Path, format_: Format, table: Table, *, ignore_unknown_columns: bool = False) -> None:
        self.path = path
        self._format = format_
        self._table = table
        self._ignore_unknown_columns = ignore_unknown_columns
        self.size = path.stat().st_size if path.is_file() else 0
        self._raw: IO[bytes] | None = None
        self._read = 0

    @property
    def position(self) -> int:
        """Bytes read so far, as they lie on the disk; 0 of standard input."""
        return self._read if self._raw is None else self._raw.tell()

    def rows(self) -> Iterator[Row]:
        """Rows with the line on which each begins; a row that cannot be parsed comes as an UnreadableRow.

        Raises ImportFileError with file and line when the file as a whole is not what it claims to be.
        """
        if self.path == CONSOLE:
            yield from self._parsed(sys.stdin.buffer)
            return
        try:
            self._raw = self.path.open("rb")
        except OSError as error:
            raise ImportFileError(f"{self.path}: {error.strerror}") from error
        try:
            with self._raw:
                yield from self._parsed(self._raw)
        finally:
            self._raw, self._read = None, self.size

    def _parsed(self, raw: IO[bytes]) -> Iterator[Row]:
        lines = self._lines(raw)
        return self._csv_rows(lines) if self._format == "csv" else self._json_rows(lines)

    def _lines(self, raw: IO[bytes]) -> Iterator[str]:
        stream = gzip.GzipFile(fileobj=raw) if is_gzipped(self.path) else raw
        number = 0
        try:
            for number, line in enumerate(stream, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise self._error(number, f"not UTF-8: byte {error.object[error.start]:#04x}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._error(number + 1, f"the gzip file is damaged or cut off ({error})") from None

    def _json_rows(self, lines: Iterator[str]) -> Iterator[Row]:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, UnreadableRow(f"the line is not JSON: {error.msg} at column {error.colno}")

    def _csv_rows(self, lines: Iterator[str]) -> Iterator[Row]:
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        reader = csv.reader(lines, strict=True)
        begins = 1
        columns: Sequence[tuple[str, Callable[[str], Any]]] | None = None
        try:
            for cells in reader:
                if not cells:
                    pass  # a blank line
                elif columns is None:
                    columns = self._columns(cells, begins)
                elif len(cells) != len(columns):
                    yield begins, UnreadableRow(f"the row has {len(cells)} cells; wanted {len(columns)}, as the header")
                else:
                    named = zip(columns, cells, strict=True)
                    yield begins, {name: read(cell) for (name, read), cell in named if cell and name}
                begins = reader.line_num + 1
        except csv.Error as error:
            raise self._error(begins, f"not CSV: {error}") from None
        if columns is None:
            raise self._error(1, f"no header; wanted the column names {', '.join(self._table.columns)}")

    def _columns(self, header: Sequence[str], line: int) -> list[tuple[str, Callable[[str], Any]]]:
        """Field and reader of each column; the field of one to be ignored is empty."""
        known = self._table.columns
        names = [
            ALIASES.get(name, name) if ALIASES.get(name, name) in known else name for name in map(str.strip, header)
        ]
        wanted = f"wanted {', '.join(known)}"
        for name in names:
            if name not in known and not self._ignore_unknown_columns:
                raise self._error(line, f"unknown column {name!r}; {wanted} (or --ignore-unknown-columns)")
            if name in known and names.count(name) > 1:
                raise self._error(line, f"column {name!r} is there twice; {wanted}, each once")
        for name in self._table.required:
            if name not in names:
                raise self._error(line, f"no column {name!r}; {wanted}")
        return [(name, known[name].read) if name in known else ("", str) for name in names]

    def _error(self, line: int, problem: str) -> ImportFileError:
        return ImportFileError(f"{self.path}:{line}: {problem}")


@contextlib.contextmanager
def row_writer(path: Path, format_: Format, table: Table) -> Iterator[Callable[[BaseModel], object]]:
    """A function that writes one record; the file takes its name when all are written, so it is never half one."""
    with contextlib.ExitStack() as stack:
        raw = sys.stdout.buffer if path == CONSOLE else stack.enter_context(_replaced(path))
        binary = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb")) if is_gzipped(path) else raw
        if format_ == "ndjson":
            yield lambda record: binary.write(_json_line(record, table))
        else:
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
            writer = csv.writer(text)
            writer.writerow(table.columns)
            yield lambda record: writer.writerow(_cells(record, table))
            text.detach()  # flushes, and leaves the file open for the others to close
        binary.flush()


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    aside = path.with_name(path.name + ".part")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _json_line(record: BaseModel, table: Table) -> bytes:
    fields = {name: getattr(record, name) for name in table.columns}
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _cells(record: BaseModel, table: Table) -> list[str]:
    values = [(cell, getattr(record, name)) for name, cell in table.columns.items()]
    return ["" if value is None else cell.write(value) for cell, value in values]
