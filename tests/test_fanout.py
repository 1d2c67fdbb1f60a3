"""Fan-out keeps the order, holds back, and stops at the first error."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from mmat_dagster.fanout import WINDOW, map_in_order, run_to_the_end, take


async def test_results_come_in_the_order_of_the_items() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep(0.001 * (5 - item % 5))
        return item * 2

    assert [result async for result in map_in_order(work, range(20), 4)] == [item * 2 for item in range(20)]


async def test_no_more_than_the_concurrency_are_at_work() -> None:
    at_work, most = 0, 0

    async def work(item: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return item

    assert len([result async for result in map_in_order(work, range(50), 3)]) == 50
    assert most == 3


async def test_a_long_source_is_not_read_ahead_of_its_results() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    async def work(item: int) -> int:
        return item

    results = map_in_order(work, items(), 2)
    await anext(results)
    assert taken <= 2 * WINDOW + 1
    await results.aclose()


async def test_the_first_error_cancels_the_rest() -> None:
    cancelled = []

    async def work(item: int) -> int:
        if item == 0:
            raise ValueError("broken")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    with pytest.raises(ValueError, match="broken"):
        [result async for result in map_in_order(work, range(3), 3)]
    assert cancelled == [1, 2]


async def test_taking_some_results_leaves_the_others() -> None:
    async def work(item: int) -> int:
        return item

    results = map_in_order(work, range(5), 2)
    assert [result async for result in take(results, 2)] == [0, 1]
    assert [result async for result in take(results, 0)] == []
    assert [result async for result in results] == [2, 3, 4]


class Interrupted(BaseException):
    """What a signal handler raises, as Dagster's does."""


def test_what_is_under_way_is_finished_when_a_signal_interrupts() -> None:
    finished: list[str] = []

    def interrupt(signal_number: int, frame: object) -> None:
        raise Interrupted

    async def request() -> None:
        await asyncio.sleep(0.3)
        finished.append("request")

    async def work() -> None:
        under_way = asyncio.create_task(request())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            await asyncio.sleep(60)
        finally:
            await under_way

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            run_to_the_end(work())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert finished == ["request"]
