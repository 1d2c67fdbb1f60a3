"""Reads the benchmarks below one folder, each in a folder of its own, in whatever form its publisher ships it."""

from collections.abc import Iterator
from pathlib import Path

from mmat_dagster.decontamination.items import BenchmarkItem, Unreadable


def read_benchmarks(folder: Path) -> Iterator[BenchmarkItem | Unreadable]:
    """Yield the items of every benchmark below `folder`, an Unreadable for each file or record that is broken."""
    raise NotImplementedError
