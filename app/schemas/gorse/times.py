"""Times as Gorse's clients write and expect them.

Gorse parses what it is sent with a library that knows nearly every way to write a time; these are those that its
clients and its users' programs use.  A time without a zone is UTC.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

ZERO = "0001-01-01T00:00:00Z"  # Go's time of nothing: clients send it for "not set" and expect it back

# Digits alone are seconds, milliseconds, microseconds or nanoseconds since 1970, or a year.
UNITS = {10: 1, 13: 1_000, 16: 1_000_000, 19: 1_000_000_000}

FORMATS = (
    *("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y"),  # .NET's ToString
    *("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m"),
    *("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y %I:%M:%S %p", "%B %d, %Y %I:%M:%S %p", "%b %d, %Y, %I:%M:%S %p"),
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y"),  # C's and Ruby's
)

_FINER = re.compile(r"(\.\d{6})\d+")  # than a microsecond
_GO_ZONE = re.compile(r" ([+-]\d{4})( [A-Z]\S*)?( m=\S+)?$")  # "2022-02-24 10:00:00 +0000 UTC", as Go prints a time


def parse_time(text: str) -> datetime | None:
    """The time with its zone; None for nothing and for Go's time of nothing.  Raises ValueError."""
    text = text.strip()
    if not text or text == ZERO:
        return None
    for read in READERS:
        try:
            time = read(text)
        except (ValueError, TypeError, OverflowError):
            continue
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time
    raise ValueError("wanted a time such as 2022-02-24T10:00:00Z")


def write_time(time: datetime | None) -> str:
    """RFC 3339 as Go writes it: no more digits than there are."""
    if time is None:
        return ZERO
    time = time.astimezone(UTC)
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S").rjust(len("2022-02-24T10:00:00"), "0")
    return f"{seconds}.{time.microsecond:06}".rstrip("0").rstrip(".") + "Z" if time.microsecond else f"{seconds}Z"


def _from_digits(text: str) -> datetime:
    if len(text) == 4:
        return datetime(int(text), 1, 1, tzinfo=UTC)
    if not text.isascii() or not text.isdigit() or len(text) not in UNITS:
        raise ValueError(text)
    return datetime.fromtimestamp(int(text) / UNITS[len(text)], UTC)


def _from_iso(text: str) -> datetime:
    return datetime.fromisoformat(_FINER.sub(r"\1", _GO_ZONE.sub(r"\1", text)))


def _from_formats(text: str) -> datetime:
    for format_ in FORMATS:
        try:
            return datetime.strptime(text, format_)
        except ValueError:
            continue
    raise ValueError(text)


READERS: tuple[Callable[[str], datetime], ...] = (_from_digits, _from_iso, _from_formats, parsedate_to_datetime)
