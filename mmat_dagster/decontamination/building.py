"""Builds the index: every image decoded once, every question cut in 8-grams, everything that fails counted."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmat_dagster.decontamination.index import BenchmarkCounts, BenchmarkIndex, Entry
from mmat_dagster.decontamination.items import BenchmarkItem, Unreadable
from mmat_dagster.decontamination.rows import told
from mmat_dagster.decontamination.wording import grams, wording, words
from mmat_dagster.likeness import likeness
from mmat_dagster.pixels import read_rgb

# Of a benchmark's unreadable images, so many are told by name.
PROBLEMS_TOLD = 20


def build_index(found: Iterable[BenchmarkItem | Unreadable]) -> BenchmarkIndex:
    """Return the index of what was found; an item that stands in several files counts once, with all its images."""
    building = _Building()
    for one in found:
        if isinstance(one, Unreadable):
            building.note(one)
        else:
            building.add(one)
    return building.finish()


@dataclass
class _Building:
    """What has been read so far; items by benchmark, id and wording."""

    items: dict[tuple[str, str, int], Entry] = field(default_factory=dict)
    missing: dict[tuple[str, str, int], int] = field(default_factory=dict)
    likenesses: dict[str, bytes] = field(default_factory=dict)
    unreadable: dict[str, set[str]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def note(self, one: Unreadable) -> None:
        self.problems.setdefault(one.benchmark, []).append(f"{one.where}: {one.problem}")

    def add(self, one: BenchmarkItem) -> None:
        asked = words(one.question)
        key = (one.benchmark, one.item, wording(asked))
        images = tuple(sha256 for image in one.images if (sha256 := self._look(one, image)) is not None)
        marks = tuple(grams(asked).tolist())
        new = Entry(benchmark=one.benchmark, item=one.item, wording=key[2], grams=marks, images=images)
        earlier = self.items.setdefault(key, new)
        self.items[key] = replace(new, images=tuple(sorted({*earlier.images, *images})))
        self.missing[key] = min(self.missing.get(key, one.missing), one.missing)

    def finish(self) -> BenchmarkIndex:
        entries = tuple(self.items[key] for key in sorted(self.items))
        shown = dict.fromkeys(sha256 for entry in entries for sha256 in entry.images)
        names = sorted({entry.benchmark for entry in entries} | self.problems.keys())
        return BenchmarkIndex(
            entries=entries,
            likenesses={sha256: self.likenesses[sha256] for sha256 in shown},
            counts={name: self._count(name) for name in names},
        )

    def _look(self, one: BenchmarkItem, image: Path | bytes) -> str | None:
        """Return the image's hash, its likeness being known; None where it cannot be read."""
        try:
            data = image if isinstance(image, bytes) else image.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 not in self.likenesses:
                self.likenesses[sha256] = likeness(read_rgb(data))
        except OSError as error:
            name = image.name if isinstance(image, Path) else f"an image of {one.item}"
            self.unreadable.setdefault(one.benchmark, set()).add(f"{name}: {told(error)}")
            return None
        return sha256

    def _count(self, name: str) -> BenchmarkCounts:
        entries = [entry for entry in self.items.values() if entry.benchmark == name]
        unreadable = sorted(self.unreadable.get(name, ()))
        return BenchmarkCounts(
            items=len(entries),
            images=len({sha256 for entry in entries for sha256 in entry.images}),
            missing_images=sum(count for key, count in self.missing.items() if key[0] == name),
            unreadable_images=len(unreadable),
            short_questions=sum(not entry.grams for entry in entries),
            problems=(*sorted(self.problems.get(name, [])), *unreadable[:PROBLEMS_TOLD]),
        )
