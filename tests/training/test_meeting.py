from concurrent.futures import ThreadPoolExecutor

import pytest
from torch._C._distributed_c10d import TCPStore

from app.training.distributed.meeting import met

SIZE = 3


@pytest.fixture
def stores() -> list[TCPStore]:
    """The same one, a client for each rank."""
    first = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return [first, *(TCPStore("127.0.0.1", first.port, is_master=False) for _ in range(SIZE - 1))]


def test_ranks_started_anew_find_nothing_of_those_before(stores: list[TCPStore]) -> None:
    with ThreadPoolExecutor(SIZE) as threads:
        for attempt in range(3):
            parts = [*threads.map(met, stores, range(SIZE), [SIZE] * SIZE, [30.0] * SIZE)]
            assert not any(part.check(["address"]) for part in parts)
            parts[attempt].set("address", str(attempt))
            assert [part.get("address") for part in parts] == [str(attempt).encode()] * SIZE


def test_a_rank_that_went_again_is_not_taken_for_the_one_that_comes(stores: list[TCPStore]) -> None:
    with ThreadPoolExecutor(SIZE) as threads:
        stores[2].set("coursegraph/word/2", "gone")
        early = [threads.submit(met, stores[rank], rank, SIZE, 30.0) for rank in (0, 1)]
        stores[1].wait(["coursegraph/offered"])
        late = met(stores[2], 2, SIZE, 30.0)
        late.set("address", "here")
        assert [part.result().get("address") for part in early] == [b"here", b"here"]


def test_nobody_is_waited_for_without_end(stores: list[TCPStore]) -> None:
    for rank in (0, 1):
        with pytest.raises(RuntimeError, match="not all 3 ranks came within"):
            met(stores[rank], rank, SIZE, 0.1)
