"""Pieces of a model's files, streamed into GridFS by whoever has the users that they are of.

A synchronous client of its own, for the threads and processes that compute.  The pieces belong to no model until one is
published that names them; what is left of others is removed by ``ModelStore.prune``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from gridfs import GridFSBucket, GridIn
from pymongo import MongoClient

from app.store.client import Document, client_options
from app.store.model_files import BUCKET, CHUNK_BYTES
from app.store.models import model_number

TIMEOUT_SECONDS = 30.0  # for a server to be there; an election takes about 12


def piece_id(model_id: str, fence: int, name: str, place: int) -> str:
    """Of one piece of a file.  place: among all of them, from 0."""
    return f"{model_number(model_id)}/{fence}/{name}/{place}"


@contextmanager
def piece_streams(
    uri: str, database_name: str, names: Sequence[str], id_of: Callable[[str], str]
) -> Iterator[Mapping[str, GridIn]]:
    """A stream for each file that takes its piece, all written at the same time; stored when the block ends well.

    id_of: name of a file -> id of the piece; what is there under it, of an attempt that failed, is removed.
    Raises one of ``client.UNAVAILABLE_ERRORS``.
    """
    ids = {name: id_of(name) for name in names}
    with MongoClient[Document](uri, **client_options(TIMEOUT_SECONDS, "coursegraph-pieces")) as client:
        db = client[database_name]
        db[f"{BUCKET}.files"].delete_many({"_id": {"$in": [*ids.values()]}})
        db[f"{BUCKET}.chunks"].delete_many({"files_id": {"$in": [*ids.values()]}})
        bucket = GridFSBucket(db, BUCKET, chunk_size_bytes=CHUNK_BYTES)
        with ExitStack() as stack:
            streams = {name: bucket.open_upload_stream_with_id(id_, name) for name, id_ in ids.items()}
            for stream in streams.values():
                stack.push(stream)  # closed, and thereby whole, only if the block ends well
            yield streams
