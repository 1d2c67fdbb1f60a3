"""All fan-out: many records at once, results in the records' order; `map_in_order` waits, `map_in_threads` works."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

# So many results may wait behind a slow one, as multiples of the concurrency, before new work is held back.
WINDOW = 4


def run_to_the_end(work: Coroutine[Any, Any, Out]) -> Out:
    """Run `work` in an event loop of its own; where a signal interrupts it, let it clean up before that is raised.

    `asyncio.run` would cancel every task at once, those too whose requests are paid and under way.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        main = loop.create_task(work)
        try:
            return loop.run_until_complete(main)
        except BaseException:
            if not main.done():
                main.cancel()
                loop.run_until_complete(asyncio.wait([main]))
            raise


async def take(results: AsyncGenerator[Out], count: int) -> AsyncGenerator[Out]:
    """Yield the next `count` results and leave the others."""
    for _ in range(count):
        yield await anext(results)


async def map_in_order(
    work: Callable[[In], Awaitable[Out]], items: Iterable[In], concurrency: int, least_window: int = 0
) -> AsyncGenerator[Out]:
    """Yield `work(item)` for every item, in order, with at most `concurrency` at work at a time.

    Holds at most `WINDOW * concurrency` items, or `least_window` where that is more: so many may be finished behind a
    slow one. The first error cancels what is under way and is raised.
    """
    window = max(WINDOW * concurrency, least_window)
    gate = asyncio.Semaphore(concurrency)

    async def gated(item: In) -> Out:
        async with gate:
            return await work(item)

    waiting: deque[asyncio.Task[Out]] = deque()
    try:
        for item in items:
            waiting.append(asyncio.create_task(gated(item)))
            if len(waiting) >= window:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def map_in_threads(work: Callable[[In], Out], items: Iterable[In], workers: int) -> Iterator[Out]:
    """Yield `work(item)` for every item, in order, from `workers` threads; one worker is the caller's own thread.

    For work that lets go of the interpreter: files, hashes, decoders. Holds at most `WINDOW * workers` items.
    """
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[Out]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= WINDOW * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
