"""Tells what a sample shares with the benchmarks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from mmat_dagster.decontamination.pictures import PictureSearch
from mmat_dagster.decontamination.questions import TEMPLATE_OVER, AskedAlike, QuestionSearch
from mmat_dagster.decontamination.wording import grams, wording, words
from mmat_dagster.schema import Leak, LeakEvidence

# Of one benchmark, a sample tells no more items than these: a wording may be that of hundreds.
ITEMS_TOLD = 3

STRENGTH: tuple[LeakEvidence, ...] = ("same image", "similar image", "same question", "template question")


@dataclass(frozen=True, kw_only=True)
class Searches:
    """The benchmarks as they are searched: `names` are (benchmark, item) by the question's number.

    `by_sha` and `showing` lead from an image's hash and from a picture's number to the items that show it.
    """

    names: Sequence[tuple[str, str]]
    by_sha: dict[str, list[int]]
    showing: Sequence[Sequence[int]]
    questions: QuestionSearch
    pictures: PictureSearch


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Compares the samples of one source with all benchmarks; `templates` are the wordings it asks over and over."""

    searches: Searches
    templates: frozenset[int] = field(default_factory=frozenset)

    def leaks(self, question: str, images: Sequence[tuple[str, bytes]]) -> tuple[Leak, ...]:
        """Return what the sample shares, best first: one Leak per item; `images` are (sha256, likeness) pairs."""
        found = [leak for sha256, likeness in images for leak in self._image_leaks(sha256, likeness)]
        found += self._question_leaks(question)
        return _strongest(found)

    def _image_leaks(self, sha256: str, likeness: bytes) -> Iterable[Leak]:
        for number in self.searches.by_sha.get(sha256, ()):
            yield self._leak(number, "same image", 1.0)
        for picture, score in self.searches.pictures.find(likeness):
            for number in self.searches.showing[picture]:
                yield self._leak(number, "similar image", score)

    def _question_leaks(self, question: str) -> list[Leak]:
        asked = words(question)
        alike = self.searches.questions.find(grams(asked))
        is_template = bool(alike) and wording(asked) in self.templates
        return [self._leak(one.number, _evidence(one, is_template=is_template), one.overlap) for one in alike]

    def _leak(self, number: int, evidence: LeakEvidence, score: float) -> Leak:
        benchmark, item = self.searches.names[number]
        return Leak(benchmark=benchmark, item=item, evidence=evidence, score=score)


def find_templates(searches: Searches, questions: Iterable[str]) -> frozenset[int]:
    """Return the wordings that match a benchmark and stand in more than TEMPLATE_OVER of `questions`.

    Only such wordings are counted, so the memory grows with the benchmarks and not with the source.
    """
    counted: Counter[int] = Counter()
    for question in questions:
        asked = words(question)
        if searches.questions.find(grams(asked)):
            counted[wording(asked)] += 1
    return frozenset(mark for mark, count in counted.items() if count > TEMPLATE_OVER)


def _evidence(alike: AskedAlike, *, is_template: bool) -> LeakEvidence:
    return "template question" if is_template or alike.is_template else "same question"


def _rank(leak: Leak) -> tuple[int, float, str, str]:
    return STRENGTH.index(leak.evidence), -leak.score, leak.benchmark, leak.item


def _strongest(found: list[Leak]) -> tuple[Leak, ...]:
    best: dict[tuple[str, str], Leak] = {}
    for leak in sorted(found, key=_rank):
        best.setdefault((leak.benchmark, leak.item), leak)
    by_benchmark = groupby(sorted(best.values(), key=lambda leak: leak.benchmark), key=lambda leak: leak.benchmark)
    told = [leak for _, group in by_benchmark for leak in sorted(group, key=_rank)[:ITEMS_TOLD]]
    return tuple(sorted(told, key=_rank))
