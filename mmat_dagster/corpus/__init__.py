"""The embedded default corpus: samples for every source, drawn and written by the project itself.

    write_corpus(Path("corpus"))  ->  corpus/tabmwp, corpus/visual_cot, ... in the five publishers' own layouts
    ensure_corpus(Path("corpus"))  ->  the same, and corpus/benchmarks to compare them with

Who has no data yet gets real files to run on. The same seed gives the same pictures, however many records there are and
however many cores draw them. Adding a source is one file and one line in GENERATORS.
"""

import errno
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from mmat_dagster.corpus import benchmarks, infoseek, llava_cot, tabmwp, the_cauldron, visual_cot
from mmat_dagster.corpus.crew import Crew, Report, hire, tell_nobody
from mmat_dagster.corpus.infoseek import encyclopedia
from mmat_dagster.schema import SourceName

# Beside the sources' folders of the sample corpus.
BENCHMARKS = "benchmarks"

__all__ = ["BENCHMARKS", "GENERATORS", "Work", "encyclopedia", "ensure_corpus", "write_corpus"]

GENERATORS: dict[SourceName, Callable[[Path, int, Crew], None]] = {
    "visual_cot": visual_cot.generate,
    "llava_cot": llava_cot.generate,
    "the_cauldron": the_cauldron.generate,
    "tabmwp": tabmwp.generate,
    "infoseek": infoseek.generate,
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """How a corpus is drawn, which does not decide what it holds: on how many cores, and who is told of progress."""

    workers: int = 1
    report: Callable[[SourceName], Report] = lambda source: tell_nobody  # noqa: ARG005


def write_corpus(
    out: Path,
    records: int = 20,
    seed: int = 0,
    sources: Collection[SourceName] = tuple(GENERATORS),
    work: Work = Work(),
) -> None:
    """Write `records` samples of each of `sources` to `out/<source>`.

    A source appears under its name only when it is complete. Raises FileExistsError, before anything is written, where
    a source is there already, and ValueError for fewer than one record.
    """
    if records < 1:
        raise ValueError(f"a corpus has at least one record, not {records}")
    for source in sources:
        if (out / source).exists():
            raise FileExistsError(errno.EEXIST, "the source is there already", str(out / source))
    out.mkdir(parents=True, exist_ok=True)
    for source in dict.fromkeys(sources):
        with hire(f"{seed}:{source}", records, work.workers, work.report(source)) as crew:
            _write_source(out, source, records, crew)


def ensure_corpus(folder: Path, records: int) -> None:
    """Write the whole corpus and its benchmark to `folder`, unless it is there; several processes may do so."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as unfinished:
        complete = Path(unfinished) / folder.name
        write_corpus(complete, records)
        benchmarks.generate(complete / BENCHMARKS, complete, Random(0))
        try:
            complete.rename(folder)
        except OSError as error:
            # Another process was faster, with the same bytes.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def _write_source(out: Path, source: SourceName, records: int, crew: Crew) -> None:
    with TemporaryDirectory(dir=out, prefix=f".{source}-") as unfinished:
        folder = Path(unfinished) / source
        folder.mkdir()
        GENERATORS[source](folder, records, crew)
        folder.rename(out / source)
