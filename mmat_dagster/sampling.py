"""The command `sample`: source folders in the five published layouts, drawn on all cores, a terminal being told."""

import argparse
import sys
import time
from contextlib import closing

from mmat_dagster.corpus import Work, write_corpus
from mmat_dagster.corpus.crew import Report
from mmat_dagster.processes import cores, terminable
from mmat_dagster.schema import SourceName

# A terminal is told this often, and only of what takes longer.
TELL_EVERY_S = 0.5
INTERRUPTED = 130


def sample(options: argparse.Namespace, sources: tuple[SourceName, ...]) -> int:
    """Write the folders and return the exit code; what was not finished is not left behind."""
    counter = _Counter()
    work = Work(workers=cores(), report=counter.count)
    try:
        with terminable(), closing(counter):
            write_corpus(options.out, records=options.records, seed=options.seed, sources=sources, work=work)
    except FileExistsError as error:
        return _fail(f"{error.filename or error} is there already; nothing was overwritten")
    except OSError as error:
        return _fail(f"{options.out} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        _fail("interrupted; the source that was not finished was removed")
        return INTERRUPTED
    print(f"{options.records} records each of {', '.join(sources)} in {options.out}")
    print(f"Use them with: MMAT_SOURCES={options.out} python -m mmat_dagster materialize rr_dialogues")
    return 0


class _Counter:
    """Counts the pictures of each source on one line of a terminal; anything else is told nothing."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()
        self._has_told = False

    def count(self, source: SourceName) -> Report:
        """Return what is told of the pictures of `source`."""
        done = 0

        def report(more: int) -> None:
            nonlocal done
            done += more
            self._tell(f"{source}: {done:,} pictures")

        return report

    def close(self) -> None:
        """Leave the line, if there is one."""
        if self._has_told:
            print(file=sys.stderr)

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S and sys.stderr.isatty():
            self._told_at, self._has_told = now, True
            print(f"\r{text:<40}", end="", file=sys.stderr, flush=True)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1
