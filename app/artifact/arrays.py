"""Which array of the contents is in which file."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from app.domain.contents import ArtifactContents
from app.domain.packed_ids import pack_ids

Array = NDArray[np.generic]

ARRAYS = {  # name in the contents, and file: its dtype, little-endian whatever the machine
    "user_vectors": "<f4",
    "item_vectors": "<f4",
    "initial_item": "<f4",
    "seen_indptr": "<i8",
    "seen_items": "<i4",
    "seen_types": "<u4",
    "popularity": "<f4",
    "user_degrees": "<f8",
    "item_degrees": "<f8",
}
OPTIONAL_ARRAYS = {  # the same, and None when there is no such file
    "user_feature_weights": "<f4",
    "item_messages": "<f4",
    "fold_in_messages": "<f4",
    "seen_weights": "<f4",
    "top_items": "<i4",
    "top_scores": "<f4",
    "top_lasts": "<f4",
    "filter_starts": "<i8",
    "filter_items": "<i4",
    "filter_values": "<f4",
    "filter_sources": "<i4",
    "filter_weights": "<f4",
}
NARROW = {"top_items": "<u2", "user_vectors": "<f2", "filter_sources": "<u2"}  # what an array may have instead
CONTENT_ARRAYS = {  # the map from words to vectors; all, or none where there is no map
    "content_tokens": "<u4",
    "content_rarities": "<f4",
    "content_directions": "<f4",
    "content_weights": "<f4",
    "content_offset": "<f4",
}
ID_ARRAYS = {
    "user_ids": "|u1",
    "user_id_offsets": "<i8",
    "item_ids": "|u1",
    "item_id_offsets": "<i8",
}
ROW_OF_USER = ("user_vectors", "user_degrees", "top_items", "top_scores", "top_lasts")
PAIR_OF_USER = ("seen_items", "seen_types", "seen_weights")
USER_ARRAYS = (*ROW_OF_USER, *PAIR_OF_USER, "seen_indptr", "user_ids", "user_id_offsets")


def dtype_of(array: str, usual: str, found: str | None) -> str:
    """Of an array that has this dtype in memory or in the manifest."""
    narrow = NARROW.get(array)
    return narrow if narrow is not None and found in {narrow, ">" + narrow[1:]} else usual


def file_name(array: str) -> str:
    """File of an array."""
    return f"{array}.npy"


USER_FILES = frozenset(map(file_name, USER_ARRAYS))


def first_users(arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
    """The same with the arrays of the first n users alone, which are views."""
    held = dict(arrays)
    n_pairs, n_bytes = (int(arrays[name][n : n + 1].sum()) for name in ("seen_indptr", "user_id_offsets"))
    lengths = {
        **dict.fromkeys(ROW_OF_USER, n),
        **dict.fromkeys(PAIR_OF_USER, n_pairs),
        **dict.fromkeys(("seen_indptr", "user_id_offsets"), n + 1),
        "user_ids": n_bytes,
    }
    held.update({name: arrays[name][:length] for name, length in lengths.items() if name in arrays})
    return held


def no_users(embedding_size: int) -> dict[str, Array]:
    """The arrays of no user at all."""
    shapes = {"user_vectors": (0, embedding_size), "seen_indptr": (1,), "user_id_offsets": (1,)}
    dtypes = {name: dtype for name, dtype in (ARRAYS | ID_ARRAYS).items() if name in USER_ARRAYS}
    return {name: np.zeros(shapes.get(name, (0,)), dtype) for name, dtype in dtypes.items()}


def to_arrays(contents: ArtifactContents) -> dict[str, Array]:
    """All arrays of a model by name, also those that follow from others."""
    arrays: dict[str, Array] = {
        name: np.ascontiguousarray(getattr(contents, name), dtype_of(name, dtype, getattr(contents, name).dtype.str))
        for name, dtype in (ARRAYS | OPTIONAL_ARRAYS).items()
        if name in ARRAYS or getattr(contents, name) is not None
    }
    if contents.filter_sources is None and contents.item_filter is not None:
        by_target = contents.item_filter.by_target()
        if by_target is not None:
            arrays["filter_sources"], arrays["filter_weights"] = by_target
    if (content := contents.content) is not None:
        encoder = content.encoder
        parts = (encoder.tokens, encoder.rarities, encoder.directions, content.weights, content.offset)
        for (name, dtype), part in zip(CONTENT_ARRAYS.items(), parts, strict=True):
            arrays[name] = np.ascontiguousarray(part, np.dtype(dtype))
    for side, vocabulary in (("user", contents.users), ("item", contents.items)):
        blob, offsets = pack_ids(vocabulary.ids)
        arrays[f"{side}_ids"], arrays[f"{side}_id_offsets"] = blob, offsets.astype("<i8")
    return arrays
