"""Reading over two processes: what one alone reads; one of them killed, and one that cannot read."""

import os
import signal
from dataclasses import fields

import numpy as np
import pytest

from app.domain.interactions import Snapshot
from app.errors import RankLostError
from app.schemas.interactions import Interaction
from app.store.client import Database
from app.store.interactions import InteractionStore
from app.store.snapshot import read_snapshot
from app.training.distributed.launch import LocalGroup, local_ranks
from app.worker.cycle import RANK
from app.worker.reading import read_over

TYPES = ("view", "enroll")


@pytest.mark.timeout(120)
async def test_two_ranks_read_what_one_reads(database: Database, mongodb_uri: str) -> None:
    rng = np.random.default_rng(0)
    rows = [
        Interaction(user_id=f"u{user}", course_id=f"c{course}", type=("enroll", "other")[course % 2])
        for user in range(200)
        for course in rng.choice(40, 1 + user % 9, replace=False)
    ]
    await InteractionStore(database).write_many(rows, auto_create=True)
    whole = read_snapshot(mongodb_uri, database.name, TYPES)
    with local_ranks(2, 20.0, module=RANK, environment={"MONGODB_URI": mongodb_uri}) as ranks:
        assert isinstance(ranks, LocalGroup)
        for _ in range(2):
            check_equal(read_over(ranks, mongodb_uri, database.name, TYPES), whole)
        os.kill(ranks.others[0], signal.SIGKILL)
        with pytest.raises(RankLostError, match=r"rank 1 ended|Connection"):
            read_over(ranks, mongodb_uri, database.name, TYPES)
    with local_ranks(2, 20.0) as ranks, pytest.raises(RuntimeError, match="this rank runs no errands"):
        read_over(ranks, mongodb_uri, database.name, TYPES)


def check_equal(read: Snapshot, whole: Snapshot) -> None:
    assert (list(read.users.ids), read.items, read.types) == (list(whole.users.ids), whole.items, whole.types)
    for field in fields(Snapshot):
        own = getattr(read, field.name)
        if isinstance(own, np.ndarray):
            np.testing.assert_array_equal(own, getattr(whole, field.name), err_msg=field.name)
