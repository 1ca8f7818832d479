"""What is written about a model beside its arrays."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from app.errors import ArtifactError

FORMAT = 3  # grows when older code could misread the files; 2 has the item filter, 3 lists without some of their scores
READABLE = (1, 2, 3)
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
class FileFacts:
    """A file of the artifact; shape and dtype are None when it is no array."""

    sha256: str
    size_bytes: int
    shape: tuple[int, ...] | None = None
    dtype: str | None = None


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
    return FileFacts(
        sha256=values["sha256"],
        size_bytes=values["size_bytes"],
        shape=None if shape is None else tuple(shape),
        dtype=values["dtype"],
    )
