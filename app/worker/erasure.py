"""Older models that know somebody who was erased since they were trained."""

import asyncio
import io

import numpy as np

from app.artifact.arrays import file_name
from app.domain.packed_ids import PackedIds
from app.domain.vocabulary import Vocabulary
from app.store.models import ModelStore

MOST = 1000  # models that are looked at; settings keep far fewer


async def models_of_erased(models: ModelStore, users: Vocabulary) -> list[str]:
    """Models, but for the current one, that hold a vector of somebody who is not among the users.

    Only the holder of the lease removes models, so none goes meanwhile.  Raises one of ``client.UNAVAILABLE_ERRORS``.
    """
    found = []
    for model in (await models.page(MOST)).items:
        if model.current:
            continue
        blob, offsets = [await models.file(model.model_id, file_name(name)) for name in ("user_ids", "user_id_offsets")]
        if blob is None or offsets is None or await asyncio.to_thread(_knows_another, blob, offsets, users):
            found.append(model.model_id)
    return found


def _knows_another(blob: bytes, offsets: bytes, users: Vocabulary) -> bool:
    ids = PackedIds(np.load(io.BytesIO(blob)), np.load(io.BytesIO(offsets)))
    return any(id_ not in users for id_ in ids)
