"""Reading a model's directory: verified, then mapped into memory."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from app.artifact.arrays import (
    ARRAYS,
    CONTENT_ARRAYS,
    ID_ARRAYS,
    OPTIONAL_ARRAYS,
    USER_ARRAYS,
    USER_FILES,
    Array,
    dtype_of,
    file_name,
    first_users,
    no_users,
)
from app.artifact.manifest import MANIFEST, FileFacts, Manifest
from app.domain.content import ContentMap, Encoder
from app.domain.contents import ArtifactContents, no_item
from app.domain.packed_ids import PackedIds
from app.domain.vocabulary import Vocabulary
from app.errors import ArtifactError

CHUNK_BYTES = 2**20
BLOCK_NUMBERS = 2**22  # looked at at once, so that checking a large model takes no memory
LARGEST = float(np.float32(1e16))  # of a vector's numbers; the product of two such vectors is still a finite float32


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model; its arrays are mapped read-only, so that the processes of a machine share them."""

    manifest: Manifest
    contents: ArtifactContents

    @property
    def model_id(self) -> str:
        """Id under which it is published."""
        return self.manifest.model_id


def load_artifact(directory: Path, users_held: int | None = None) -> Artifact:
    """Verify every file against the manifest and the arrays against each other.

    users_held: so many users alone, the first; 0: USER_FILES need not be there.  None: all.
    Reads all bytes once: 80 ms for 100,000 users and 40,000 courses of size 64.
    Raises ArtifactError that names the file and the problem.
    """
    manifest = Manifest.from_dict(_read_manifest(directory))
    for name, facts in manifest.files.items():
        if users_held != 0 or name not in USER_FILES:
            _verify_bytes(directory, name, facts)
    optional = OPTIONAL_ARRAYS | CONTENT_ARRAYS
    there = {name: dtype for name, dtype in optional.items() if file_name(name) in manifest.files}
    wanted = ARRAYS | ID_ARRAYS | there
    if users_held == 0:
        wanted = {name: dtype for name, dtype in wanted.items() if name not in USER_ARRAYS}
    arrays = {name: _map(directory, name, dtype, manifest) for name, dtype in wanted.items()}
    holds_all = users_held is None or users_held >= manifest.counts.get("users", 0)
    if users_held == 0:
        arrays |= no_users(manifest.embedding_size)
    elif users_held is not None and not holds_all:
        arrays = first_users(arrays, users_held)
    users, items = (_vocabulary(arrays, side) for side in ("user", "item"))
    _verify_shapes(arrays, manifest, len(users), len(items))
    _verify_counts(manifest, {"users": len(users), "courses": len(items)} if holds_all else {"courses": len(items)})
    _verify_numbers(arrays)
    _verify_seen(arrays, manifest, len(items))
    _verify_top(arrays, len(items))
    _verify_filter(arrays, len(items))
    _verify_content(arrays, manifest.embedding_size)
    contents: dict[str, Any] = {name: arrays.get(name) for name in ARRAYS | OPTIONAL_ARRAYS}
    return Artifact(
        manifest,
        ArtifactContents(
            users=users,
            items=items,
            types=manifest.types,
            type_weights=manifest.type_weights,
            n_interactions=manifest.counts["interactions"],
            cluster_time=manifest.cluster_time,
            data_fingerprint=manifest.data_fingerprint,
            own_weight=manifest.own_weight,
            content=_content(arrays),
            holds_all_users=holds_all,
            **contents,
        ),
    )


