"""What a benchmark is: items to ask, its publisher's rule for judging an answer, and how verdicts become scores.

    folder ──items──> Item ──(a student answers)──> response ─┐
    published file ──outputs──> Output ───────────────────────┴─judge──> Verdict ──combine──> Scores

A rule is the official one, answer extraction included. Publishers change theirs: each version has a name, which is
kept with every score that it made.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mmat_dagster.schema import AnswerType


class ScoringError(Exception):
    """A benchmark's files are missing or not in its format; the text says what was looked for and where to get it."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question of a benchmark.

    `question` stands without choices, hints and `<image>` marks; `choices` without their letters, A being the first.
    `gold` holds every accepted answer as the publisher writes it, empty where it is hidden. `images` are files, or
    bytes where the publisher's file holds them. `groups` are the categories that scores are told by, by grouping:
    `{"task": ("figure question answering",), "skills": ("algebraic reasoning", "numeric commonsense")}`. `facts` is
    whatever else the rule reads: unit, precision, the number of the figure.
    """

    id: str
    question: str
    gold: tuple[str, ...]
    answer_type: AnswerType
    choices: tuple[str, ...] = ()
    unit: str | None = None
    images: tuple[Path | bytes, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a model said to an item: `response` in its own words, `extraction` the answer that was taken out of them.

    `extraction` is None where the file has none: then the rule takes it out itself. `verdict` is what the publisher's
    file says came of it, if it does; it is never used for a score, only to tell which version of a rule made a file.
    """

    item: Item
    response: str
    extraction: str | None = None
    verdict: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A record of a benchmark's file that cannot be used, where it stands and why."""

    where: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says: the answer as it read it (None where it read none), and a score between 0 and 1."""

    parsed: str | None
    score: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An item and what came of it."""

    item: Item
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a benchmark in the publisher's unit, percent unless the benchmark's `unit` says otherwise.

    `overall` is the figure that is published; `metrics` holds every figure that has a name (`accuracy`, `aAcc`), the
    overall one among them. Nothing is rounded.
    """

    overall: float
    n: int
    by_category: Mapping[str, float]
    metrics: Mapping[str, float]


class Benchmark(ABC):
    """One benchmark, as its publisher scores it."""

    name: ClassVar[str]
    """As commands and folders call it: `mathvista`."""
    title: ClassVar[str]
    """As papers call it, with the split: `MathVista (testmini)`."""
    source: ClassVar[str]
    """Where to get it, and which files are looked for, in one sentence for whoever lacks them."""
    rules: ClassVar[tuple[str, ...]]
    """The versions of its rule; the first is used unless another is asked for."""
    metric: ClassVar[str] = "accuracy"
    """The name of the overall figure among `Scores.metrics`."""
    decimals: ClassVar[int] = 2
    """To how many digits behind the point its publisher tells scores."""
    full_marks: ClassVar[float] = 100.0
    """What `Scores.overall` is where all is right; OCRBench counts to 1000."""

    @abstractmethod
    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the items to ask, in the publisher's order, with their images.

        `folder` is the benchmark's own, or VLMEvalKit's TSV file of it. Raises ScoringError where it holds neither the
        publisher's files nor such a table.
        """

    def has_table(self, name: str) -> bool:  # noqa: ARG002
        """Say whether VLMEvalKit's table of this benchmark is called `name`; it has none of most own benchmarks."""
        return False

    def is_in(self, folder: Path) -> bool:
        """Say whether the benchmark's files are in `folder`."""
        try:
            next(iter(self.items(folder)), None)
        except ScoringError:
            return False
        return True

    @abstractmethod
    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield what a model said, from a file or folder in the form in which outputs are published.

        `gold` is the file or folder of the gold answers, for outputs that bring none along. Raises ScoringError where
        the form is another, or gold is needed and not given.
        """

    @abstractmethod
    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge one answer by `rule`, the usual one for None; `extraction` is the answer where it is taken out already.

        Never raises for any text, and takes less than a second; a pure function of what it is given.
        """

    def find_rule(self, outputs: Sequence[Output]) -> str:  # noqa: ARG002
        """Return the version of the rule that a published file was made with, as far as it shows; else the usual."""
        return self.rules[0]

    def cluster(self, item: Item) -> str:
        """Return what `item` shares with others that are right or wrong together; by itself it shares nothing."""
        return item.id

    def combine(self, judged: Sequence[Judged]) -> Scores:
        """Return the scores: the mean over all items, and over those of each category, in percent."""
        overall = percent(each.verdict.score for each in judged)
        return Scores(overall=overall, n=len(judged), by_category=by_category(judged), metrics={self.metric: overall})


def percent(scores: Iterator[float] | Sequence[float]) -> float:
    """Return the mean of `scores` in percent; 0 of none."""
    values = list(scores)
    return 100.0 * sum(values) / len(values) if values else 0.0


def by_category(judged: Sequence[Judged]) -> dict[str, float]:
    """Return the mean score of each category in percent, in the order of the groupings and of the items.

    A category is called as its publisher calls it. Where two groupings have one of the same name, the later one's
    stands behind its grouping's: `skill: algebra`.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for each in judged:
        for grouping, names in each.item.groups.items():
            for name in names:
                found.setdefault((grouping, name), []).append(each.verdict.score)
    taken: dict[str, float] = {}
    for (grouping, name), scores in found.items():
        taken[f"{grouping}: {name}" if name in taken else name] = percent(scores)
    return taken
