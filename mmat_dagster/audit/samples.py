"""May a dialogue's sample be in the data at all: benchmarks, licences, and whether it was there before?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmat_dagster.duplicates import Seen, id_key, question_key
from mmat_dagster.licences import licence_of
from mmat_dagster.schema import LeakPolicy, Sample

FindInSample = Callable[[Sample], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a deployment leaves out of its data."""

    leaks: LeakPolicy = "drop"
    allow_non_commercial: bool = True


def leak_finder(policy: Policy) -> FindInSample:
    """Return what finds samples that give a benchmark away, unless the deployment keeps them and warns."""

    def find(sample: Sample) -> Iterator[str]:
        if policy.leaks == "drop":
            told = (leak for leak in sample.leaks if leak.evidence != "template question")
            yield from (f"{leak.evidence} as {leak.benchmark} {leak.item} ({leak.score:.2f})" for leak in told)

    return find


def licence_finder(policy: Policy) -> FindInSample:
    """Return what finds samples that may not be used commercially, where the deployment leaves such out."""

    def find(sample: Sample) -> Iterator[str]:
        licence = licence_of(sample.source, sample.part)
        if not policy.allow_non_commercial and not licence.is_commercial:
            yield f"{sample.part} is under {licence.name}, which allows no commercial use"

    return find


def duplicate_finder(seen: Seen) -> FindInSample:
    """Return what finds samples that came before: the id, or the same question about the same images."""

    def find(sample: Sample) -> Iterator[str]:
        if seen.first(id_key(sample.id), sample.id) is not None:
            yield "the id came before"
        other = seen.first(question_key(sample), sample.id)
        if other is not None:
            yield f"asks the same of the same images as {other}"

    return find
