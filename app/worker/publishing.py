"""The users' side of a model, written by the ranks that have the users.

Each rank streams the rows of its users into GridFS by itself, and makes their lists on the way; the first only tells
the others to, and gathers digests.  What is stored belongs to no model until one is published that names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.artifact.arrays import file_name
from app.artifact.manifest import FileFacts, Piece
from app.artifact.pieces import Form, facts_of, forms_of_users, write_pieces
from app.artifact.top_lists import Taken
from app.domain.contents import ArtifactContents
from app.domain.item_filter import ItemFilter
from app.errors import CancelledError
from app.store.model_pieces import piece_id, piece_streams
from app.store.user_columns import parcel_of_failure, raise_failure
from app.training.checkpoint import Array, Checkpoint
from app.training.part import Part
from app.training.ranks import Ranks
from app.training.users import Users

PUBLISH = "publish"  # the errand
FILTER = ("filter_starts", "filter_items", "filter_values")


class Destination(NamedTuple):
    """Where pieces go to, and under whose lease."""

    uri: str
    database_name: str
    model_id: str
    fence: int


class Written(NamedTuple):
    """files: facts of the files that are there in pieces.  ids: of all pieces, in order."""

    files: dict[str, FileFacts]
    ids: list[str]


def write_users(
    ranks: Ranks,
    users: Users,
    contents: ArtifactContents,
    to: Destination,
    *,
    half: bool,
    should_stop: Callable[[], bool] = lambda: False,
) -> Written:
    """Have every rank write its users.  contents: all of the model but the users' vectors and lists.

    half: whether the vectors are of 16 bits.  Raises CancelledError, RankLostError, or one of
    ``client.UNAVAILABLE_ERRORS``; may be called again.
    """
    forms = forms_of_users(len(users), len(contents.items), users.size, half=half)
    arrays: dict[str, Array] = {"item_vectors": contents.item_vectors}
    if contents.item_filter is not None:
        arrays |= {name: getattr(contents, name) for name in FILTER}
    values = {
        "errand": PUBLISH,
        "database": to.database_name,
        "model_id": to.model_id,
        "fence": to.fence,
        "forms": forms,
    }
    requests = [Checkpoint(arrays, {**values, "place": place}) for place in range(ranks.size)]

    def stop() -> None:
        if should_stop():
            raise CancelledError("the run was cancelled")

    gathered = ranks.gathered(requests, lambda request: written(to.uri, request, users.own, stop))
    if gathered.failed is not None:
        raise_failure(gathered.failed)
    pieces = [{name: Piece(**own) for name, own in values["pieces"].items()} for values in gathered.values]
    ids = [piece_id(to.model_id, to.fence, file_name(name), place) for name in forms for place in range(ranks.size)]
    return Written(facts_of(forms, pieces), ids)


def written(
    uri: str, request: Checkpoint, part: Part | None, should_stop: Callable[[], None] = lambda: None
) -> Checkpoint:
    """What each rank does for that."""
    try:
        return _write(uri, request, part, should_stop)
    except CancelledError:
        raise
    except Exception as error:
        return Checkpoint({}, parcel_of_failure(error).values)


def _write(uri: str, request: Checkpoint, part: Part | None, should_stop: Callable[[], None]) -> Checkpoint:
    assert part is not None, "these are the users of the last fit"
    arrays, values = request.arrays, request.values
    forms = {name: Form(tuple(shape), dtype) for name, (shape, dtype) in values["forms"].items()}
    place = values["place"]

    def id_of(file: str) -> str:
        return piece_id(values["model_id"], values["fence"], file, place)

    with piece_streams(uri, values["database"], [*map(file_name, forms)], id_of) as streams:
        pieces = write_pieces(
            {name: streams[file_name(name)] for name in forms},
            forms,
            part.vectors,
            Taken(_rows_of(part.graph.seen), _rows_of(part.graph.user_items)),
            arrays["item_vectors"],
            item_filter=_filter_of(arrays),
            first=place == 0,
            should_stop=should_stop,
        )
    found: dict[str, Any] = {name: asdict(piece) for name, piece in pieces.items()}
    return Checkpoint({}, {"pieces": found})


def _filter_of(arrays: Mapping[str, Array]) -> ItemFilter | None:
    return ItemFilter(*(arrays[name] for name in FILTER)) if FILTER[0] in arrays else None


def _rows_of(matrix: csr_array) -> Callable[[int], NDArray[np.int32]]:
    starts, columns = matrix.indptr, matrix.indices
    return lambda row: columns[starts[row] : starts[row + 1]]
