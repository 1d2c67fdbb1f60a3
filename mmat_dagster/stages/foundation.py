"""Foundation: published records become uniform samples: images verified, duplicates and benchmark leaks left out.

    records -> admit -> parts of them -> ground -> Sample | Rejection

`admit` is by what a record says (its id, its licence), `ground` by what it asks about: its images.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from mmat_dagster.duplicates import Seen, id_key, question_key
from mmat_dagster.images import Examined, ImageShelf
from mmat_dagster.licences import licence_of
from mmat_dagster.questions import lay_out_question
from mmat_dagster.schema import ImageRef, Leak, LeakPolicy, Rejection, RejectionReason, Sample, SourceRecord
from mmat_dagster.source_images import ImageExaminer, Look, Unusable
from mmat_dagster.sources.layout import reject

# A rejection's detail shows so much of an image's path.
PATH_CHARS = 300


class LeakGuard(Protocol):
    """Tells what a sample shares with the evaluation benchmarks."""

    def leaks(self, question: str, images: Sequence[tuple[str, bytes]]) -> tuple[Leak, ...]:
        """Return the benchmark items that a question over images (SHA-256 and likeness of each) gives away."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What may become a sample."""

    allow_non_commercial: bool = True
    leaks: LeakPolicy = "drop"


class Foundation:
    """Makes the samples of one source, in its order, record by record.

    Begins `ahead` records before it ends the first one, so that their images are examined at once.
    """

    def __init__(
        self, images: ImageExaminer, shelf: ImageShelf, rules: Rules, guard: LeakGuard | None = None, ahead: int = 1
    ) -> None:
        self._images, self._shelf, self._rules, self._guard = images, shelf, rules, guard
        self._ahead = ahead
        self._seen = Seen()
        self._found: Counter[str] = Counter()

    def admit(self, records: Iterable[SourceRecord | Rejection]) -> Iterator[SourceRecord | Rejection]:
        """Yield `records`, a Rejection standing in for each whose id came before or whose licence is not wanted."""
        for record in records:
            yield record if isinstance(record, Rejection) else self._admit(record)

    def ground(self, records: Iterable[SourceRecord | Rejection]) -> Iterator[Sample | Rejection]:
        """Yield a Sample or a Rejection for each of `records`, in order."""
        begun: deque[tuple[SourceRecord | Rejection, tuple[Look, ...]]] = deque()
        for record in records:
            begun.append((record, self._begin(record)))
            if len(begun) >= self._ahead:
                yield self._end(*begun.popleft())
        while begun:
            yield self._end(*begun.popleft())

    def remember(self, samples: Iterable[Sample]) -> None:
        """Take note of samples that an earlier run made, so that later records do not ask the same."""
        for sample in samples:
            self._seen.first(question_key(sample), sample.id)

    def take_census(self) -> dict[str, int]:
        """Return what was found in the records since this was asked last: leaks by benchmark, and licences."""
        found, self._found = self._found, Counter()
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Forget what was seen."""
        self._seen.close()

    def _admit(self, record: SourceRecord) -> SourceRecord | Rejection:
        if self._seen.first(id_key(record.id), record.id) is not None:
            return _reject(record, "duplicate id", "an earlier record has this id")
        if not self._rules.allow_non_commercial and not licence_of(record.source, record.part).is_commercial:
            return _reject(record, "not for commercial use", record.licence)
        return record

    def _begin(self, record: SourceRecord | Rejection) -> tuple[Look, ...]:
        return () if isinstance(record, Rejection) else tuple(map(self._images.begin, record.images))

    def _end(self, record: SourceRecord | Rejection, looks: tuple[Look, ...]) -> Sample | Rejection:
        if isinstance(record, Rejection):
            return record
        outcomes = tuple(map(self._images.end, looks))
        found = [outcome for outcome in outcomes if isinstance(outcome, Examined)]
        if not outcomes:
            return _reject(record, "missing image", "the record names no image")
        if len(found) < len(outcomes):
            return _reject_image(record, outcomes)
        return self._settle(record, found)

    def _settle(self, record: SourceRecord, found: Sequence[Examined]) -> Sample | Rejection:
        leaks = self._leaks(record, found)
        told = [leak for leak in leaks if leak.evidence != "template question"]
        if told and self._rules.leaks == "drop":
            return _reject(record, "benchmark leak", "; ".join(map(_tell, told)))
        sample = make_sample(record, tuple(map(_reference, record.images, found)), leaks)
        earlier = self._seen.first(question_key(sample), sample.id)
        if earlier is not None:
            return _reject(record, "duplicate question", f"{earlier} asks the same about the same images")
        self._put_on_shelf(record, found)
        self._found[f"licence: {sample.licence}"] += 1
        return sample

    def _leaks(self, record: SourceRecord, found: Sequence[Examined]) -> tuple[Leak, ...]:
        if self._guard is None:
            return ()
        leaks = self._guard.leaks(record.question, [(one.sha256, one.likeness or b"") for one in found])
        self._found.update({f"leak: {leak.benchmark}, {leak.evidence}" for leak in leaks})
        return leaks

    def _put_on_shelf(self, record: SourceRecord, found: Sequence[Examined]) -> None:
        for image, examined in zip(record.images, found, strict=True):
            if isinstance(image, bytes):
                self._shelf.put(image, examined.suffix)


def make_sample(record: SourceRecord, images: tuple[ImageRef, ...], leaks: tuple[Leak, ...] = ()) -> Sample:
    """Return the sample of `record` over `images`."""
    return Sample(
        id=record.id,
        source=record.source,
        part=record.part,
        question=lay_out_question(record),
        bare_question=record.question,
        answers=record.answers,
        answer_type=record.answer_type,
        images=images,
        choices=record.choices,
        unit=record.unit,
        number_range=record.number_range,
        context=record.context,
        annotations=record.annotations,
        licence=record.licence,
        leaks=leaks,
    )


def _reject(record: SourceRecord, reason: RejectionReason, detail: str) -> Rejection:
    return reject(record.source, record.id, reason, detail)


def _reject_image(record: SourceRecord, outcomes: Sequence[Examined | Unusable]) -> Rejection:
    image, problem = next(
        (image, outcome)
        for image, outcome in zip(record.images, outcomes, strict=True)
        if isinstance(outcome, Unusable)
    )
    named = "image bytes" if isinstance(image, bytes) else _printable(image)
    return _reject(record, problem.reason, f"{named}: {problem.detail}" if problem.detail else named)


def _printable(path: str) -> str:
    text = path if path.isprintable() else repr(path)
    return text if len(text) <= PATH_CHARS else f"{text[:PATH_CHARS]}..."


def _tell(leak: Leak) -> str:
    return f"{leak.evidence} as {leak.benchmark} {leak.item} ({leak.score:.2f})"


def _reference(image: str | bytes, found: Examined) -> ImageRef:
    if isinstance(image, bytes):
        return ImageRef(
            home="store",
            path=ImageShelf.name(found.sha256, found.suffix),
            sha256=found.sha256,
            width=found.width,
            height=found.height,
        )
    return ImageRef(
        home="source", path=PurePosixPath(image).as_posix(), sha256=found.sha256, width=found.width, height=found.height
    )
