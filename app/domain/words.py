"""What records say of themselves in words, as numbers that mean the same in every process.

A token is a label, a word, or a run of two to four characters of a word, so that languages which leave no spaces are
read too.  It is known by a hash of 32 bits: no vocabulary has to be kept, and two tokens that share a hash are too
rare to matter.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.domain.courses import CourseFacts

LENGTHS = (2, 3, 4)  # of runs of characters
BLOCK = 500  # records counted at once: a million characters when their texts are long
LABEL_COUNT = 4  # a label is chosen with care, so it counts as often as a word that stands in a text four times
TEXT_CHARACTERS = 2_000  # of a description; more of it says little more

_GAP = re.compile(r"[\W_]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, and without a pattern in its bits
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Words:
    """labels: of each record, such as ``level:beginner``.  texts: of each record, "" where there is none."""

    labels: Sequence[Sequence[str]]
    texts: Sequence[str]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it; equal for equal words in equal order."""
        digest = hashlib.sha256()
        for labels, text in zip(self.labels, self.texts, strict=True):
            record = "\x1e".join([*labels, "\x1f", text])
            digest.update(record.encode("utf-8", "surrogatepass") + b"\x1d")
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Words":
        """Some of the records."""
        return Words(self.labels[start:stop], self.texts[start:stop])


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of R records, sorted by (record, token).

    rows: (T,) int64.  tokens: (T,) uint32.  counts: (T,) float32, how often the record has the token.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.uint32]
    counts: NDArray[np.float32]


def words_of_courses(courses: Sequence[CourseFacts | None], texts: Sequence[str] | None = None) -> Words:
    """Labels and title of each course, and its text where given; nothing for a course that is gone."""
    labels, titles = [], []
    for facts in (course or CourseFacts() for course in courses):
        named = ("level", facts.level), ("language", facts.language)
        topics = [f"topic:{label}" for label in dict.fromkeys((*facts.categories, *facts.tags))]
        labels.append([*topics, *(f"{field}:{value}" for field, value in named if value is not None)])
        titles.append(facts.title or "")
    if texts is not None:
        titles = [f"{title}\n{text}" for title, text in zip(titles, texts, strict=True)]
    return Words(labels, titles)


def words_of_users(interests: Sequence[Mapping[str, float]]) -> Words:
    """What each user is interested in; an interest of weight 0 or less says nothing."""
    liked = [[label for label, weight in own.items() if weight > 0] for own in interests]
    return Words([[f"topic:{label}" for label in own] for own in liked], ["\n".join(own) for own in liked])


def count_tokens(words: Words) -> TokenCounts:
    """All tokens of each record.  A text of 2,000 characters takes a millisecond."""
    blocks = [_count(words.part(start, start + BLOCK), start) for start in range(0, max(len(words), 1), BLOCK)]
    rows, tokens, counts = zip(*blocks, strict=True)
    return TokenCounts(np.concatenate(rows), np.concatenate(tokens), np.concatenate(counts))


def _count(words: Words, first: int) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]:
    plain = [_plain(text) for text in words.texts]
    named = [
        [*(label for label in labels for _ in range(LABEL_COUNT)), *text.split()]
        for labels, text in zip(words.labels, plain, strict=True)
    ]
    parts = [_hashed(named), *_runs(plain)]
    rows, tokens = (np.concatenate(column) for column in zip(*parts, strict=True))
    keys, counts = np.unique((rows.astype(np.uint64) << _HALF) | tokens, return_counts=True)
    return (keys >> _HALF).astype(np.int64) + first, keys.astype(np.uint32), counts.astype(np.float32)


def _plain(text: str) -> str:
    """Words with one space between; upper and lower case are one, and so are the forms of a character."""
    return _GAP.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _hashed(names: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    rows = np.repeat(np.arange(len(names)), [len(own) for own in names])
    hashes = (crc32(name.encode("utf-8", "surrogatepass")) for own in names for name in own)
    return rows.astype(np.int64), np.fromiter(hashes, np.uint32, len(rows))


def _runs(texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32]]]:
    """Runs of characters within words, for each length."""
    rows = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
    joined = "".join(f"{text} " for text in texts)
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    gaps = np.concatenate([[0], np.cumsum(points == ord(" "))])  # before each character
    for length in LENGTHS:
        n = max(len(points) - length + 1, 0)
        code = np.full(n, length, np.uint64)
        for place in range(length):
            code = code * _FACTOR + points[place : place + n]  # modulo 2^64
        inside = gaps[length : length + n] == gaps[:n]
        yield rows[:n][inside], ((code[inside] * _FACTOR) >> _HALF).astype(np.uint32)
