"""The benchmarks' images and questions in the form in which samples are compared with them; kept as one file."""

from collections.abc import Iterable
from dataclasses import dataclass

from mmat_dagster.decontamination.guard import Guard
from mmat_dagster.decontamination.items import BenchmarkItem, Unreadable


@dataclass(frozen=True, kw_only=True)
class BenchmarkCounts:
    """What was read of one benchmark, and what of it cannot be compared."""

    items: int = 0
    images: int = 0
    missing_images: int = 0
    unreadable_images: int = 0
    short_questions: int = 0
    problems: tuple[str, ...] = ()


class BenchmarkIndex:
    """All benchmarks, ready to be compared with."""

    @property
    def counts(self) -> dict[str, BenchmarkCounts]:
        """What was read, by benchmark."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """The fingerprint of the content and of the rules by which it is compared."""
        raise NotImplementedError

    @classmethod
    def build(cls, items: Iterable[BenchmarkItem | Unreadable]) -> "BenchmarkIndex":
        """Return the index of `items`, each image decoded once."""
        raise NotImplementedError

    @classmethod
    def from_bytes(cls, data: bytes) -> "BenchmarkIndex":
        """Return the index that `to_bytes` wrote; raise OutdatedIndex where other rules made it."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """Return the index as a Parquet file, equal for equal content."""
        raise NotImplementedError

    def guard(self, questions: Iterable[str]) -> Guard:
        """Return the guard of a source: `questions` are all that it asks, once per record."""
        raise NotImplementedError
