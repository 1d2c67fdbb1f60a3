"""The data engine as a chain of datasets: which stage makes which, what decides it, and how it is brought up to date.

    source folder -> source_qa -> rationales -> rr_dialogues -> orr_dialogues        (one chain per source)
                                                             -> dialogue_audit

Works like make: `build` first brings up to date what a dataset stands on, and does nothing where nothing changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from mmat_dagster import parts, prompts
from mmat_dagster.datasets import CODE, UPSTREAM, label
from mmat_dagster.engine import Engine, EngineError, PartOrder
from mmat_dagster.fanout import run_to_the_end
from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.images import StoredPictures
from mmat_dagster.interfaces import Judge, Store, Teacher
from mmat_dagster.operators.looking import LookFunction, look_anew
from mmat_dagster.parts import Manifest, Part
from mmat_dagster.progress import Progress, Report, Tally
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
from mmat_dagster.spending import BatchState, Spending, total
from mmat_dagster.stage_parts import Stage, StageParts
from mmat_dagster.stages.audit import CHECKS, audit, last_rank, rank
from mmat_dagster.stages.integration import integrate
from mmat_dagster.stages.rationale import MAX_TURNS, REFLECTION_TURNS, write_rationale
from mmat_dagster.stages.reflection import reflect
from mmat_dagster.tools import Operator, SearchEngine

# Who is asked, as spending is told.
TEACHER, JUDGE, SEARCH = "teacher", "judge", "search"


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
class Pipeline:
    """Everything that the engine needs to build its datasets; `engine` makes their parts, None for this process."""

    sources: Path
    store: Store
    teacher: Teacher
    operators: Mapping[str, Operator]
    search: SearchEngine
    settings: Settings
    look: LookFunction = look_anew
    judge: Judge | None = None
    engine: Engine | None = None

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
        """What asking has cost, by who was asked: `teacher`, `judge`, `search`; other processes' asking too.

        Whoever asks the teacher's model counts as the teacher: operators, and a judge that has none of its own.
        """
        asked = {
            TEACHER: self.teacher.spending,
            JUDGE: self.judge.spending if self.judge is not None and self._has_own_judge else None,
            SEARCH: self.search.over(None).spending,
        }
        spent = {name: self._with_elsewhere(name, here) for name, here in asked.items()}
        return {name: spending for name, spending in spent.items() if spending is not None}

    def _with_elsewhere(self, name: str, here: Spending | None) -> Spending | None:
        """Add what other processes have spent on the same."""
        elsewhere = self.engine.spendings.get(name) if self.engine is not None else None
        return total(filter(None, (here, elsewhere))) if elsewhere is not None else here

    @property
    def _has_own_judge(self) -> bool:
        return self.judge is not None and self.judge.model is not self.teacher.model

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

    def _build_stage(self, stage: Stage, source: SourceName, upstream: Manifest, report: Report) -> Built:
        with self.store.exclusive(parts.folder(stage.dataset, source)):
            key = self._key(stage.dataset, source, upstream)
            manifest = parts.read_manifest(self.store, stage.dataset, source)
            if manifest is not None and manifest.key == key:
                return _built(manifest, upstream, len(manifest.parts))
            making = self._stage_parts(stage, source, upstream)
            return self._publish(stage.dataset, source, key, upstream, iter(self._make(making, report)))

    def _stage_parts(self, stage: Stage, source: SourceName, upstream: Manifest) -> StageParts:
        return StageParts(
            stage=stage.over(upstream) if stage.over is not None else stage,
            source=source,
            upstream=upstream,
            store=self.store,
            pictures=self.pictures,
            concurrency=self.settings.concurrency,
        )

    def _make(self, making: StageParts, report: Report) -> list[tuple[Part, bool]]:
        """Return the dataset's parts, and of each whether an earlier run had made it; raise RepliesPending."""
        dataset, source, upstream = making.stage.dataset, making.source, making.upstream
        seen = self._tally(making, upstream.rows, report)
        finished = [making.finished(index) for index in range(len(upstream.parts))]
        for part in filter(None, finished):
            seen.add(part)
        todo = [index for index, part in enumerate(finished) if part is None]
        made = self._make_missing(making, todo, seen) if todo else {}
        if seen.pending:
            raise RepliesPending(dataset, source, seen.pending)
        return [(part, True) if part else (_made(made[index]), False) for index, part in enumerate(finished)]

    def _make_missing(self, making: StageParts, todo: Sequence[int], seen: Tally) -> Mapping[int, Part | None]:
        if self.engine is not None:
            return self.engine.make([making.order(index) for index in todo], seen.watch)
        return run_to_the_end(making.make(todo, seen))

    def make_part(self, order: PartOrder, report: Report) -> Part | None:
        """Make one part for another process; None where some of its replies are pending.

        Raises EngineError where this pipeline would make something else, and what `build` does.
        """
        upstream = UPSTREAM[order.dataset]
        assert upstream is not None
        below = parts.read_manifest(self.store, upstream, order.source)
        if below is None or below.fingerprint != order.made_from:
            raise EngineError(
                f"{upstream} of {order.source} is another one in {self.store.locate('')} on this machine: the machines "
                "must share the store"
            )
        making = self._stage_parts_once(order.dataset, order.source, below)
        if making.name(order.index) != order.name:
            raise EngineError(
                f"{order.dataset} of {order.source} would be made otherwise on this machine: code, prompts, packages, "
                "settings and sources must be the same on all"
            )
        seen = self._tally(making, below.parts[order.index].rows, report)
        return run_to_the_end(making.make([order.index], seen))[order.index]

    def _stage_parts_once(self, dataset: DatasetName, source: SourceName, upstream: Manifest) -> StageParts:
        """Return how parts are made; what all records together decide is found out once."""
        key = f"{dataset} {source} {upstream.fingerprint}"
        if key not in self._ordered:
            self._ordered[key] = self._stage_parts(self._stage(dataset, source), source, upstream)
        return self._ordered[key]

    @cached_property
    def _ordered(self) -> dict[str, StageParts]:
        return {}

    def _tally(self, making: StageParts, rows: int, report: Report) -> Tally:
        asked = making.stage.asks or self.teacher
        name = JUDGE if asked is self.judge and self._has_own_judge else TEACHER
        return Tally(
            making.stage.dataset,
            making.source,
            rows,
            report,
            lambda: self._with_elsewhere(name, asked.spending),
        )

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

    def _stage(self, dataset: DatasetName, source: SourceName) -> Stage:
        stages = {
            "rationales": self._rationale,
            "rr_dialogues": self._reflection,
            "orr_dialogues": self._integration,
            "dialogue_audit": self._audit,
        }
        return stages[dataset](source)

    def _rationale(self, source: SourceName) -> Stage:
        tools = Toolbox(
            operators=self.operators,
            retriever=self.search.over(READERS[source].passages(self.sources / source)),
            look=self.look,
        )
        versions = [_decided_by(name, operator) for name, operator in self.operators.items()]
        limit = self.settings.max_turns - REFLECTION_TURNS
        decided_by = [self.teacher.version("rationales"), *versions, tools.retriever.version, str(limit)]
        return Stage(
            dataset="rationales",
            key=fingerprint([code_fingerprint(*CODE["rationales"]), *decided_by]),
            reads=Sample,
            work=partial(write_rationale, teacher=self.teacher, tools=tools, pictures=self.pictures, max_turns=limit),
            asks=self.teacher,
            tools=(*self.operators.values(), tools.retriever),
        )

    def _reflection(self, source: SourceName) -> Stage:  # noqa: ARG002
        purposes = "\n".join(f"{name}: {operator.purpose}" for name, operator in self.operators.items())
        system = prompts.render("rr_system", operators=purposes)
        limit = self.settings.max_turns
        decided_by = [code_fingerprint(*CODE["rr_dialogues"]), self.teacher.version("rr_dialogues"), system, str(limit)]
        return Stage(
            dataset="rr_dialogues",
            key=fingerprint(decided_by),
            reads=Rationale,
            work=partial(reflect, teacher=self.teacher, system=system, max_turns=limit),
            asks=self.teacher,
        )

    def _integration(self, source: SourceName) -> Stage:  # noqa: ARG002
        async def work(dialogue: Dialogue) -> OrrDialogue | Rejection:
            return integrate(dialogue, system)

        system = prompts.render("orr_system")
        key = fingerprint([code_fingerprint(*CODE["orr_dialogues"]), system])
        return Stage(dataset="orr_dialogues", key=key, reads=Dialogue, work=work)

    def _audit(self, source: SourceName) -> Stage:  # noqa: ARG002
        sample = self.settings.audit_sample if self.judge is not None else None
        judge = self.judge.version if self.judge is not None else CHECKS
        key = fingerprint([code_fingerprint(*CODE["dialogue_audit"]), judge, str(sample)])
        stage = Stage(
            dataset="dialogue_audit",
            key=key,
            reads=Dialogue,
            work=partial(audit, judge=self.judge),
            asks=self.judge,
        )
        return replace(stage, over=partial(self._audit_sample, stage, sample)) if sample is not None else stage

    def _audit_sample(self, stage: Stage, count: int, upstream: Manifest) -> Stage:
        """Return the stage that has `count` of the dialogues judged; which ones, all of them decide together."""
        tables = parts.read_tables(self.store, upstream, ["id"])
        last = last_rank((str(each) for table in tables for each in table.column("id").to_pylist()), count)

        async def work(dialogue: Dialogue) -> DialogueAudit:
            return await audit(dialogue, self.judge if rank(dialogue.id) <= last else None)

        return replace(stage, key=fingerprint([stage.key, str(last)]), work=work)


def _tell_files(report: Report, source: SourceName, files: int) -> None:
    """Report that the files of a source are being looked at, before any record is read."""
    report(Progress(dataset="source_qa", source=source, files=files))


def _decided_by(name: str, operator: Operator) -> str:
    return f"{name}: {operator.purpose}; {operator.version} max_chars={operator.max_chars}"


def _made(part: Part | None) -> Part:
    assert part is not None  # a missing one is a pending one, and was told before
    return part


def _built(manifest: Manifest, upstream: Manifest | None, reused_parts: int) -> Built:
    rows_in = upstream.rows if upstream is not None else manifest.rows + manifest.rejected.total()
    return Built(manifest=manifest, rows_in=rows_in, upstream=upstream, reused_parts=reused_parts)
