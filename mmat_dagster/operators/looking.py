"""From a sample to the looks at its images, and from what was seen to the one line that the dialogue tells."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

from mmat_dagster.interfaces import Pictures
from mmat_dagster.operators.observation import by_image
from mmat_dagster.schema import Sample
from mmat_dagster.tools import Failed, Look, Operator, Sight

FAILED = "the operator failed and returned nothing"
# So many failures are told one by one; all are counted in the census of the dialogues.
TOLD_FAILURES = 100

LookFunction: TypeAlias = Callable[[Operator, Sequence[Look]], Awaitable[Sequence[Sight | Failed]]]

T = TypeVar("T")

_log = logging.getLogger("mmat_dagster.operators")


async def look_anew(operator: Operator, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
    """Have `operator` look, without a cache."""
    return await operator.look(looks)


async def observe(operator: Operator, sample: Sample, pictures: Pictures, look: LookFunction = look_anew) -> str:
    """Return what `operator` tells about `sample` as one line, without the `-name information:` prefix.

    Raises what `Operator.look` raises.
    """
    return await tell(operator, looks_at(sample, pictures), look)


async def tell(operator: Operator, looks: Sequence[Look], look: LookFunction = look_anew) -> str:
    """Return what `operator` tells about the images of one question; see `observe`."""
    results = await look(operator, looks)
    for each, result in zip(looks, results, strict=True):
        if isinstance(result, Failed):
            _failures.tell(operator, each, result)
    return by_image([_text(result) for result in results], operator.max_chars)


async def for_each(work: Callable[[Look], Awaitable[T]], looks: Sequence[Look]) -> list[T]:
    """Do `work` for all looks at once; when all are through, return the results or raise the first error."""
    results = await asyncio.gather(*map(work, looks), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def looks_at(sample: Sample, pictures: Pictures) -> tuple[Look, ...]:
    """Return one look at each image of `sample`; raise ValueError where a box lies on an image that is not there."""
    notes, count = sample.annotations, len(sample.images)
    astray = next((box.image for box in notes.boxes if not 0 <= box.image < count), None)
    if astray is not None:
        raise ValueError(f"{sample.id}: a box lies on image {astray} (from 0) of {count}")
    return tuple(
        Look(
            image=pictures.locate(sample.source, image),
            sha256=image.sha256,
            question=sample.bare_question,
            width=image.width,
            height=image.height,
            boxes=tuple(box for box in notes.boxes if box.image == number),
            caption=notes.caption,
            reference=f"{sample.source}/{image.path}" if image.home == "source" else image.path,
        )
        for number, image in enumerate(sample.images)
    )


class _Failures:
    """Tells of failures in the log of the run, but not of a hundred thousand."""

    def __init__(self) -> None:
        self._told = 0

    def tell(self, operator: Operator, look: Look, failed: Failed) -> None:
        self._told += 1
        if self._told <= TOLD_FAILURES:
            _log.warning("%s failed at %s: %s", operator.name, look.reference or look.sha256, failed.detail)
        if self._told == TOLD_FAILURES:
            _log.warning("further failures of operators are counted in the census, and not told here")


_failures = _Failures()


def _text(result: Sight | Failed) -> str:
    return result.text if isinstance(result, Sight) else FAILED
