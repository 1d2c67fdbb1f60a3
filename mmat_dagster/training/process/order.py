"""In which order dialogues are learned from: decided by the seed alone, on any number of processes.

Each epoch's order is a permutation of its own. Parts are shuffled, then rows within windows of parts, so that a process
needs no more than a window in memory; a data set of no more rows than a window is shuffled as a whole.

    place 0, 1, 2, ...  ->  (shard, row)      places run through all epochs; a place says all there is to resume from
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from mmat_dagster.training.process.measuring import Plan
from mmat_dagster.training.spec import BadRun, TrainingRun

WINDOW_ROWS = 40_000

Places = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """The order of a run: `rows[i]` are the usable rows of shard i, learned from `weights[i]` times an epoch."""

    rows: tuple[npt.NDArray[np.int32], ...]
    weights: tuple[float, ...]
    seed: int
    window_rows: int = WINDOW_ROWS

    @property
    def per_epoch(self) -> int:
        """Places of one epoch."""
        return sum(_copies(len(rows), weight) for rows, weight in zip(self.rows, self.weights, strict=True))

    def places(self, epochs: float) -> int:
        """Places of so many epochs, at least one."""
        return max(1, math.ceil(epochs * self.per_epoch))

    def locate(self, place: int) -> tuple[int, int]:
        """Return shard and row of a place."""
        shards, rows = _epoch(self, place // self.per_epoch)
        at = place % self.per_epoch
        return int(shards[at]), int(rows[at])

    def dialogues(self, places: int) -> int:
        """Return how many different dialogues the first `places` hold."""
        seen = np.empty(0, dtype=np.int64)
        for epoch in range(math.ceil(places / self.per_epoch)):
            shards, rows = _epoch(self, epoch)
            taken = slice(0, places - epoch * self.per_epoch)
            seen = np.union1d(seen, (shards[taken].astype(np.int64) << 32) + rows[taken])
            if len(seen) == sum(map(len, self.rows)):
                break
        return len(seen)

    def window_shards(self) -> int:
        """Return how many shards a window holds at most, in whatever order they come."""
        smallest: dict[int, int] = {}
        for number, rows in _parts(self, 0):
            smallest[number] = min(len(rows), smallest.get(number, len(rows)))
        together = list(accumulate(sorted(smallest.values())))
        return max(1, sum(rows <= self.window_rows for rows in together))

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def order_of(run: TrainingRun, plan: Plan) -> Order:
    """Return the order of a run's usable dialogues; raise BadRun where weights leave none of them."""
    weights = tuple(item.weight for item in run.data for _ in item.shards)
    order = Order(rows=plan.rows, weights=weights, seed=run.hyper.seed)
    if order.per_epoch == 0:
        told = ", ".join(f"{item.source} {item.weight:g}" for item in run.data)
        raise BadRun(
            f"the weights ({told}) leave nothing of {plan.dialogues:,} dialogues: each part's share is rounded"
        )
    return order


@lru_cache(maxsize=2)
def _epoch(order: Order, epoch: int) -> Places:
    random = np.random.default_rng([order.seed, epoch, 1])
    parts = _parts(order, epoch)
    shards, rows = [], []
    for window in _windows([parts[at] for at in random.permutation(len(parts))], order.window_rows):
        shard = np.concatenate([np.full(len(chosen), number, dtype=np.int32) for number, chosen in window])
        row = np.concatenate([chosen for _, chosen in window])
        mixed = random.permutation(len(row))
        shards.append(shard[mixed])
        rows.append(row[mixed])
    return np.concatenate(shards), np.concatenate(rows)


def _parts(order: Order, epoch: int) -> list[tuple[int, npt.NDArray[np.int32]]]:
    """Return of each shard the rows of an epoch: whole copies, and a share drawn anew each epoch."""
    parts = []
    for number, (rows, weight) in enumerate(zip(order.rows, order.weights, strict=True)):
        random = np.random.default_rng([order.seed, epoch, 2, number])
        whole = [(number, rows)] * int(weight)
        share = _copies(len(rows), weight) - int(weight) * len(rows)
        parts += [each for each in [*whole, (number, random.permutation(rows)[:share])] if len(each[1])]
    return parts


def _copies(rows: int, weight: float) -> int:
    return round(rows * weight)


def _windows(
    parts: Sequence[tuple[int, npt.NDArray[np.int32]]], window_rows: int
) -> Iterator[list[tuple[int, npt.NDArray[np.int32]]]]:
    window: list[tuple[int, npt.NDArray[np.int32]]] = []
    held = 0
    for part in parts:
        if window and held + len(part[1]) > window_rows:
            yield window
            window, held = [], 0
        window.append(part)
        held += len(part[1])
    if window:
        yield window
