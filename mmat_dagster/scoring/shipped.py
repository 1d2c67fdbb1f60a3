"""Reads benchmarks as they are shipped, one record per row: questions with their images, and what models said to them.

    folder ──the first pattern that names files──> rows ──item_of──> Item
    published file ──> rows with a response ──> Output; its item is the row's own, or the one of the gold's

Rows stand in JSON, JSON Lines, Parquet, TSV, CSV or Excel files. What cannot be used is told, its neighbours are kept.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import ClassVar

from mmat_dagster.decontamination import fields
from mmat_dagster.decontamination.image_files import ImageFiles
from mmat_dagster.decontamination.rows import FORMS, Broken, Row, read_rows
from mmat_dagster.scoring.benchmark import Benchmark, Item, Output, ScoringError, Unreadable
from mmat_dagster.scoring.record_fields import RecordError, as_text
from mmat_dagster.scoring.spreadsheets import read_sheet

SUFFIXES = (*FORMS, ".xlsx")
# What publishers call the words of a model, the first that a row has.
RESPONSES = (
    *("prediction", "full_prediction", "model_prediction", "predict", "response", "model_answer", "model_output"),
    *("model_response", "output", "pred"),
)
# The gold's folder is looked for beside the outputs, and so many folders above.
FOLDERS_ABOVE = 3


class ShippedBenchmark(Benchmark):
    """A benchmark whose files hold one question per record."""

    patterns: ClassVar[tuple[str, ...]]
    """What its files are called below its folder, the publisher's own first; the first that is there is read."""
    responses: ClassVar[tuple[str, ...]] = RESPONSES
    """The fields in which outputs hold the response, the first that a record has."""

    @abstractmethod
    def item_of(self, row: Row) -> Item | None:
        """Return the item of a record, without its images; None for one that is not of this benchmark.

        Raises RecordError for one that is broken.
        """

    def extraction_of(self, row: Row) -> str | None:  # noqa: ARG002
        """Return the answer that the record of an output says was taken out of the response, if it says so."""
        return None

    def verdict_of(self, row: Row) -> bool | None:  # noqa: ARG002
        """Return what the record of an output says came of it, if it says so."""
        return None

    def images_of(self, row: Row, beside: Path, files: ImageFiles) -> tuple[Path | bytes, ...]:
        """Return the images of the record of an item; raise RecordError where one is missing."""
        return images_of(row, beside, files)

    def matches(self, item: Item, gold: Item) -> bool:
        """Say whether the item of an output without its gold answer is the one of the gold."""
        return item.id == gold.id

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the items to ask, in the publisher's order, with their images."""
        found = self.find(folder)
        if not found:
            raise ScoringError(f"{folder} holds nothing of {self.title}. {self.source}")
        files = ImageFiles(files_below(folder.parent / "images" if folder.is_file() else folder))
        return chain.from_iterable(self._items(file, files) for file in found)

    def has_table(self, name: str) -> bool:
        """Say whether VLMEvalKit's table of this benchmark is called `name`."""
        return any(fnmatch(f"/{name}".lower(), pattern) for pattern in self.patterns if pattern.endswith(".tsv"))

    def find(self, folder: Path) -> list[Path]:
        """Return the files of the benchmark below a folder, or the one that it is; none where there are none."""
        if folder.is_file():
            return [folder]
        files = [file for file in files_below(folder) if file.suffix.lower() in SUFFIXES]
        for pattern in self.patterns:
            named = [file for file in files if fnmatch(f"/{file.relative_to(folder)}".lower(), pattern.lower())]
            if named:
                return named
        return []

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:
        """Yield what a model said, from a file of records or a folder of such files."""
        if not path.exists():
            raise ScoringError(f"no file or folder {path}")
        files = [path] if path.is_file() else [file for file in files_below(path) if file.suffix.lower() in SUFFIXES]
        known = _Gold(self, path, gold)
        found = chain.from_iterable(self._outputs(file, known) for file in files)
        first = next(found, None)
        if first is None:
            raise ScoringError(f"{path} holds no outputs: records with one of the fields {', '.join(self.responses)}")
        return chain([first], found)

    def _items(self, file: Path, files: ImageFiles) -> Iterator[Item | Unreadable]:
        for row in rows_of(file):
            if isinstance(row, Unreadable):
                yield row
            else:
                yield from self._item(row, file, files)

    def _item(self, row: Row, file: Path, files: ImageFiles) -> Iterator[Item | Unreadable]:
        try:
            item = self.item_of(row)
            if item is not None:
                yield replace(item, images=self.images_of(row, file, files))
        except RecordError as error:
            yield Unreadable(where=row.name, problem=str(error))

    def _outputs(self, file: Path, gold: "_Gold") -> Iterator[Output | Unreadable]:
        for row in rows_of(file):
            if isinstance(row, Unreadable):
                yield row
            elif (name := next((name for name in self.responses if name in row.fields), None)) is not None:
                yield from self._output(row, as_text(row.fields[name]), gold)

    def _output(self, row: Row, response: str, gold: "_Gold") -> Iterator[Output | Unreadable]:
        try:
            item = self.item_of(row)
            if item is None:
                return
            known = item if item.gold else gold.find(item)
            yield Output(
                item=known, response=response, extraction=self.extraction_of(row), verdict=self.verdict_of(row)
            )
        except RecordError as error:
            yield Unreadable(where=row.name, problem=str(error))


