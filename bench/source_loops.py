"""One loop of bench/sources.py in a process of its own: python -m bench.source_loops KIND SOURCE FOLDER.

Prints rows, CPU seconds, wall seconds and the peak of memory in MB. Nothing is imported that the loop does not need.
"""

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any


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


def hash_bare(name: str, folder: Path) -> int:
    """Go through the source as `read_bare` does, and hash the image of each record; return the records."""
    images = _parquet_images(folder) if name == "the_cauldron" else _image_files(name, folder)
    return sum(1 for image in images if hashlib.sha256(image).digest())


def ground(name: str, folder: Path, **settings: Any) -> int:
    """Make the samples of the source, as the asset does; return them and what was rejected."""
    from typing import cast  # noqa: PLC0415

    from mmat_dagster.schema import SourceName  # noqa: PLC0415
    from mmat_dagster.source_parts import SourceParts, SourceSettings  # noqa: PLC0415
    from resources.store import LocalStore  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as store:
        source = SourceParts(
            source=cast("SourceName", name),
            folder=folder,
            store=LocalStore(root=store),
            settings=SourceSettings(**settings),
        )
        made = source.make(source.key(source.state()), lambda _: None)
        return sum(part.rows + sum(part.rejected.values()) for part, _ in made)


LOOPS: dict[str, Callable[[str, Path], int]] = {
    "bare": read_bare,
    "ours": read_ours,
    "bare hashed": hash_bare,
    "not verified": partial(ground, verify_images=False),
    "verified 1": partial(ground, workers=1),
    "verified 2": partial(ground, workers=2),
}


def _image_files(name: str, folder: Path) -> Iterator[bytes]:
    """Yield the image of each record of a layout of lines or of one object."""
    import orjson  # noqa: PLC0415

    if name == "tabmwp":
        for key in orjson.loads((folder / "problems_train.json").read_bytes()):
            yield (folder / "tables" / f"{key}.png").read_bytes()
        return
    for path in sorted(folder.rglob("*.jsonl")):
        if path.stem.endswith("_withkb") or path.stem.startswith("Wiki"):
            continue
        with path.open("rb") as file:
            for line in file:
                yield (folder / IMAGE_PATHS[name](orjson.loads(line))).read_bytes()


IMAGE_PATHS: dict[str, Callable[[dict[str, Any]], str]] = {
    "visual_cot": lambda record: f"cot/{record['dataset']}/{record['image']}",
    "llava_cot": lambda record: str(record["image"]),
    "infoseek": lambda record: f"oven_images/{record['image_id'][5:7]}/{record['image_id']}.png",
}


def _parquet_images(folder: Path) -> Iterator[bytes]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    for path in sorted(folder.glob("*/*.parquet")):
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=64, use_threads=False):
                yield from (image["bytes"] for row in batch.to_pylist() for image in row["images"])


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
    bare = "pyarrow.parquet" if name == "the_cauldron" else "orjson"
    engine = "mmat_dagster.sources" if kind == "ours" else "mmat_dagster.source_parts"
    import_module(bare if kind.startswith("bare") else engine)


def _peak_mb() -> float:
    """Return the peak of this program alone: that of getrusage begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(kind: str, name: str, folder: str) -> None:
    """Run the loop and print what it took."""
    _import_libraries(kind, name)
    started, begun = time.process_time(), time.perf_counter()
    rows = LOOPS[kind](name, Path(folder))
    print(rows, time.process_time() - started, time.perf_counter() - begun, _peak_mb())


if __name__ == "__main__":
    main(*sys.argv[1:])
