"""A mixture's scoreboard: which students are asked which benchmarks, examined one after the other.

    checkpoints of a mixture + the student they start from --StudentHost--> ChatModel --examine--> Result ...

A result that is in the store already costs nothing, not even a server.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mmat_dagster.evaluation.answering import Form, Manner
from mmat_dagster.evaluation.examining import Examination, examine
from mmat_dagster.evaluation.hosts import ServedStudent, StudentHost
from mmat_dagster.evaluation.questions import Question, prepare
from mmat_dagster.evaluation.results import Result, Scoreboard, read_result, read_scoreboard, write_scoreboard
from mmat_dagster.evaluation.variants import VARIANTS, Variant
from mmat_dagster.images import ImageShelf
from mmat_dagster.interfaces import ChatModel, Store
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.scoring import BENCHMARKS
from mmat_dagster.scoring.benchmark import Benchmark, ScoringError, Unreadable
from mmat_dagster.training.checkpoints import Checkpoint, bring_checkpoint, read_current
from mmat_dagster.training.mixtures import CheckpointName
from mmat_dagster.training.spec import RUN, BadRun, Student, TrainingFormat, read_run

STUDENTS = "students"
FORMS: Mapping[TrainingFormat, Form] = {"rr": "rr", "orr": "orr", "answer": "direct"}


class NothingToExamine(Exception):
    """No benchmark's files, or no student, is there; the text says what was looked for and what to do."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be examined.

    `folder` holds one sub-folder per benchmark, or VLMEvalKit's TSV files. No `benchmarks` means all that are there.
    `others` are further checkpoints by name, each a folder as a training leaves it. `shown` are the operators whose
    results stand in the prompts of `direct` and `orr`; for `direct` only where the student cannot see by itself.
    An `extractor` takes the answers out of what students say.
    """

    mixture: str
    student: Student
    folder: Path
    variants: Sequence[str]
    benchmarks: Sequence[str] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Path] = field(default_factory=dict)
    limit: int | None = None
    shown: Sequence[str] | None = None
    max_turns: int = 6
    extractor: ChatModel | None = None
    concurrency: int = 16


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A student to be examined in one manner, with the checkpoint in the store or the folder that it lies in.

    `fingerprint` is that of its files.
    """

    variant: Variant
    student: Student
    name: str
    checkpoint: Checkpoint | Path | None
    fingerprint: str | None


