"""Reads the items of a benchmark from the publisher's file, or from VLMEvalKit's table of it, with their images.

    MathVista_MINI.tsv   index  question  A  B  C  D  choices  answer  category  l2-category  split  image (base64)

Fields that hold lists may hold them written out as text: "['12 cm', '15 cm']".
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path, PurePosixPath

from mmat_dagster.decontamination import fields
from mmat_dagster.decontamination.image_files import ImageFiles
from mmat_dagster.decontamination.rows import Broken, Row, read_rows
from mmat_dagster.scoring.benchmark import Item, Output, ScoringError, Unreadable
from mmat_dagster.scoring.record_fields import RecordError, as_text

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Gold is looked for in the folder of the outputs and so many above.
FOLDERS_ABOVE = 3

_MARK = re.compile(r"[ \t]?<image ?\d*>")


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where a benchmark's items are: patterns of files, the first that is there counts; what to say where none is."""

    patterns: tuple[str, ...]
    title: str
    source: str

    def has_table(self, name: str) -> bool:
        """Say whether VLMEvalKit's table of the benchmark is called `name`."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns if pattern.endswith(".tsv"))

    def find(self, place: Path) -> list[Path]:
        """Return the files of the first pattern that is in a folder, below or beside it; `place` itself if a file."""
        if place.is_file():
            return [place]
        for pattern in self.patterns:
            found = _matches(place, pattern) or _matches(place.parent, PurePosixPath(pattern).name, is_deep=False)
            if found:
                return found
        raise ScoringError(f"{place} holds nothing of {self.title}: {', '.join(self.patterns)}. {self.source}")

    def find_gold(self, outputs: Path, gold: Path | None) -> list[Path]:
        """Return the files of the gold: those of `gold`, or what lies beside the outputs or above them."""
        if gold is not None:
            return self.find(gold)
        above = [outputs, *outputs.absolute().parents[:FOLDERS_ABOVE]]
        found = (_named(folder, pattern) for folder in above for pattern in self.patterns)
        file = next((file for file in found if file is not None), None)
        if file is None:
            raise ScoringError(f"the gold answers of {self.title} are needed beside {outputs}. {self.source}")
        return [file]


def read_items(
    files: Files, place: Path, item_of: Callable[[Row], Item | None], with_images: bool = True
) -> Iterator[Item | Unreadable]:
    """Yield the items of a benchmark; raise ScoringError where its files are not there.

    `item_of` returns the item of a record without its images, None for a record of another split; it raises
    RecordError for a broken one.
    """
    found = files.find(place)
    return chain.from_iterable(
        _read(file, _images_below(place, file) if with_images else None, item_of) for file in found
    )


def read_outputs(rows: Iterable[Row | Broken], output_of: Callable[[Row], Output]) -> Iterator[Output | Unreadable]:
    """Yield the outputs of records; `output_of` raises RecordError for a broken one."""
    for row in rows:
        if isinstance(row, Broken):
            yield Unreadable(where=row.where, problem=row.problem)
            continue
        try:
            yield output_of(row)
        except RecordError as error:
            yield Unreadable(where=row.name, problem=str(error))


def listed(row: Row, *names: str) -> tuple[str, ...]:
    """Return the first of these fields that holds a list; none where none does."""
    return next((values for name in names if (values := as_list(row.fields.get(name)))), ())


def as_list(value: object) -> tuple[str, ...]:
    """Return a list, or one that is written out as text; none where `value` is neither."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return ()
    return tuple(map(as_text, value)) if isinstance(value, list | tuple) else ()


def choices_of(row: Row) -> tuple[str, ...]:
    """Return the choices: a list of them, or the columns A, B, .. up to the last that says something."""
    lettered = [as_text(row.fields.get(letter.lower())) for letter in LETTERS]
    last = max((place for place, choice in enumerate(lettered, start=1) if choice), default=0)
    return listed(row, "choices", "options") or tuple(lettered[:last])


def _read(file: Path, images: ImageFiles | None, item_of: Callable[[Row], Item | None]) -> Iterator[Item | Unreadable]:
    for row in read_rows(file):
        if isinstance(row, Broken):
            yield Unreadable(where=row.where, problem=row.problem)
            continue
        try:
            item = item_of(row)
            if item is not None:
                yield item if images is None else replace(item, images=_images_of(row, file, images))
        except RecordError as error:
            yield Unreadable(where=row.name, problem=str(error))


def _images_of(row: Row, file: Path, images: ImageFiles) -> tuple[Path | bytes, ...]:
    named = fields.interpret(Row(fields={**row.fields, "split": ""}, name=row.name, number=row.number))
    if named is None:
        return ()
    # Where a table holds the image itself, its path is where that came from.
    return named.embedded or tuple(_found(name, file, images) for name in named.paths)


def _found(name: str, file: Path, images: ImageFiles) -> Path:
    found = images.find(name, file)
    if found is None:
        raise RecordError(f"the image {name} is not there")
    return found


def _images_below(place: Path, file: Path) -> ImageFiles:
    root = place if place.is_dir() else file.parent
    # VLMEvalKit keeps the images of a table beside it.
    beside = file.parent / "images"
    folders = [root] if beside.is_relative_to(root) else [root, beside]
    return ImageFiles(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())


def _matches(folder: Path, pattern: str, is_deep: bool = True) -> list[Path]:
    if not folder.is_dir():
        return []
    direct = sorted(path for path in folder.glob(pattern) if path.is_file())
    return direct or (sorted(path for path in folder.rglob(pattern) if path.is_file()) if is_deep else [])


def _named(folder: Path, pattern: str) -> Path | None:
    return next(iter(_matches(folder, pattern, is_deep=False)), None)


def without_marks(question: str) -> str:
    """Return a question without the marks that stand for its images: `<image1>`, `<image 1>`."""
    return _MARK.sub("", question).strip()
