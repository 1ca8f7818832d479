"""What a rank but the first is asked for beside fits: to read its users, and to write them."""

from collections.abc import Callable

from app.training.checkpoint import Checkpoint
from app.training.part import Part
from app.training.ranks import Do
from app.worker.publishing import PUBLISH, written
from app.worker.reading import read


def errands(uri: Callable[[], str]) -> Do:
    """By its own connection, to the database of the name that is given."""

    def do(request: Checkpoint, part: Part | None) -> Checkpoint:
        if request.values["errand"] == PUBLISH:
            return written(uri(), request, part)
        return read(uri(), request)

    return do