# Is told which examination, how many questions of how many are answered, and how much these score in all.
Progress = Callable[[Examination, int, float], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A benchmark whose questions are ready; `unreadable` says of the others why they are not."""

    benchmark: Benchmark
    questions: Sequence[Question]
    unreadable: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A result that is current now; `is_reused` says that an earlier run had examined it."""

    result: Result
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that examining needs."""

    store: Store
    host: StudentHost
    tools: Toolbox

    def ask(self, plan: Plan) -> tuple[list[Asked], dict[str, str]]:
        """Return the benchmarks to ask, and why others that are there cannot be.

        Raises ScoringError where one that is asked for by name is not there, NothingToExamine where none is.
        """
        asked: list[Asked] = []
        passed_over: dict[str, str] = {}
        for name in _present(plan):
            try:
                asked.append(self._ask(plan, name))
            except ScoringError as error:
                if plan.benchmarks:
                    raise
                passed_over[name] = str(error)
        if not asked:
            raise NothingToExamine("\n".join(passed_over.values()))
        return asked, passed_over

    def examine(
        self, plan: Plan, candidates: Sequence[Candidate], asked: Sequence[Asked], progress: Progress
    ) -> Iterator[Scored]:
        """Yield the result of every candidate on every benchmark, and make them the mixture's current ones.

        Raises HostingFailed, and what `examine` raises.
        """
        for group in _by_weights(candidates):
            with ExitStack() as opened:
                model: ChatModel | None = None
                for candidate in group:
                    for each in asked:
                        examination = self._examination(plan, candidate, each)
                        found = read_result(self.store, examination.folder)
                        if found is None:
                            model = model or opened.enter_context(self.host.serve(self._served(candidate)))
                            found_now = examine(examination, model, self.store, _about(examination, progress))
                            scored = Scored(result=found_now, is_reused=False)
                        else:
                            scored = Scored(result=found, is_reused=True)
                        self._keep(plan.mixture, scored.result)
                        yield scored

    def _ask(self, plan: Plan, name: str) -> Asked:
        benchmark = BENCHMARKS[name]
        shelf = ImageShelf(self.store)
        place = _place(plan.folder, benchmark)
        if place is None:
            raise ScoringError(f"{plan.folder} holds nothing of {benchmark.title}. {benchmark.source}")
        items = islice(benchmark.items(place), plan.limit)
        prepared = [prepare(item, shelf) for item in items]
        self.store.settle()
        questions = [each for each in prepared if isinstance(each, Question)]
        unreadable = {each.where: each.problem for each in prepared if isinstance(each, Unreadable)}
        if not questions:
            first = next((f": {where}: {problem}" for where, problem in unreadable.items()), "")
            raise ScoringError(f"{benchmark.title} holds no question that can be asked{first}. {benchmark.source}")
        return Asked(benchmark=benchmark, questions=questions, unreadable=unreadable)

    def _examination(self, plan: Plan, candidate: Candidate, asked: Asked) -> Examination:
        variant, benchmark = candidate.variant, asked.benchmark
        return Examination(
            mixture=plan.mixture,
            variant=variant.name,
            student=f"{candidate.name} {self.host.version}",
            checkpoint=candidate.fingerprint,
            benchmark=benchmark,
            rule=plan.rules.get(benchmark.name, benchmark.rules[0]),
            manner=Manner(
                form=variant.form,
                shown=self._shown(plan, candidate),
                allowed=variant.allowed,
                max_turns=plan.max_turns,
            ),
            tools=self.tools,
            questions=asked.questions,
            unreadable=asked.unreadable,
            extractor=plan.extractor,
            concurrency=plan.concurrency,
        )

    def _shown(self, plan: Plan, candidate: Candidate) -> tuple[str, ...]:
        """Return the operators whose results stand in the prompt."""
        if candidate.variant.form == "rr":
            return ()
        if candidate.variant.form == "direct" and candidate.student.modality == "vision":
            return ()
        return tuple(self.tools.operators) if plan.shown is None else tuple(plan.shown)

    def _served(self, candidate: Candidate) -> ServedStudent:
        checkpoint = candidate.checkpoint
        return ServedStudent(
            name=candidate.name,
            student=candidate.student,
            checkpoint=bring_checkpoint(self.store, checkpoint) if isinstance(checkpoint, Checkpoint) else checkpoint,
            cache=self.store.mirror / STUDENTS,
        )

    def _keep(self, mixture: str, result: Result) -> None:
        """Put `result` on the scoreboard, in the place of an earlier one of the same variant and benchmark."""
        with self.store.exclusive(f"benchmark_scores/{mixture}"):
            board = read_scoreboard(self.store, mixture)
            place = (result.variant, result.benchmark)
            others = tuple(each for each in board.results if (each.variant, each.benchmark) != place)
            write_scoreboard(self.store, Scoreboard(mixture=mixture, results=(*others, result)))

    def candidates(self, plan: Plan) -> tuple[list[Candidate], dict[str, str]]:
        """Return who can be examined, and of the variants that cannot be, why; raise BadRun for an unknown one."""
        found: list[Candidate] = []
        missing: dict[str, str] = {}
        current = self._current(plan)
        base = next((each.student for each in current.values()), plan.student)
        for name in plan.variants:
            variant = _variant(name)
            if variant.checkpoint is None:
                found.append(_untuned(variant, base))
            elif variant.checkpoint in current:
                found.append(self._tuned(variant, current[variant.checkpoint]))
            else:
                missing[name] = (
                    f"there is no {variant.checkpoint} of {plan.mixture}. Train it first: dagster asset materialize "
                    f"--select {variant.checkpoint} --partition {plan.mixture}"
                )
        return [*found, *(_other(name, folder) for name, folder in plan.others.items())], missing

    def _current(self, plan: Plan) -> dict[CheckpointName, Checkpoint]:
        wanted = dict.fromkeys(_variant(name).checkpoint for name in plan.variants)
        found = {name: read_current(self.store, name, plan.mixture) for name in wanted if name is not None}
        current = {name: checkpoint for name, checkpoint in found.items() if checkpoint is not None}
        if len({checkpoint.student for checkpoint in current.values()}) > 1:
            told = ", ".join(f"{name}: {checkpoint.student.name}" for name, checkpoint in current.items())
            raise BadRun(f"the checkpoints of {plan.mixture} are of different students ({told}): train both anew")
        return current

    def _tuned(self, variant: Variant, checkpoint: Checkpoint) -> Candidate:
        return Candidate(
            variant=variant,
            student=checkpoint.student,
            name=f"{checkpoint.student.name}-{checkpoint.key}",
            checkpoint=checkpoint,
            fingerprint=checkpoint.fingerprint,
        )


def _variant(name: str) -> Variant:
    if name not in VARIANTS:
        raise BadRun(f"{name!r} is no variant: it may be {', '.join(VARIANTS)}")
    return VARIANTS[name]


def _untuned(variant: Variant, student: Student) -> Candidate:
    named = f"{student.model}@{student.revision}" if student.model else student.name
    return Candidate(variant=variant, student=student, name=f"{named}-base", checkpoint=None, fingerprint=None)


def _other(name: str, folder: Path) -> Candidate:
    """Return a checkpoint that lies in a folder of its own, as a training leaves it; raise BadRun where none does."""
    run = read_run(folder / RUN if (folder / RUN).is_file() else folder.parent / RUN)
    variant = Variant(name=name, form=FORMS[run.format])
    return Candidate(
        variant=variant,
        student=run.student,
        name=f"{run.student.name}-{run.key}",
        checkpoint=folder,
        fingerprint=run.key,
    )


def _by_weights(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the candidates in groups that one server serves."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.name, []).append(candidate)
    return list(groups.values())


def _present(plan: Plan) -> list[str]:
    """Return the benchmarks to ask: those that are wanted, else all whose files are there."""
    unknown = [name for name in plan.benchmarks if name not in BENCHMARKS]
    if unknown:
        raise NothingToExamine(f"{', '.join(unknown)} is no benchmark: it may be {', '.join(BENCHMARKS)}")
    present = [name for name, benchmark in BENCHMARKS.items() if _is_in(plan.folder, benchmark)]
    wanted = list(plan.benchmarks) or present
    if not wanted:
        known = "\n".join(f"{benchmark.name}: {benchmark.source}" for benchmark in BENCHMARKS.values())
        raise NothingToExamine(f"{plan.folder} holds no benchmark. MMAT_BENCHMARKS names the folder of:\n{known}")
    return wanted


def _is_in(folder: Path, benchmark: Benchmark) -> bool:
    place = _place(folder, benchmark)
    return place is not None and benchmark.is_in(place)


def _place(folder: Path, benchmark: Benchmark) -> Path | None:
    """Return the benchmark's own folder, or VLMEvalKit's table of it in the folder of all; None where neither is."""
    own = folder / benchmark.name
    if own.is_dir():
        return own
    tables = (path for path in sorted(folder.glob("*.tsv")) if benchmark.has_table(path.name))
    return next(tables, None)


def _about(examination: Examination, progress: Progress) -> Callable[[int, float], None]:
    return lambda answered, score: progress(examination, answered, score)
