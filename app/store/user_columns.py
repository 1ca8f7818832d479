"""What a reader of some users found, as plain arrays and values that can be sent, and all of it put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymongo.errors import AutoReconnect

from app.domain.contents import MAX_TYPES
from app.domain.interactions import Features
from app.domain.packed_ids import PackedIds, pack_ids
from app.errors import InvalidFeaturesError
from app.store.client import UNAVAILABLE_ERRORS
from app.store.snapshot import UserColumns

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """arrays: of one dimension, by the same names and of the same types whoever found them.  values: for JSON."""

    arrays: Mapping[str, Array]
    values: Mapping[str, Any]


def parcel_of(columns: UserColumns) -> Parcel:
    """To be sent."""
    blob, offsets = pack_ids(columns.ids)
    arrays: dict[str, Array] = {
        "ids": blob,
        "id_lengths": np.diff(offsets),
        "edge_counts": columns.edge_counts,
        "item_rows": columns.item_rows,
        "type_codes": columns.type_codes,
        "timestamps": columns.timestamps,
        "feature_rows": columns.features.rows,
        "features": columns.features.values.ravel(),
    }
    values = {
        "types": columns.types,
        "users": len(columns.ids),
        "interactions": len(columns.item_rows),
        "featured": len(columns.features.rows),
        "width": columns.features.values.shape[1],
    }
    return Parcel(arrays, values)


def parcel_of_failure(error: Exception) -> Parcel:
    """To be sent instead; raises an error that whoever asked can do nothing about."""
    if isinstance(error, UNAVAILABLE_ERRORS):
        return Parcel({}, {"failed": ["unavailable", str(error)]})
    if isinstance(error, InvalidFeaturesError):
        return Parcel({}, {"failed": ["features", error.kind, error.record_id, error.problem]})
    raise error


def raise_failure(failed: object) -> None:
    """The error that somebody had, here."""
    match failed:
        case ["unavailable", str(said)]:
            raise AutoReconnect(said)
        case ["features", str(kind), str(record_id), str(problem)]:
            raise InvalidFeaturesError(kind, record_id, problem)
        case _:
            raise RuntimeError(f"a rank could not read its users: {failed}")


def columns_of(arrays: Mapping[str, Array], parts: Sequence[Mapping[str, Any]]) -> UserColumns:
    """Of all users, whose ranges ascend.  arrays: of all parts, one after the other.  parts: values of each.

    Raises InvalidFeaturesError when the features of two parts have different lengths.
    """
    types, rows = [*parts[0]["types"]], arrays["feature_rows"].copy()
    codes = arrays["type_codes"].copy()
    first = np.cumsum([[0, 0, 0], *([part["users"], part["interactions"], part["featured"]] for part in parts)], axis=0)
    for part, ((users, edges, featured), (_, edges_end, featured_end)) in zip(
        parts, pairwise(first.tolist()), strict=True
    ):
        for name in part["types"]:
            if name not in types and len(types) < MAX_TYPES:
                types.append(name)
        table = [types.index(name) if name in types else MAX_TYPES - 1 for name in part["types"]]
        if table != [*range(len(table))]:
            codes[edges:edges_end] = np.array(table, np.uint8)[codes[edges:edges_end]]
        rows[featured:featured_end] += users
    ids = PackedIds(arrays["ids"], np.concatenate([[0], np.cumsum(arrays["id_lengths"])]))
    widths = {part["width"]: place for place, part in enumerate(parts) if part["featured"]}
    if len(widths) > 1:
        (one, _), (other, place) = sorted(widths.items(), key=lambda item: item[1])[:2]
        user = ids[int(rows[first[place, 2]])]
        raise InvalidFeaturesError("user", user, f"are {other} numbers, those of others {one}")
    width = next(iter(widths), 0)
    return UserColumns(
        ids=ids,
        features=Features(rows, arrays["features"].reshape(len(rows), width)) if width else Features.none(),
        edge_counts=arrays["edge_counts"],
        item_rows=arrays["item_rows"],
        type_codes=codes,
        timestamps=arrays["timestamps"],
        types=tuple(types),
    )
