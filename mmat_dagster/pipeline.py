"""The data engine as a chain of datasets: which stage makes which, what decides it, and how it is brought up to date.

    source folder -> source_qa -> rationales -> rr_dialogues -> orr_dialogues        (one chain per source)
                                                             -> dialogue_audit

Works like make: `build` first brings up to date what a dataset stands on, and does nothing where nothing changed.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mmat_dagster import parts, prompts
from mmat_dagster.census import census
from mmat_dagster.datasets import CODE, RECORDS, UPSTREAM, label
from mmat_dagster.fanout import map_in_order, run_to_the_end, take
from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.images import StoredPictures
from mmat_dagster.interfaces import Judge, ReplyPending, Store, Teacher
from mmat_dagster.operators.looking import LookFunction, look_anew
from mmat_dagster.parts import Manifest, Part
from mmat_dagster.progress import Pending, Progress, Report, Tally
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.schema import (
    DatasetName,
    Dialogue,
    DialogueAudit,
    OrrDialogue,
    Rationale,
    Rejection,
    Sample,
    SourceName,
)
from mmat_dagster.source_parts import SourceParts, SourceSettings
from mmat_dagster.sources import READERS
from mmat_dagster.spending import BatchState, Spending
from mmat_dagster.stages.audit import CHECKS, audit, last_rank, rank
from mmat_dagster.stages.integration import integrate
from mmat_dagster.stages.rationale import MAX_TURNS, REFLECTION_TURNS, write_rationale
from mmat_dagster.stages.reflection import reflect
from mmat_dagster.tools import Operator, Retriever, SearchEngine

TELL_EVERY_S = 2.0
# So many records go on behind one whose reply stalls; a part of them is in memory anyway.
LEAST_WINDOW = 1000
# The images of so many records are brought to this machine together.
BROUGHT_AT_ONCE = 64


class RepliesPending(Exception):
    """A dataset is not finished: replies that it needs come with a batch. A later run goes on from here."""

    def __init__(self, dataset: DatasetName, source: SourceName, records: int) -> None:
        super().__init__(f"{records:,} records of {dataset} of {source} wait for replies that come with a batch")
        self.label = label(dataset, source)


class UpstreamMissing(Exception):
    """A dataset stands on one that is not there or not up to date, and building it was not asked for."""


@dataclass(frozen=True, kw_only=True)
class Settings(SourceSettings):
    """What decides the datasets besides sources, teacher and tools; the same for all stages of a deployment.

    `audit_sample` dialogues of a source are judged by the judge, the others by the checks alone; None for all.
    """

    max_turns: int = MAX_TURNS
    concurrency: int = 16
    audit_sample: int | None = None


@dataclass(frozen=True, kw_only=True)
class Built:
    """A dataset of one source that is up to date now; `source_state` is that of the source's files, for its samples."""

    manifest: Manifest
    rows_in: int
    upstream: Manifest | None
    reused_parts: int
    source_state: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Stage:
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
    over: "Callable[[Manifest], _Stage] | None" = None

    @property
    def sees(self) -> bool:
        """Whether it looks at the images."""
        return bool(self.tools) or (self.asks is not None and self.asks.model is not None)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Everything that the engine needs to build its datasets."""

    sources: Path
    store: Store
    teacher: Teacher
    operators: Mapping[str, Operator]
    search: SearchEngine
    settings: Settings
    look: LookFunction = look_anew
    judge: Judge | None = None

    def build(
        self, dataset: DatasetName, source: SourceName, report: Report, *, with_upstream: bool = True
    ) -> Iterator[Built]:
        """Bring `dataset` of `source` up to date and yield it, after what it stands on.

        Raises SourceError where the source's folder is not usable, UpstreamMissing where `with_upstream` is False and
        something upstream is not up to date, RepliesPending, StoreError, LedgerError and TeacherUnavailable.
        """
        upstream = UPSTREAM[dataset]
        if upstream is None:
            yield self._build_source_qa(source, report)
            return
        below = None
        for below in self.provide(upstream, source, report, with_upstream=with_upstream):
            yield below
        assert below is not None
        yield self._build_stage(self._stage(dataset, source), source, below.manifest, report)

    def provide(
        self, dataset: DatasetName, source: SourceName, report: Report, *, with_upstream: bool = True
    ) -> Iterator[Built]:
        """Yield `dataset` of `source`, up to date, for what stands on it: built like `build`, or as it is.

        Raises what `build` does, and UpstreamMissing where `with_upstream` is False and `dataset` is not up to date.
        """
        if with_upstream:
            yield from self.build(dataset, source, report)
            return
        built = self.current(dataset, source)
        if built is None:
            raise UpstreamMissing(
                f"{dataset} of {source} is not up to date. Run first: "
                f"dagster asset materialize --select {dataset} --partition {source}"
            )
        yield built

    def current(self, dataset: DatasetName, source: SourceName) -> Built | None:
        """Return `dataset` of `source` if it is up to date."""
        upstream = UPSTREAM[dataset]
        below = self.current(upstream, source) if upstream is not None else None
        if upstream is not None and below is None:
            return None
        manifest = parts.read_manifest(self.store, dataset, source)
        stands_on = below.manifest if below else None
        if manifest is None or manifest.key != self._key(dataset, source, stands_on):
            return None
        return _built(manifest, stands_on, len(manifest.parts))

    def current_datasets(self, source: SourceName) -> Mapping[DatasetName, Manifest]:
        """Return all datasets of `source` that are up to date; its files are looked at once."""
        found: dict[DatasetName, Manifest] = {}
        for dataset, upstream in UPSTREAM.items():
            below = found.get(upstream) if upstream is not None else None
            manifest = parts.read_manifest(self.store, dataset, source)
            is_standing = upstream is None or below is not None
            if manifest is not None and is_standing and manifest.key == self._key(dataset, source, below):
                found[dataset] = manifest
        return found

    @property
    def spendings(self) -> Mapping[str, Spending]:
        """What asking has cost, by who was asked: `teacher`, `judge`, `search`.

        Whoever asks the teacher's model counts as the teacher: operators, and a judge that has none of its own.
        """
        own_judge = self.judge if self.judge is not None and self.judge.model is not self.teacher.model else None
        asked = {
            "teacher": self.teacher.spending,
            "judge": own_judge.spending if own_judge is not None else None,
            "search": self.search.over(None).spending,
        }
        return {name: spending for name, spending in asked.items() if spending is not None}

    async def tend_batches(self) -> tuple[BatchState, ...]:
        """Tend the batches of teacher and judge; return all, the oldest first."""
        tended = [*await self.teacher.tend_batches(), *(await self.judge.tend_batches() if self.judge else ())]
        return tuple(sorted({batch.id: batch for batch in tended}.values(), key=lambda batch: batch.created_at))

    @cached_property
    def pictures(self) -> StoredPictures:
        """Where images are found."""
        return StoredPictures(source_root=self.sources, store=self.store)

    def source_parts(self, source: SourceName) -> SourceParts:
        """Return how the samples of `source` are made."""
        return SourceParts(
            source=source,
            folder=self.sources / source,
            store=self.store,
            settings=self.settings,
        )

    def _build_source_qa(self, source: SourceName, report: Report) -> Built:
        making = self.source_parts(source)
        state = making.state(partial(_tell_files, report, source))
        with self.store.exclusive(parts.folder("source_qa", source)):
            key = making.key(state)
            manifest = parts.read_manifest(self.store, "source_qa", source)
            if manifest is not None and manifest.key == key:
                built = _built(manifest, None, len(manifest.parts))
            else:
                built = self._publish("source_qa", source, key, None, making.make(key, report))
        return replace(built, source_state=state)

    def _build_stage(self, stage: _Stage, source: SourceName, upstream: Manifest, report: Report) -> Built:
        with self.store.exclusive(parts.folder(stage.dataset, source)):
            key = self._key(stage.dataset, source, upstream)
            manifest = parts.read_manifest(self.store, stage.dataset, source)
            if manifest is not None and manifest.key == key:
                return _built(manifest, upstream, len(manifest.parts))
            decided = stage.over(upstream) if stage.over is not None else stage
            done = run_to_the_end(self._stage_parts(decided, source, upstream, report))
            return self._publish(stage.dataset, source, key, upstream, iter(done))

    async def _stage_parts(
        self, stage: _Stage, source: SourceName, upstream: Manifest, report: Report
    ) -> list[tuple[Part, bool]]:
        """Return the dataset's parts, and of each whether an earlier run had made it; raise RepliesPending.

        Records flow through the stage without regard to parts: the next one begins while the last one's slow records
        are still under way.
        """
        prefix = parts.folder(stage.dataset, source)
        asked = stage.asks or self.teacher
        seen = Tally(stage.dataset, source, upstream.rows, report, lambda: asked.spending)
        names = [_part_name(index, stage, below) for index, below in enumerate(upstream.parts)]
        finished = [parts.finished_part(self.store, prefix, name) for name in names]
        for part in filter(None, finished):
            seen.add(part)
        todo = [index for index, part in enumerate(finished) if part is None]
        if todo:
            async with self._session(stage, source), _ticking(seen):
                records = self._records(stage, source, [upstream.parts[index] for index in todo])
                async with aclosing(
                    map_in_order(stage.work, records, self.settings.concurrency, LEAST_WINDOW)
                ) as results:
                    made = {
                        index: await self._stage_part(
                            stage, f"{prefix}/{names[index]}", take(results, upstream.parts[index].rows), seen
                        )
                        for index in todo
                    }
        if seen.pending:
            raise RepliesPending(stage.dataset, source, seen.pending)
        return [(part, True) if part else (_made(made[index]), False) for index, part in enumerate(finished)]

    async def _stage_part(self, stage: _Stage, key: str, results: AsyncGenerator[Any], seen: Tally) -> Part | None:
        """Write a part from its results; None where some of them are pending."""
        before = seen.pending
        kept, lost = await seen.split_async(results)
        if seen.pending > before:
            return None
        return parts.write_part(self.store, key, kept, lost, RECORDS[stage.dataset], census(kept))

    @asynccontextmanager
    async def _session(self, stage: _Stage, source: SourceName) -> AsyncIterator[None]:
        """Open what the stage asks: teacher or judge, and for rationales operators and search."""
        asked = label(stage.dataset, source)
        async with AsyncExitStack() as opened:
            if stage.asks is not None:
                await opened.enter_async_context(stage.asks.session(asked))
            for tool in stage.tools:
                await opened.enter_async_context(tool.session(asked))
            yield

    def _records(self, stage: _Stage, source: SourceName, below: Sequence[Part]) -> Iterator[Any]:
        upstream = UPSTREAM[stage.dataset]
        assert upstream is not None
        for part in below:
            records = parts.read_part(self.store, parts.folder(upstream, source), part.name, stage.reads, part.sha256)
            if not stage.sees:
                yield from records
                continue
            for start in range(0, len(records), BROUGHT_AT_ONCE):
                chunk = records[start : start + BROUGHT_AT_ONCE]
                self.pictures.bring(image for record in chunk for image in _sample(record).images)
                yield from chunk

    def _publish(
        self,
        dataset: DatasetName,
        source: SourceName,
        key: str,
        upstream: Manifest | None,
        done: Iterator[tuple[Part, bool]],
    ) -> Built:
        made = list(done)
        manifest = Manifest(
            dataset=dataset,
            source=source,
            key=key,
            parts=tuple(part for part, _ in made),
            made_from=upstream.fingerprint if upstream is not None else None,
        )
        parts.publish(self.store, manifest)
        return _built(manifest, upstream, sum(is_reused for _, is_reused in made))

    def _key(self, dataset: DatasetName, source: SourceName, upstream: Manifest | None) -> str:
        if upstream is not None:
            return fingerprint([self._stage(dataset, source).key, upstream.fingerprint])
        making = self.source_parts(source)
        return making.key(making.state())

    def _stage(self, dataset: DatasetName, source: SourceName) -> _Stage:
        stages = {
            "rationales": self._rationale,
            "rr_dialogues": self._reflection,
            "orr_dialogues": self._integration,
            "dialogue_audit": self._audit,
        }
        return stages[dataset](source)

    def _rationale(self, source: SourceName) -> _Stage:
        tools = Toolbox(
            operators=self.operators,
            retriever=self.search.over(READERS[source].passages(self.sources / source)),
            look=self.look,
        )
        versions = [_decided_by(name, operator) for name, operator in self.operators.items()]
        limit = self.settings.max_turns - REFLECTION_TURNS
        decided_by = [self.teacher.version("rationales"), *versions, tools.retriever.version, str(limit)]
        return _Stage(
            dataset="rationales",
            key=fingerprint([code_fingerprint(*CODE["rationales"]), *decided_by]),
            reads=Sample,
            work=_unless_pending(
                partial(write_rationale, teacher=self.teacher, tools=tools, pictures=self.pictures, max_turns=limit)
            ),
            asks=self.teacher,
            tools=(*self.operators.values(), tools.retriever),
        )

    def _reflection(self, source: SourceName) -> _Stage:  # noqa: ARG002
        purposes = "\n".join(f"{name}: {operator.purpose}" for name, operator in self.operators.items())
        system = prompts.render("rr_system", operators=purposes)
        limit = self.settings.max_turns
        decided_by = [code_fingerprint(*CODE["rr_dialogues"]), self.teacher.version("rr_dialogues"), system, str(limit)]
        return _Stage(
            dataset="rr_dialogues",
            key=fingerprint(decided_by),
            reads=Rationale,
            work=_unless_pending(partial(reflect, teacher=self.teacher, system=system, max_turns=limit)),
            asks=self.teacher,
        )

    def _integration(self, source: SourceName) -> _Stage:  # noqa: ARG002
        async def work(dialogue: Dialogue) -> OrrDialogue | Rejection:
            return integrate(dialogue, system)

        system = prompts.render("orr_system")
        key = fingerprint([code_fingerprint(*CODE["orr_dialogues"]), system])
        return _Stage(dataset="orr_dialogues", key=key, reads=Dialogue, work=work)

    def _audit(self, source: SourceName) -> _Stage:  # noqa: ARG002
        sample = self.settings.audit_sample if self.judge is not None else None
        judge = self.judge.version if self.judge is not None else CHECKS
        key = fingerprint([code_fingerprint(*CODE["dialogue_audit"]), judge, str(sample)])
        stage = _Stage(
            dataset="dialogue_audit",
            key=key,
            reads=Dialogue,
            work=_unless_pending(partial(audit, judge=self.judge)),
            asks=self.judge,
        )
        return replace(stage, over=partial(self._audit_sample, stage, sample)) if sample is not None else stage

    def _audit_sample(self, stage: _Stage, count: int, upstream: Manifest) -> _Stage:
        """Return the stage that has `count` of the dialogues judged; which ones, all of them decide together."""
        tables = parts.read_tables(self.store, upstream, ["id"])
        last = last_rank((str(each) for table in tables for each in table.column("id").to_pylist()), count)

        async def work(dialogue: Dialogue) -> DialogueAudit:
            return await audit(dialogue, self.judge if rank(dialogue.id) <= last else None)

        return replace(stage, key=fingerprint([stage.key, str(last)]), work=_unless_pending(work))


def _unless_pending(work: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
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


def _tell_files(report: Report, source: SourceName, files: int) -> None:
    """Report that the files of a source are being looked at, before any record is read."""
    report(Progress(dataset="source_qa", source=source, files=files))


def _decided_by(name: str, operator: Operator) -> str:
    return f"{name}: {operator.purpose}; {operator.version} max_chars={operator.max_chars}"


def _part_name(index: int, stage: _Stage, below: Part) -> str:
    return f"part-{index:05d}-{fingerprint([stage.key, below.sha256])}"


def _made(part: Part | None) -> Part:
    assert part is not None  # a missing one is a pending one, and was told before
    return part


def _built(manifest: Manifest, upstream: Manifest | None, reused_parts: int) -> Built:
    rows_in = upstream.rows if upstream is not None else manifest.rows + manifest.rejected.total()
    return Built(manifest=manifest, rows_in=rows_in, upstream=upstream, reused_parts=reused_parts)


def _sample(record: Sample | Rationale | Dialogue) -> Sample:
    return record if isinstance(record, Sample) else record.sample
