"""One student on one benchmark: every item asked, judged and kept, then scored."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

from mmat_dagster.evaluation.answering import Manner, Said, answer
from mmat_dagster.evaluation.extraction import extract_answer
from mmat_dagster.evaluation.questions import Question, fingerprint_of
from mmat_dagster.evaluation.results import SCORES, Answer, Figure, Result, write_result
from mmat_dagster.fanout import map_in_order, run_to_the_end
from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.interfaces import ChatModel, Store
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.scoring.benchmark import Benchmark, Judged, Verdict
from mmat_dagster.scoring.statistics import bootstrap_metrics

# What decides how a question is asked, and an answer read and judged: rules share code.
CODE = (
    "wire.py",
    "questions.py",
    "reasoning.py",
    "evaluation/answering.py",
    "evaluation/extraction.py",
    "evaluation/questions.py",
    "evaluation/examining.py",
    "scoring/*.py",
    "prompts/rr_system.txt",
    "prompts/orr_system.txt",
    "prompts/extract_answer.txt",
    "prompts/student_reminder.txt",
)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All that decides a result: who is asked what, in which manner, with which tools, judged by which rule.

    `student` names the weights and what runs them, `checkpoint` the fingerprint of the checkpoint's files. With an
    `extractor` that model takes the answers out of what the student says, else the rule does.
    """

    mixture: str
    variant: str
    student: str
    checkpoint: str | None
    benchmark: Benchmark
    rule: str
    manner: Manner
    tools: Toolbox
    questions: Sequence[Question]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    extractor: ChatModel | None = None
    concurrency: int = 16

    @cached_property
    def key(self) -> str:
        """What decides the result; where, when and in which order it is examined does not."""
        operators = [
            f"{name}: {operator.purpose}; {operator.version} max_chars={operator.max_chars}"
            for name, operator in self.tools.operators.items()
        ]
        return fingerprint(
            [
                code_fingerprint(*CODE),
                self.student,
                self.checkpoint or "",
                self.benchmark.name,
                self.rule,
                repr(self.manner),
                *operators,
                self.tools.retriever.version,
                f"extracted by {self.extractor.version}" if self.extractor else "",
                fingerprint_of(iter(self.questions)),
            ]
        )

    @property
    def folder(self) -> str:
        """Where the result lies in the store."""
        named = f"{self.variant}-{self.benchmark.name}".replace(" ", "_")
        return f"{SCORES}/{self.mixture}/{named}-{self.key}"


# Is told how many questions are answered so far, and how much these score in all.
Progress = Callable[[int, float], None]


def examine(examination: Examination, student: ChatModel, store: Store, progress: Progress) -> Result:
    """Ask every question and keep the result; raises what the model, operators and search raise, and StoreError.

    What is asked through the reply ledger is kept as it comes: an examination that was killed goes on.
    """
    begun = time.monotonic()
    answers = run_to_the_end(_answers(examination, student, progress))
    result = _result(examination, answers, time.monotonic() - begun)
    write_result(store, result, answers)
    return result


async def _answers(examination: Examination, student: ChatModel, progress: Progress) -> list[Answer]:
    found: list[Answer] = []
    score = 0.0
    async with _session(examination, student):
        work = partial(_answer, examination, student)
        async with aclosing(map_in_order(work, examination.questions, examination.concurrency)) as results:
            async for each in results:
                found.append(each)
                score += each.score
                progress(len(found), score)
    return found


@asynccontextmanager
async def _session(examination: Examination, student: ChatModel) -> AsyncIterator[None]:
    label = f"{examination.benchmark.name} by {examination.variant} of {examination.mixture}"
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(student.session(label))
        for operator in examination.tools.operators.values():
            await opened.enter_async_context(operator.session(label))
        await opened.enter_async_context(examination.tools.retriever.session(label))
        if examination.extractor is not None:
            await opened.enter_async_context(examination.extractor.session(f"answers of {label}"))
        yield


async def _answer(examination: Examination, student: ChatModel, question: Question) -> Answer:
    said = await answer(question, student, examination.tools, examination.manner)
    stated = said.response
    if examination.extractor is not None:
        stated = await extract_answer(question, said.response, examination.extractor) or said.response
    verdict = examination.benchmark.judge(question.item, stated, rule=examination.rule)
    return _record(question, said, verdict)


def _record(question: Question, said: Said, verdict: Verdict) -> Answer:
    item = question.item
    return Answer(
        item=item.id,
        question=question.text,
        gold=item.gold,
        categories=tuple(name for names in item.groups.values() for name in names),
        images=tuple(image.reference for image in question.images),
        messages=said.messages,
        response=said.response,
        parsed=verdict.parsed,
        score=verdict.score,
        failure=said.failure,
        detail=said.detail,
        turns=said.turns,
        calls=said.calls,
        reminders=said.reminders,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=said.completion_tokens,
    )


def _result(examination: Examination, answers: Sequence[Answer], seconds: float) -> Result:
    benchmark = examination.benchmark
    items = [question.item for question in examination.questions]
    judged = [
        Judged(item=item, verdict=Verdict(parsed=each.parsed, score=each.score))
        for item, each in zip(items, answers, strict=True)
    ]
    scores = benchmark.combine(judged)
    intervals = bootstrap_metrics(benchmark, judged)
    return Result(
        variant=examination.variant,
        benchmark=benchmark.name,
        title=benchmark.title,
        rule=examination.rule,
        student=examination.student,
        checkpoint=examination.checkpoint,
        key=examination.key,
        folder=examination.folder,
        n=scores.n,
        metric=benchmark.metric,
        full_marks=benchmark.full_marks,
        figures={name: Figure(value=value, interval=intervals[name]) for name, value in scores.metrics.items()},
        by_category=scores.by_category,
        failures=dict(Counter(each.failure for each in answers if each.failure)),
        calls=dict(Counter(call for each in answers for call in each.calls)),
        reminders=sum(each.reminders for each in answers),
        unreadable=examination.unreadable,
        prompt_tokens=sum(each.prompt_tokens for each in answers),
        completion_tokens=sum(each.completion_tokens for each in answers),
        seconds=seconds,
    )
