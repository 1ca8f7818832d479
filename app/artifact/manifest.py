"""What is written about a model beside its arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from app.errors import ArtifactError

# Grows when older code could misread the files; 2 has the item filter, 3 lists without some of their scores, 4 files in
# pieces.
FORMAT = 4
READABLE = (1, 2, 3, 4)
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Description:
    """What the caller knows about the model that is in none of its arrays.

    metrics: {"model": {"recall@20": ..}, "popular": {..}, ..}.  losses: mean loss of each epoch.
    fence: number of the lease under which it was trained.  created_at has a time zone.
    training: what the next runs may take over; ready for JSON.
    """

    model_id: str
    created_at: datetime
    code_version: str
    config: Mapping[str, Any]
    seed: int
    device: str
    metrics: Mapping[str, Mapping[str, float]]
    losses: tuple[float, ...]
    fence: int
    run_id: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file of users, by one writer; the parts one after the other are the file.  rows: of users in it."""

    sha256: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of the artifact; shape and dtype are None when it is no array.

    pieces: of a file that several have written, in order, and then sha256 is None; else none.
    """

    sha256: str | None
    size_bytes: int
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    pieces: tuple[Piece, ...] = ()

    @classmethod
    def of_pieces(cls, pieces: Sequence[Piece], shape: tuple[int, ...], dtype: str) -> "FileFacts":
        """Of an array that was written in so many."""
        if len(pieces) == 1:
            return cls(pieces[0].sha256, pieces[0].size_bytes, shape, dtype)
        return cls(None, sum(piece.size_bytes for piece in pieces), shape, dtype, tuple(pieces))

    @property
    def digests(self) -> list[tuple[str, int]]:
        """SHA-256 and length of each part, one after the other."""
        if self.sha256 is not None:
            return [(self.sha256, self.size_bytes)]
        return [(piece.sha256, piece.size_bytes) for piece in self.pieces]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known about a model; ``as_dict`` is its JSON.

    counts: users, courses and interactions that it was trained on.  own_weight: see Embeddings.
    training: see Description; empty in models of older releases.
    """

    format: int
    model_id: str
    run_id: str | None
    created_at: datetime
    code_version: str
    counts: Mapping[str, int]
    embedding_size: int
    own_weight: float
    types: tuple[str, ...]
    type_weights: tuple[float, ...]
    config: Mapping[str, Any]
    seed: int
    device: str
    metrics: Mapping[str, Mapping[str, float]]
    losses: tuple[float, ...]
    data_fingerprint: str
    cluster_time: int
    fence: int
    files: Mapping[str, FileFacts]
    training: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; ``from_dict`` takes them back."""
        return asdict(self) | {"created_at": self.created_at.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Manifest":
        """Raises ArtifactError when something is missing, unknown or of the wrong kind."""
        if values.get("format") not in READABLE:
            raise ArtifactError(MANIFEST, f"has format {values.get('format')!r}; this release reads {READABLE}")
        try:
            known = {name: values[name] for name in (own.name for own in fields(cls)) if name != "training"}
            known["training"] = dict(values.get("training", {}))
            known["created_at"] = datetime.fromisoformat(known["created_at"])
            known["files"] = {name: _file_facts(facts) for name, facts in known["files"].items()}
            for name in ("types", "type_weights", "losses"):
                known[name] = tuple(known[name])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(MANIFEST, f"cannot be understood ({type(error).__name__}: {error})") from error
        return cls(**known)


def _file_facts(values: Mapping[str, Any]) -> FileFacts:
    shape = values["shape"]
    pieces = tuple(Piece(**piece) for piece in values.get("pieces", ()))
    if pieces and (values["sha256"] is not None or sum(piece.size_bytes for piece in pieces) != values["size_bytes"]):
        raise ValueError(f"the pieces {pieces} are not the file")
    if not pieces and not isinstance(values["sha256"], str):
        raise ValueError("a file has neither a digest nor pieces")
    return FileFacts(
        sha256=values["sha256"],
        size_bytes=values["size_bytes"],
        shape=None if shape is None else tuple(shape),
        dtype=values["dtype"],
        pieces=pieces,
    )
