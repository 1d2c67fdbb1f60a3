"""A cross-check: what another tool makes of a student's answers, beside what this project makes of the same ones.

    a served student <--asks-- another tool --writes--> answers, verdicts, scores     Findings
    answers --Benchmark.outputs--judge--combine--> this project's scores              CrossCheck: both

Verdicts say which version of the rule made them, as for any published file; where a tool tells none, the usual one is
taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from mmat_dagster.scoring.benchmark import Benchmark, Judged, Output, Scores, ScoringError, Unreadable, Verdict

OVERALL = "overall"


@dataclass(frozen=True, kw_only=True)
class ToolScores:
    """A tool's own scores in the benchmark's unit, those that have a name by it in lower case."""

    overall: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a tool has left behind.

    `answers` is a file that the benchmark reads as outputs, `gold` the benchmark's own file where it is there.
    `judged` holds files of the answers that the tool takes for right, and for wrong: none where it does not tell.
    `failed` counts the questions that got no answer from the server. `scores` is None where the tool came to none.
    """

    answers: Path
    gold: Path | None
    judged: Mapping[bool, Path]
    scores: ToolScores | None
    failed: int


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A score by both; None where one of them does not tell it."""

    name: str
    ours: float | None
    theirs: float | None


@dataclass(frozen=True, kw_only=True)
class Disputed:
    """An answer that one takes for right and the other for wrong."""

    output: Output
    ours: Verdict
    theirs: bool


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """Both scores of the same answers."""

    benchmark: Benchmark
    rule: str
    scores: Scores
    findings: Findings
    compared: int
    disputed: tuple[Disputed, ...]
    unreadable: tuple[Unreadable, ...]

    @cached_property
    def figures(self) -> list[Figure]:
        """The overall score, then every other that has a name: this project's, then what only the tool tells."""
        told = self.findings.scores
        theirs = {} if told is None else dict(told.figures)
        named = {**self.scores.metrics, **self.scores.by_category}
        named.pop(self.benchmark.metric, None)
        figures = [Figure(name=OVERALL, ours=self.scores.overall, theirs=None if told is None else told.overall)]
        figures += [
            Figure(name=name, ours=ours, theirs=theirs.pop(name.casefold(), None)) for name, ours in named.items()
        ]
        return [*figures, *(Figure(name=name, ours=None, theirs=value) for name, value in theirs.items())]

    @property
    def is_agreed(self) -> bool:
        """Whether the overall score and all others that both tell are equal, but for rounding."""
        return self.findings.scores is not None and not any(map(self.is_apart, self.figures))

    def is_apart(self, figure: Figure) -> bool:
        """Say whether both tell a score, and differ by more than rounding to the publisher's digits."""
        if figure.ours is None or figure.theirs is None:
            return False
        return abs(figure.ours - figure.theirs) > 0.5 * 10.0**-self.benchmark.decimals


def compare(benchmark: Benchmark, findings: Findings, rule: str | None = None) -> CrossCheck:
    """Score the answers of a tool by this project's rule, beside its own verdicts.

    Raises ScoringError where the benchmark cannot read them.
    """
    read = list(benchmark.outputs(findings.answers, findings.gold))
    unreadable = tuple(each for each in read if isinstance(each, Unreadable))
    told = _told(benchmark, findings)
    outputs = [replace(each, verdict=told.get(each.item.id)) for each in read if isinstance(each, Output)]
    if not outputs:
        problem = f": {unreadable[0].problem}" if unreadable else ""
        raise ScoringError(f"{findings.answers} holds no answer to {benchmark.title}{problem}")
    by = rule or (benchmark.find_rule(outputs) if told else benchmark.rules[0])
    verdicts = [benchmark.judge(each.item, each.response, rule=by) for each in outputs]
    return CrossCheck(
        benchmark=benchmark,
        rule=by,
        scores=benchmark.combine(
            [Judged(item=each.item, verdict=said) for each, said in zip(outputs, verdicts, strict=True)]
        ),
        findings=findings,
        compared=sum(each.verdict is not None for each in outputs),
        disputed=_disputed(outputs, verdicts),
        unreadable=unreadable,
    )


def _told(benchmark: Benchmark, findings: Findings) -> dict[str, bool]:
    """Return the tool's verdicts by item, whatever the benchmark and the tool call it."""
    return {
        each.item.id: is_right
        for is_right, file in findings.judged.items()
        for each in benchmark.outputs(file, findings.gold)
        if isinstance(each, Output)
    }


def _disputed(outputs: Sequence[Output], verdicts: Sequence[Verdict]) -> tuple[Disputed, ...]:
    return tuple(
        Disputed(output=output, ours=verdict, theirs=output.verdict)
        for output, verdict in zip(outputs, verdicts, strict=True)
        if output.verdict is not None and output.verdict != (verdict.score == 1.0)
    )
