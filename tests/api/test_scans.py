"""Questions that look at all users: the event loop goes on meanwhile, they take turns, and few may wait."""

import asyncio
import threading

import pytest

from app.api.scans import MOST_WAITING, Scans
from app.errors import UnavailableError
from app.serving.neighbours import Steps


def waiting(begun: threading.Event, over: threading.Event) -> Steps[str]:
    def work() -> str:
        begun.set()
        assert over.wait(20)
        return threading.current_thread().name

    first = yield work
    second = yield lambda: first
    return f"{first} {second}"


async def test_the_loop_goes_on_and_others_wait_for_their_turn() -> None:
    scans = Scans()
    begun, over = [threading.Event() for _ in range(2)], threading.Event()
    answers = [asyncio.create_task(scans.answer(waiting(each, over))) for each in begun]
    assert await asyncio.to_thread(begun[0].wait, 20)
    assert not begun[1].is_set()
    over.set()
    assert await asyncio.gather(*answers) == ["scans_0 scans_0"] * 2


async def test_too_many_that_wait_are_refused_and_others_answered() -> None:
    scans = Scans()
    begun, over = threading.Event(), threading.Event()
    answers = [asyncio.create_task(scans.answer(waiting(begun, over))) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too many questions about all users"):
        await scans.answer(waiting(begun, over))
    answers.pop().cancel()
    over.set()
    await asyncio.wait(answers)
    assert await scans.answer(waiting(begun, over)) == "scans_0 scans_0"


async def test_what_goes_wrong_is_raised_and_the_turn_is_given_on() -> None:
    scans = Scans()

    def wrong() -> Steps[None]:
        yield lambda: int("nothing")

    with pytest.raises(ValueError, match="nothing"):
        await scans.answer(wrong())
    over = threading.Event()
    over.set()
    assert await scans.answer(waiting(threading.Event(), over)) == "scans_0 scans_0"
