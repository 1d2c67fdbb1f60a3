"""Who draws a corpus: one picture after the other, or many at once on several cores, with the same result.

Every picture has random numbers of its own, seeded by what is drawn and its number. So its bytes depend neither on how
many draw nor on how many pictures there are: a longer corpus begins with the shorter one.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TypeVar

from mmat_dagster.processes import end_with_parent

# So many pictures a worker draws before it hands them over.
CHUNK = 50
# So few are drawn before worker processes have started.
FEW = 400
# A worker never waits for the one who writes, and no more than this lies in memory: chunks per worker.
AHEAD = 2

Drawn = TypeVar("Drawn")
Draw = Callable[[Random, int], Drawn]
# Called with the number of pictures that are done.
Report = Callable[[int], None]


def tell_nobody(done: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Draws what it is told, in order; `pool` are the worker processes, if there are any."""

    seed: str
    pool: ProcessPoolExecutor | None = None
    workers: int = 1
    report: Report = tell_nobody

    def draw(self, what: str, draw: Draw[Drawn], pictures: int) -> Iterator[Drawn]:
        """Yield `draw(rng, number)` for the numbers from 0 to `pictures`; a worker process can be sent `draw`."""
        seed = f"{self.seed}/{what}"
        drawn = self._together(draw, seed, pictures) if self.pool else _draw_chunk(draw, seed, range(pictures))
        for picture in drawn:
            yield picture
            self.report(1)

    def _together(self, draw: Draw[Drawn], seed: str, pictures: int) -> Iterator[Drawn]:
        assert self.pool is not None
        chunks = (range(start, min(start + CHUNK, pictures)) for start in count(0, CHUNK))
        under_way: deque[Future[list[Drawn]]] = deque()
        try:
            for chunk in chunks:
                if chunk:
                    under_way.append(self.pool.submit(_draw_list, draw, seed, chunk))
                if not under_way:
                    return
                if len(under_way) >= AHEAD * self.workers or not chunk:
                    yield from under_way.popleft().result()
        finally:
            for chunk_under_way in under_way:
                chunk_under_way.cancel()


@contextmanager
def hire(seed: str, pictures: int, workers: int, report: Report = tell_nobody) -> Iterator[Crew]:
    """Yield a crew of `workers` processes, or of this one alone where that is sooner done; dismiss them at the end.

    Processes are spawned, so the main program must be one that can be imported (`if __name__ == "__main__"`).
    """
    if workers < 2 or pictures < FEW:
        yield Crew(seed=seed, report=report)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_work)
    try:
        yield Crew(seed=seed, pool=pool, workers=workers, report=report)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _draw_chunk(draw: Draw[Drawn], seed: str, numbers: range) -> Iterator[Drawn]:
    return (draw(Random(f"{seed}/{number}"), number) for number in numbers)


def _draw_list(draw: Draw[Drawn], seed: str, numbers: range) -> list[Drawn]:
    return list(_draw_chunk(draw, seed, numbers))


def _begin_work() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the main one, and end when that one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
