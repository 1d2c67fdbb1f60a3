"""One loop of bench/sources.py in a process of its own: python -m bench.source_loops KIND SOURCE FOLDER.

Prints rows, CPU seconds and the peak of memory in MB. Nothing is imported that the loop does not need.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def read_bare(name: str, folder: Path) -> int:
    """Go through the source's files with their format's library; return the rows."""
    if name == "the_cauldron":
        return sum(_count_parquet(path) for path in sorted(folder.glob("*/*.parquet")))
    if name == "tabmwp":
        return _count_object(folder / "problems_train.json")
    lines = {path: _count_lines(path) for path in sorted(folder.rglob("*.jsonl"))}
    return sum(count for path, count in lines.items() if not path.stem.endswith("_withkb"))


def read_ours(name: str, folder: Path) -> int:
    """Go through the source with its reader; return the rows and fail where a record was rejected."""
    from mmat_dagster.schema import SourceRecord  # noqa: PLC0415
    from mmat_dagster.sources import READERS  # noqa: PLC0415

    (reader,) = (reader for reader in READERS.values() if reader.name == name)
    rows = 0
    for record in reader.read(folder):
        assert isinstance(record, SourceRecord), record
        # A later question of a row bears its number.
        rows += "#" not in record.id
    return rows


LOOPS: dict[str, Callable[[str, Path], int]] = {"bare": read_bare, "ours": read_ours}


def _count_lines(path: Path) -> int:
    import orjson  # noqa: PLC0415

    rows = 0
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
            rows += 1
    return rows


def _count_object(path: Path) -> int:
    import orjson  # noqa: PLC0415

    return sum(1 for _ in orjson.loads(path.read_bytes()).items())


def _count_parquet(path: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with pq.ParquetFile(path) as file:
        return sum(1 for batch in file.iter_batches(use_threads=False) for _ in batch.to_pylist())


def _import_libraries(kind: str, name: str) -> None:
    modules = {"ours": "mmat_dagster.sources", "bare": "pyarrow.parquet" if name == "the_cauldron" else "orjson"}
    import_module(modules[kind])


def _peak_mb() -> float:
    """Return the peak of this program alone: that of getrusage begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(kind: str, name: str, folder: str) -> None:
    """Run the loop and print what it took."""
    _import_libraries(kind, name)
    started = time.process_time()
    rows = LOOPS[kind](name, Path(folder))
    print(rows, time.process_time() - started, _peak_mb())


if __name__ == "__main__":
    main(*sys.argv[1:])
