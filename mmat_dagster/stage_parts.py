"""The parts of a stage's dataset: what each is called, which are finished, and how the others are made in this process.

Records flow through a stage without regard to parts: the next one begins while the last one's slow records are still
under way.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mmat_dagster import parts
from mmat_dagster.census import facets
from mmat_dagster.datasets import RECORDS, UPSTREAM, label
from mmat_dagster.engine import PartOrder
from mmat_dagster.fanout import map_in_order, take
from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Judge, Pictures, ReplyPending, Store, Teacher
from mmat_dagster.parts import Manifest, Part, PartDraft
from mmat_dagster.progress import Pending, Tally
from mmat_dagster.schema import DatasetName, Dialogue, Rationale, Sample, SourceName
from mmat_dagster.tools import Operator, Retriever

TELL_EVERY_S = 2.0
# So many records go on behind one whose reply stalls.
LEAST_WINDOW = 1000
# The images of so many records are brought to this machine together.
BROUGHT_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage for one source, ready to work: `key` decides its results besides the records it reads.

    `asks` is the model's wrapper that it asks, if any. `over` is set where all records together decide how each of them
    is worked on: it returns the stage for these.
    """

    dataset: DatasetName
    key: str
    reads: type[Any]
    work: Callable[[Any], Awaitable[Any]]
    asks: Teacher | Judge | None = None
    tools: Sequence[Operator | Retriever] = ()
    over: "Callable[[Manifest], Stage] | None" = None

    @property
    def sees(self) -> bool:
        """Whether it looks at the images."""
        return bool(self.tools) or (self.asks is not None and self.asks.model is not None)


@dataclass(frozen=True, kw_only=True)
class StageParts:
    """What a stage makes of `upstream`, part by part."""

    stage: Stage
    source: SourceName
    upstream: Manifest
    store: Store
    pictures: Pictures
    concurrency: int

    def name(self, index: int) -> str:
        """Return the name of a part, which says what decides its content."""
        return f"part-{index:05d}-{fingerprint([self.stage.key, self.upstream.parts[index].sha256])}"

    def finished(self, index: int) -> Part | None:
        """Return a part if an earlier run finished it."""
        return parts.finished_part(self.store, self._prefix, self.name(index))

    def order(self, index: int) -> PartOrder:
        """Return a part as an order to somebody else."""
        return PartOrder(
            dataset=self.stage.dataset,
            source=self.source,
            index=index,
            name=self.name(index),
            made_from=self.upstream.fingerprint,
        )

    async def make(self, todo: Sequence[int], seen: Tally) -> Mapping[int, Part | None]:
        """Make the parts `todo`; one of which some replies are pending is None, and `seen` counts those."""
        async with self._session(), _ticking(seen):
            records = self._records([self.upstream.parts[index] for index in todo])
            async with aclosing(
                map_in_order(_unless_pending(self.stage.work), records, self.concurrency, LEAST_WINDOW)
            ) as results:
                return {
                    index: await self._part(index, take(results, self.upstream.parts[index].rows), seen)
                    for index in todo
                }

    @property
    def _prefix(self) -> str:
        return parts.folder(self.stage.dataset, self.source)

    async def _part(self, index: int, results: AsyncGenerator[Any], seen: Tally) -> Part | None:
        before = seen.pending
        draft: PartDraft[Any] = PartDraft(RECORDS[self.stage.dataset], facets)
        async for result in results:
            seen.count(result)
            if not isinstance(result, Pending):
                draft.add(result)
        if seen.pending > before:
            return None
        return draft.write(self.store, f"{self._prefix}/{self.name(index)}")

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        """Open what the stage asks: teacher or judge, and for rationales operators and search."""
        asked = label(self.stage.dataset, self.source)
        async with AsyncExitStack() as opened:
            if self.stage.asks is not None:
                await opened.enter_async_context(self.stage.asks.session(asked))
            for tool in self.stage.tools:
                await opened.enter_async_context(tool.session(asked))
            yield

    def _records(self, below: Sequence[Part]) -> Iterator[Any]:
        upstream = UPSTREAM[self.stage.dataset]
        assert upstream is not None
        for part in below:
            folder = parts.folder(upstream, self.source)
            records = parts.read_part(self.store, folder, part.name, self.stage.reads, part.sha256)
            if not self.stage.sees:
                yield from records
                continue
            while chunk := [*islice(records, BROUGHT_AT_ONCE)]:
                self.pictures.bring(image for record in chunk for image in _sample(record).images)
                yield from chunk


def _unless_pending(work: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """Return `work` that says Pending.REPLY of a record whose reply comes with a batch."""

    async def guarded(record: Any) -> Any:
        try:
            return await work(record)
        except ReplyPending:
            return Pending.REPLY

    return guarded


@asynccontextmanager
async def _ticking(seen: Tally) -> AsyncIterator[None]:
    """Report every few seconds, also where no record is finished for long."""

    async def tick() -> None:
        while True:
            seen.tell()
            await asyncio.sleep(TELL_EVERY_S)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


def _sample(record: Sample | Rationale | Dialogue) -> Sample:
    return record if isinstance(record, Sample) else record.sample
