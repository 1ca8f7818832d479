"""Writing a model's directory: whole, or not at all."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from app.artifact.arrays import Array, file_name, to_arrays
from app.artifact.manifest import FORMAT, MANIFEST, Description, FileFacts, Manifest
from app.artifact.pieces import Digesting
from app.domain.contents import ArtifactContents


def write_artifact(
    directory: Path,
    contents: ArtifactContents,
    description: Description,
    *,
    pictures: Mapping[str, bytes] | None = None,
    elsewhere: Mapping[str, FileFacts] | None = None,
) -> Manifest:
    """Write the model into ``directory``, which appears only when all of it is on the disk.

    pictures: further files by name.  elsewhere: files that others have written; arrays in these are not written here.
    Equal inputs give equal bytes.
    Raises FileExistsError if the directory is there, OSError, and ValueError if a number is not finite.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} exists; a published model is never changed")
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        files = dict(elsewhere or {})
        for name, array in to_arrays(contents).items():
            if file_name(name) not in files:
                files[file_name(name)] = _write_array(aside / file_name(name), array)
        for name, data in (pictures or {}).items():
            files[name] = _write(aside / name, data)
        manifest = _manifest(contents, description, files)
        _write(aside / MANIFEST, to_json(manifest))
        _sync(aside)
        aside.rename(directory)
        _sync(directory.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return manifest


def to_json(manifest: Manifest) -> bytes:
    """The text of manifest.json."""
    return json.dumps(manifest.as_dict(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _manifest(contents: ArtifactContents, description: Description, files: Mapping[str, FileFacts]) -> Manifest:
    return Manifest(
        format=FORMAT,
        model_id=description.model_id,
        run_id=description.run_id,
        created_at=description.created_at,
        code_version=description.code_version,
        counts={
            "users": len(contents.users),
            "courses": len(contents.items),
            "interactions": contents.n_interactions,
        },
        embedding_size=contents.embedding_size,
        own_weight=contents.own_weight,
        types=contents.types,
        type_weights=contents.type_weights,
        config=dict(description.config),
        seed=description.seed,
        device=description.device,
        metrics={name: dict(values) for name, values in description.metrics.items()},
        losses=tuple(description.losses),
        data_fingerprint=contents.data_fingerprint,
        cluster_time=contents.cluster_time,
        fence=description.fence,
        files=files,
        training=dict(description.training),
    )


def _write_array(path: Path, array: Array) -> FileFacts:
    """The array's file, piece by piece: it may be larger than what memory is left."""

    def write(file: Digesting) -> None:
        np.lib.format.write_array(file, array, allow_pickle=False)

    facts = _written(path, write)
    return FileFacts(facts.sha256, facts.size_bytes, array.shape, array.dtype.str)


def _write(path: Path, data: bytes) -> FileFacts:
    return _written(path, lambda file: file.write(data))


def _written(path: Path, write: Callable[[Digesting], object]) -> FileFacts:
    with path.open("xb") as file:
        digesting = Digesting(file)
        write(digesting)
        file.flush()
        os.fsync(file.fileno())
    return FileFacts(digesting.sha256, digesting.size_bytes)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
