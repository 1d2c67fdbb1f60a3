"""The samples of one source, part by part: what decides them, and how they are made or taken over.

files.sqlite below the store's source_qa/<source>      what is known of the source's files and images
benchmarks/files.sqlite, benchmarks/index-<key>.parquet   the same of the benchmarks, and their index
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from PIL import Image

from mmat_dagster import parts
from mmat_dagster.census import facets
from mmat_dagster.datasets import code_version
from mmat_dagster.decontamination.benchmark_files import read_benchmarks
from mmat_dagster.decontamination.building import build_index
from mmat_dagster.decontamination.guard import Guard
from mmat_dagster.decontamination.index import BenchmarkIndex, OutdatedIndex, rules
from mmat_dagster.filebook import FileBook, open_book
from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.images import Examination, ImageShelf, quiet_decoders
from mmat_dagster.interfaces import Store
from mmat_dagster.likeness import likeness
from mmat_dagster.parts import PART_ROWS, Part, PartDraft
from mmat_dagster.pixels import to_rgb
from mmat_dagster.progress import Report, Tally
from mmat_dagster.schema import LeakPolicy, Rejection, Sample, SourceName, SourceRecord
from mmat_dagster.source_images import ImageExaminer
from mmat_dagster.sources import READERS, check_layout
from mmat_dagster.sources.layout import Reader, SourceError
from mmat_dagster.sources.state import Glance, glance_at, source_state
from mmat_dagster.stages.foundation import Foundation, Rules

# So many records are begun before the first of them is ended, for each thread that examines images.
AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What becomes of the published records of every source."""

    limit: int | None = None
    part_rows: int = PART_ROWS
    verify_images: bool = True
    allow_non_commercial: bool = True
    benchmarks: Path | None = None
    leaks: LeakPolicy = "drop"
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class SourceParts:
    """The source in `folder`, on its way into the store."""

    source: SourceName
    folder: Path
    store: Store
    settings: SourceSettings

    def state(self, tell: Callable[[int], None] = lambda _: None) -> str:
        """Return the fingerprint of the source's files; raise SourceError where the folder is not usable."""
        folder = check_layout(self.source, self.folder)
        with self._book(self.source) as book:
            return source_state(folder, book, self.settings.workers, tell)

    def glance(self) -> Glance:
        """Return what the status of the source's files, and of the benchmarks' that it is compared with, tells.

        Raises SourceError where a folder is not usable. No file is read.
        """
        folder = check_layout(self.source, self.folder)
        with self._book(self.source) as book:
            found = glance_at(folder, book)
        if self.settings.benchmarks is None:
            return found
        with self._book("benchmarks") as book:
            return found.beside(glance_at(self._benchmarks(self.settings.benchmarks), book))

    def key(self, state: str) -> str:
        """Return what decides the samples of the source in `state`."""
        settings = self.settings
        decided_by = [str(settings.part_rows), str(settings.limit)]
        decided_by += [str(settings.verify_images), str(settings.allow_non_commercial)]
        guarded = [settings.leaks, self._benchmark_key()] if settings.benchmarks else []
        return fingerprint([code_version("source_qa"), state, *decided_by, *guarded])

    def make(self, key: str, report: Report) -> Iterator[tuple[Part, bool]]:
        """Yield each part, and whether an earlier run had made it."""
        with ExitStack() as opened:
            book = opened.enter_context(self._book(self.source))
            foundation = opened.enter_context(closing(self._foundation(book, opened)))
            tally = Tally("source_qa", self.source, None, report)
            records = foundation.admit(self._records())
            index = -1
            for index, part in enumerate(_in_parts(records, self.settings.part_rows)):
                yield self._part(foundation, part, f"part-{index:05d}-{key}", tally)
                book.flush()
            if index < 0:
                raise SourceError(f"The source {self.source} in the folder {self.folder} holds no record at all.")

    def benchmark_index(self) -> BenchmarkIndex | None:
        """Return the index of the benchmarks, read from their files the first time; None where there are none."""
        if self.settings.benchmarks is None:
            return None
        name = f"benchmarks/index-{self._benchmark_key()}.parquet"
        with self.store.exclusive("benchmarks"):
            # Whatever broke it, a broken one is made anew.
            with suppress(FileNotFoundError, OutdatedIndex):
                return BenchmarkIndex.from_bytes(self.store.read(name))
            index = build_index(read_benchmarks(self.settings.benchmarks))
            if not index.entries:
                raise _no_benchmarks(f"{self.settings.benchmarks}, which holds no question that could be read")
            self.store.write(name, index.to_bytes())
        return index

    def _part(
        self, foundation: Foundation, records: Iterator[SourceRecord | Rejection], name: str, tally: Tally
    ) -> tuple[Part, bool]:
        """Make a part or take it over; either way all its records are read when this returns."""
        finished = parts.finished_part(self.store, self._prefix, name)
        if finished is None:
            draft = PartDraft(Sample, facets)
            with quiet_decoders():
                for result in foundation.ground(records):
                    tally.count(result)
                    draft.add(result)
            self.store.settle()  # a part's images are there before the part is
            return draft.write(self.store, f"{self._prefix}/{name}", foundation.take_census()), False
        tally.add(finished)
        foundation.remember(parts.read_part(self.store, self._prefix, name, Sample))
        # What is passed over; held as a list, a part of Parquet rows would be gigabytes of images.
        deque(records, maxlen=0)
        return finished, True

    def _foundation(self, book: FileBook, opened: ExitStack) -> Foundation:
        settings, guard = self.settings, self._guard()
        closely = Examination(is_decoded=settings.verify_images, liken=_liken if guard else None)
        threads = settings.workers if settings.verify_images or guard else 1
        pool = opened.enter_context(ThreadPoolExecutor(threads, "images")) if threads > 1 else None
        return Foundation(
            images=ImageExaminer(self.folder, book, closely, pool),
            shelf=ImageShelf(self.store),
            rules=Rules(allow_non_commercial=settings.allow_non_commercial, leaks=settings.leaks),
            guard=guard,
            ahead=AHEAD * threads if pool else 1,
        )

    def _guard(self) -> Guard | None:
        """Return what compares this source with the benchmarks; for that its questions are read once before."""
        index = self.benchmark_index()
        if index is None:
            return None
        return index.guard(record.question for record in self._records() if isinstance(record, SourceRecord))

    def _records(self) -> Iterator[SourceRecord | Rejection]:
        return islice(_read(READERS[self.source], self.folder), self.settings.limit)

    def _benchmark_key(self) -> str:
        folder = self._benchmarks(self.settings.benchmarks)
        with self._book("benchmarks") as book:
            state = source_state(folder, book, self.settings.workers)
        return fingerprint([rules(), state])

    @staticmethod
    def _benchmarks(folder: Path | None) -> Path:
        if folder is None or not folder.is_dir():
            raise _no_benchmarks(f"{folder}, which does not exist")
        return folder

    def _book(self, name: str) -> AbstractContextManager[FileBook]:
        return open_book(self.store.mirror / "files" / f"{name}.sqlite")

    @property
    def _prefix(self) -> str:
        return parts.folder("source_qa", self.source)


def _liken(image: Image.Image) -> bytes:
    return likeness(to_rgb(image))


def _no_benchmarks(folder: str) -> SourceError:
    return SourceError(
        f"The benchmarks to compare with were looked for in the folder {folder}. "
        "MMAT_BENCHMARKS should name one with a folder for each benchmark, as published; unset it to compare with none."
    )


def _read(reader: Reader, folder: Path) -> Iterator[SourceRecord | Rejection]:
    """Yield a source's records; a file that cannot be opened is a SourceError."""
    try:
        yield from reader.read(folder)
    except OSError as error:
        where = error.filename or folder
        raise SourceError(f"{where} of the source {reader.name} cannot be read: {error.strerror}") from error


def _in_parts(records: Iterator[SourceRecord | Rejection], rows: int) -> Iterator[Iterator[SourceRecord | Rejection]]:
    """Yield `records` in parts of `rows`; each is to be read to its end before the next one is asked for."""
    for first in records:
        yield chain([first], islice(records, rows - 1))