def _read_manifest(directory: Path) -> Mapping[str, Any]:
    try:
        values = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(MANIFEST, "is missing") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(MANIFEST, f"cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise ArtifactError(MANIFEST, "is not a JSON object")
    return values


def _verify_bytes(directory: Path, name: str, facts: FileFacts) -> None:
    if Path(name).name != name:
        raise ArtifactError(MANIFEST, f"names {name!r}, which is not a file of its own directory")
    try:
        with (directory / name).open("rb") as file:
            found = [_digest(file, size_bytes) for _, size_bytes in facts.digests]
            size_bytes = file.seek(0, os.SEEK_END)
    except FileNotFoundError as error:
        raise ArtifactError(name, "is missing") from error
    except OSError as error:
        raise ArtifactError(name, f"cannot be read ({error})") from error
    if size_bytes != facts.size_bytes:
        raise ArtifactError(name, f"has {size_bytes} bytes; wanted {facts.size_bytes}")
    for place, (digest, (wanted, _)) in enumerate(zip(found, facts.digests, strict=True), 1):
        if digest != wanted:
            of_what = f"of piece {place} of {len(found)} the" if len(found) > 1 else "its"
            raise ArtifactError(name, f"is not the file that was written ({of_what} SHA-256 differs)")


def _digest(file: BinaryIO, size_bytes: int) -> str:
    """SHA-256 of the next bytes."""
    digest = hashlib.sha256()
    while size_bytes > 0 and (data := file.read(min(CHUNK_BYTES, size_bytes))):
        digest.update(data)
        size_bytes -= len(data)
    return digest.hexdigest()


def _map(directory: Path, array: str, dtype: str, manifest: Manifest) -> Array:
    """The array as a plain read-only view of the file: indexing numpy's memmap class itself is far slower."""
    name = file_name(array)
    facts = manifest.files.get(name)
    if facts is None:
        raise ArtifactError(MANIFEST, f"does not name {name}")
    try:
        mapped: Array = np.asarray(np.load(directory / name, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ArtifactError(name, f"cannot be read as an array ({error})") from error
    dtype = dtype_of(array, dtype, mapped.dtype.str)
    if mapped.dtype != np.dtype(dtype) or not mapped.flags.c_contiguous:
        raise ArtifactError(name, f"has dtype {mapped.dtype.str}; wanted {dtype} in C order")
    if mapped.shape != facts.shape:
        raise ArtifactError(name, f"has shape {mapped.shape}; the manifest says {facts.shape}")
    return mapped


def _vocabulary(arrays: Mapping[str, Any], side: str) -> Vocabulary:
    try:
        packed = PackedIds(arrays[f"{side}_ids"], arrays[f"{side}_id_offsets"])
        # Of the items each answer has some ids, and lists are made of all; users are many and asked for one by one.
        return Vocabulary(packed if side == "user" else [*packed])
    except (ValueError, TypeError) as error:
        raise ArtifactError(file_name(f"{side}_ids"), f"holds no ids ({error})") from error


def _verify_shapes(arrays: Mapping[str, Any], manifest: Manifest, n_users: int, n_items: int) -> None:
    size, n_seen = manifest.embedding_size, len(arrays["seen_items"])
    wanted = {
        "user_vectors": (n_users, size),
        "item_vectors": (n_items, size),
        "initial_item": (n_items, size),
        "item_messages": (n_items, size),
        "fold_in_messages": (n_items, size),
        "user_feature_weights": (len(arrays.get("user_feature_weights", ())), size),
        "seen_indptr": (n_users + 1,),
        "seen_items": (n_seen,),
        "seen_types": (n_seen,),
        "seen_weights": (n_seen,),
        "popularity": (n_items,),
        "user_degrees": (n_users,),
        "item_degrees": (n_items,),
        "filter_starts": (n_items + 1,),
        "filter_items": (len(arrays.get("filter_values", ())),),
        "filter_values": (len(arrays.get("filter_items", ())),),
        "filter_sources": (n_items, *_rest_of_shape(arrays, "filter_weights")),
        "filter_weights": (n_items, *_rest_of_shape(arrays, "filter_sources")),
        "top_items": (n_users, *arrays["top_items"].shape[1:2]) if "top_items" in arrays else (),
        "top_scores": (n_users, _scored_length(arrays)),
        "top_lasts": (n_users,),
    }
    for name, shape in wanted.items():
        if name in arrays and arrays[name].shape != shape:
            raise ArtifactError(file_name(name), f"has shape {arrays[name].shape}; wanted {shape}")


def _verify_counts(manifest: Manifest, counted: Mapping[str, int]) -> None:
    if {name: manifest.counts.get(name) for name in counted} != counted or "interactions" not in manifest.counts:
        raise ArtifactError(MANIFEST, f"counts {dict(manifest.counts)}; the files hold {counted}")


def _verify_numbers(arrays: Mapping[str, Any]) -> None:
    of_users, of_items = ("user_vectors", "user_feature_weights"), ("initial_item", "item_messages", "fold_in_messages")
    others = ("item_vectors", "top_scores", "top_lasts", "filter_values", "filter_weights")
    for name in (*of_users, *of_items, *others):
        if name in arrays and not all(
            float(np.abs(block).max()) <= LARGEST for block in _blocks(arrays[name])
        ):  # also NaN
            raise ArtifactError(file_name(name), f"holds a number that is not finite or larger than {LARGEST:g}")
    for name in ("popularity", "user_degrees", "item_degrees", "seen_weights"):
        if name in arrays and not all(((block >= 0) & np.isfinite(block)).all() for block in _blocks(arrays[name])):
            raise ArtifactError(file_name(name), "holds a number that is negative or not finite")


def _blocks(array: Any) -> Iterator[Any]:
    """The array in pieces along its first axis, none of them empty."""
    step = max(1, BLOCK_NUMBERS * len(array) // max(array.size, 1))
    return (array[start : start + step] for start in range(0, len(array) if array.size else 0, step))


def _verify_top(arrays: Mapping[str, Any], n_items: int) -> None:
    if "top_items" not in arrays:
        return
    if "top_scores" not in arrays:
        raise ArtifactError(file_name("top_scores"), "is missing")
    items, scores = arrays["top_items"], arrays["top_scores"]
    inside = ((((block >= 0) & (block < n_items)) | (block == no_item(items))).all() for block in _blocks(items))
    if not all(inside):
        raise ArtifactError(file_name("top_items"), f"holds a row outside 0..{n_items - 1}")
    if any((block[:, 1:] > block[:, :-1]).any() for block in _blocks(scores)):
        raise ArtifactError(file_name("top_scores"), "is not sorted within a user")
    if "top_lasts" in arrays and scores.shape[1] and (arrays["top_lasts"] > scores[:, -1]).any():
        raise ArtifactError(file_name("top_lasts"), "holds more than a score of the list")


def _rest_of_shape(arrays: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Of an array that there should be, after its first number."""
    return tuple(arrays[name].shape[1:2]) if name in arrays else ()


def _scored_length(arrays: Mapping[str, Any]) -> int:
    """How many scores of each user there must be."""
    if "top_items" not in arrays or "top_scores" not in arrays:
        return -1  # scores of nothing
    listed: int = arrays["top_items"].shape[-1]
    scored: int = arrays["top_scores"].shape[-1]
    return min(scored, listed) if "top_lasts" in arrays else listed


def _verify_filter(arrays: Mapping[str, Any], n_items: int) -> None:
    present = [name in arrays for name in ("filter_starts", "filter_items", "filter_values")]
    by_target = [name in arrays for name in ("filter_sources", "filter_weights")]
    if any(by_target) and not (all(by_target) and all(present)):
        raise ArtifactError(MANIFEST, "names a part of an item filter by target, not all of it")
    if not any(present):
        return
    if not all(present):
        raise ArtifactError(MANIFEST, "names a part of an item filter, not all of it")
    starts, items = arrays["filter_starts"], arrays["filter_items"]
    if starts[0] != 0 or starts[-1] != len(items) or (np.diff(starts) < 0).any():
        raise ArtifactError(file_name("filter_starts"), "does not fit filter_items")
    if not _within(items, 0, n_items):
        raise ArtifactError(file_name("filter_items"), f"holds a row outside 0..{n_items - 1}")
    if not _ascending(starts, items):
        raise ArtifactError(file_name("filter_items"), "is not sorted within an item")
    if all(by_target) and not _within(arrays["filter_sources"], 0, n_items + 1):
        raise ArtifactError(file_name("filter_sources"), f"holds a row outside 0..{n_items}")


def _ascending(starts: Any, items: Any) -> bool:
    """Whether the items of each row of a CSR ascend."""
    boundaries = starts[1:-1]
    for start in range(0, len(items) - 1, BLOCK_NUMBERS):
        block = items[start : start + BLOCK_NUMBERS + 1]
        rises = block[1:] > block[:-1]
        first, last = np.searchsorted(boundaries, (start + 1, start + len(rises) + 1))
        rises[boundaries[first:last] - 1 - start] = True  # between two rows
        if not rises.all():
            return False
    return True


def _within(rows: Any, low: int, high: int) -> bool:
    """Whether all are at least ``low`` and below ``high``."""
    return all(block.min() >= low and block.max() < high for block in _blocks(rows))


def _verify_content(arrays: Mapping[str, Any], size: int) -> None:
    found = [name for name in CONTENT_ARRAYS if name in arrays]
    if not found:
        return
    if len(found) < len(CONTENT_ARRAYS):
        raise ArtifactError(MANIFEST, f"names {found}; wanted all of {[*CONTENT_ARRAYS]} or none")
    tokens = arrays["content_tokens"]
    n_tokens, n_directions = len(tokens), arrays["content_directions"].shape[-1]
    wanted = ((n_tokens,), (n_tokens,), (n_tokens, n_directions), (n_directions, size), (size,))
    for name, shape in zip(CONTENT_ARRAYS, wanted, strict=True):
        if arrays[name].shape != shape:
            raise ArtifactError(file_name(name), f"has shape {arrays[name].shape}; wanted {shape}")
    if not n_tokens or (tokens[1:] <= tokens[:-1]).any():
        raise ArtifactError(file_name("content_tokens"), "is empty or not ascending")
    for name in ("content_rarities", "content_directions", "content_weights", "content_offset"):
        if not np.isfinite(arrays[name]).all():
            raise ArtifactError(file_name(name), "holds a number that is not finite")


def _content(arrays: Mapping[str, Any]) -> ContentMap | None:
    if "content_tokens" not in arrays:
        return None
    tokens, rarities, directions, weights, offset = (arrays[name] for name in CONTENT_ARRAYS)
    return ContentMap(Encoder(tokens, rarities, directions), weights, offset)


def _verify_seen(arrays: Mapping[str, Any], manifest: Manifest, n_items: int) -> None:
    starts, items, types = arrays["seen_indptr"], arrays["seen_items"], arrays["seen_types"]
    if starts[0] != 0 or starts[-1] != len(items) or (np.diff(starts) < 0).any():
        raise ArtifactError(file_name("seen_indptr"), "does not fit seen_items")
    if not _within(items, 0, n_items):
        raise ArtifactError(file_name("seen_items"), f"holds a row outside 0..{n_items - 1}")
    if not _ascending(starts, items):
        raise ArtifactError(file_name("seen_items"), "is not sorted within a user")
    if len(manifest.types) != len(manifest.type_weights):
        raise ArtifactError(MANIFEST, "has types without a weight")
    known = (1 << len(manifest.types)) - 1
    if not all(block.min() > 0 and int(np.bitwise_or.reduce(block)) <= known for block in _blocks(types)):
        raise ArtifactError(file_name("seen_types"), f"holds types other than the {len(manifest.types)} known ones")