class _Gold:
    """The items of the gold, read when the first output needs them."""

    def __init__(self, benchmark: ShippedBenchmark, outputs: Path, gold: Path | None) -> None:
        self._benchmark = benchmark
        self._outputs = outputs
        self._gold = gold
        self._items: dict[str, Item] | None = None

    def find(self, item: Item) -> Item:
        if self._items is None:
            self._items = {each.id: each for each in self._read()}
        known = self._items.get(item.id)
        if known is None or not known.gold or not self._benchmark.matches(item, known):
            raise RecordError(f"the record tells no gold answer, and the gold has none for {item.id!r}")
        return known

    def _read(self) -> Iterator[Item]:
        files = self._files()
        if not files:
            wanted = f"the gold answers of {self._benchmark.title} are needed"
            raise ScoringError(f"{self._outputs} tells no gold answers, and {wanted}. {self._benchmark.source}")
        for file in files:
            for row in rows_of(file):
                item = None if isinstance(row, Unreadable) else self._item(row)
                if item is not None:
                    yield item

    def _item(self, row: Row) -> Item | None:
        try:
            return self._benchmark.item_of(row)
        except RecordError:
            return None

    def _files(self) -> list[Path]:
        if self._gold is not None and not self._gold.exists():
            raise ScoringError(f"no file or folder {self._gold} with the gold answers")
        if self._gold is not None:
            return [self._gold] if self._gold.is_file() else self._benchmark.find(self._gold)
        above = [self._outputs, *self._outputs.absolute().parents[:FOLDERS_ABOVE]]
        return next((found for folder in above if (found := self._beside(folder))), [])

    def _beside(self, folder: Path) -> list[Path]:
        """Return the benchmark's files in `folder` itself: what lies deeper may be of anything."""
        files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
        named = (
            [file for file in files if fnmatch(f"/{file.name}".lower(), pattern.lower())]
            for pattern in self._benchmark.patterns
        )
        return next((found for found in named if found), [])


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, in order; none where it is no folder."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def rows_of(file: Path) -> Iterator[Row | Unreadable]:
    """Yield the rows of a file, and what of it cannot be read."""
    for row in read_sheet(file) if file.suffix.lower() == ".xlsx" else read_rows(file):
        yield Unreadable(where=row.where, problem=row.problem) if isinstance(row, Broken) else row


def images_of(row: Row, beside: Path, files: ImageFiles) -> tuple[Path | bytes, ...]:
    """Return the images of a record, its bytes or the files that it names; raise RecordError where one is missing."""
    named = fields.interpret(Row(fields=_pictured(row.fields), name=row.name, number=row.number))
    if named is None:
        return ()
    if b"" in named.embedded:
        raise RecordError("the image is no base64")
    # Where a table holds the image itself, its path is where that came from.
    return named.embedded or tuple(_found(name, beside, files) for name in named.paths)


def _pictured(given: Mapping[str, object]) -> dict[str, object]:
    hidden = {*fields.OUTPUTS, "response", "split", "table"}
    return {**{name: value for name, value in given.items() if name not in hidden}, "question": ""}


def _found(name: str, beside: Path, files: ImageFiles) -> Path:
    file = files.find(name, beside)
    if file is None:
        raise RecordError(f"the image {name} is not there")
    return file
