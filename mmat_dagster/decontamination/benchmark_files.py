"""Reads the benchmarks below one folder, in whatever form their publishers ship them.

    <folder>/<benchmark>/**/*.{json,jsonl,parquet,tsv,csv}   and its images, anywhere beside
    <folder>/<benchmark>.tsv                                  as VLMEvalKit keeps them

Files without questions (outputs, scores, licences) and those named `train` hold nothing of a benchmark.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmat_dagster.decontamination.fields import Named, interpret
from mmat_dagster.decontamination.image_files import ImageFiles
from mmat_dagster.decontamination.items import BenchmarkItem, Unreadable
from mmat_dagster.decontamination.rows import FORMS, Broken, Row, read_rows

# More files than any benchmark has, and deeper folders.
FILES = 500_000
DEPTH = 8
# Of one file, so many broken records are told; the others are counted.
TOLD = 5

_TRAINING = re.compile(r"(?:^|[^a-z])train(?:ing)?(?:[^a-z]|$)", re.IGNORECASE)


class BenchmarksAbsent(Exception):
    """The folder of the benchmarks does not exist."""


def read_benchmarks(folder: Path) -> Iterator[BenchmarkItem | Unreadable]:
    """Yield the items of every benchmark below `folder`, an Unreadable for each file or record that is broken.

    Raises BenchmarksAbsent where there is no such folder.
    """
    if not folder.is_dir():
        raise BenchmarksAbsent(f"no folder {folder}")
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _read_folder(entry)
        elif _holds_items(entry):
            images = ImageFiles(_files(folder / "images"))
            yield from _read_file(_Place(benchmark=entry.stem, root=folder, images=images), entry)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a benchmark lies, and the images that its records may name."""

    benchmark: str
    root: Path
    images: ImageFiles


def _read_folder(root: Path) -> Iterator[BenchmarkItem | Unreadable]:
    files = list(islice(_files(root), FILES + 1))
    if len(files) > FILES:
        yield Unreadable(benchmark=root.name, where=".", problem=f"more than {FILES:,} files: the rest is not read")
    place = _Place(benchmark=root.name, root=root, images=ImageFiles(files[:FILES]))
    has_items = False
    for path in files[:FILES]:
        if _holds_items(path):
            for one in _read_file(place, path):
                has_items = has_items or isinstance(one, BenchmarkItem)
                yield one
    # Beside VLMEvalKit's tables, their images lie in a folder of this name.
    if not has_items and root.name != "images":
        yield Unreadable(benchmark=root.name, where=".", problem="no file holds questions")


def _holds_items(path: Path) -> bool:
    return path.suffix.lower() in FORMS and not _TRAINING.search(path.stem)


def _files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        below[:] = sorted(name for name in below if not name.startswith(".")) if depth < DEPTH else []
        yield from (Path(folder, name) for name in sorted(names))


def _read_file(place: _Place, path: Path) -> Iterator[BenchmarkItem | Unreadable]:
    seen: set[str] = set()
    broken = 0
    for row in read_rows(path):
        if isinstance(row, Row):
            named = interpret(row)
            yield from [_item(place, path, named, _distinct(named.item, row, seen))] if named else []
        else:
            broken += 1
            yield from [_unreadable(place, path, row)] if broken <= TOLD else []
    if broken > TOLD:
        more = Broken(where=path.name, problem=f"{broken - TOLD} more records are broken")
        yield _unreadable(place, path, more)


def _distinct(item: str, row: Row, seen: set[str]) -> str:
    """Return the item's id, with the record's number where a record before had the same (HallusionBench)."""
    name = f"{item}#{row.number}" if item in seen else item
    seen.add(item)
    return name


def _item(place: _Place, path: Path, named: Named, item: str) -> BenchmarkItem:
    found = [place.images.find(name, path) for name in named.paths]
    files = tuple(file for file in found if file is not None)
    # A record that brings its image also tells what the file was called.
    missing = 0 if named.embedded else len(found) - len(files)
    return BenchmarkItem(
        benchmark=place.benchmark,
        item=item,
        question=named.question,
        images=named.embedded or files,
        missing=missing,
    )


def _unreadable(place: _Place, path: Path, broken: Broken) -> Unreadable:
    folder = path.parent.relative_to(place.root).as_posix()
    where = broken.where if folder == "." else f"{folder}/{broken.where}"
    return Unreadable(benchmark=place.benchmark, where=where, problem=broken.problem)
