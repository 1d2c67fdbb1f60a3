"""What a benchmark's files hold: items to compare with, and what could not be read."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BenchmarkItem:
    """One question of a benchmark and its images, as absolute paths of files or as their bytes.

    `item` is the publisher's own id, or else the file and the place in it. `question` is without instructions and
    choices as far as the publisher keeps them apart. `missing` counts images that the record names and nobody finds.
    """

    benchmark: str
    item: str
    question: str
    images: tuple[Path | bytes, ...]
    missing: int = 0


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file of a benchmark, or a part of it, that could not be read, and why."""

    benchmark: str
    where: str
    problem: str
