"""What a run names by URI, brought to a machine: parts of dialogues, and the images that they show."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmat_dagster.roots import OutsideRoot, below
from mmat_dagster.training.spec import Ingredient, Shard, TrainingRun
from resources.bucket import Bucket
from resources.kept_training import open_bucket_at

# So many files are on their way at once, and so many more wait for that.
AT_ONCE = 10
WAITING = 64
COMING = ".coming"

Scratch = Callable[[str], Path]


def bring_data(run: TrainingRun, scratch: Scratch, say: Callable[[str], None]) -> TrainingRun:
    """Return the run with paths of this machine, all that it names by URI brought to where `scratch` has it.

    An image that is not there is left to the training, which leaves its dialogue out by name. Raises StoreError.
    """
    data = tuple(_bring_shards(item, scratch) for item in run.data)
    if run.student.modality == "vision":
        for home, roots in (("store", {item.source: run.store_images for item in run.data}), ("source", _roots(run))):
            for item in data:
                count = _bring_images(item, home, roots[item.source], scratch)
                if count:
                    say(f"{count:,} images of {item.source} were brought from {roots[item.source]}")
    here = tuple(replace(item, images=_here(item.images, scratch)) for item in data)
    return replace(run, data=here, store_images=_here(run.store_images, scratch))


def _roots(run: TrainingRun) -> dict[Any, str]:
    return {item.source: item.images for item in run.data}


def _here(place: str, scratch: Scratch) -> str:
    return str(scratch(place)) if "://" in place else place


def _bring_shards(item: Ingredient, scratch: Scratch) -> Ingredient:
    return replace(item, shards=tuple(_bring_shard(shard, scratch) for shard in item.shards))


def _bring_shard(shard: Shard, scratch: Scratch) -> Shard:
    if "://" not in shard.path:
        return shard
    folder, _, name = shard.path.rpartition("/")
    _bring(open_bucket_at(folder), name, scratch(folder))
    return replace(shard, path=str(scratch(shard.path)))


def _bring_images(item: Ingredient, home: str, root: str, scratch: Scratch) -> int:
    """Bring the images of one home that dialogues show, where that is a bucket; return how many were not here yet."""
    if "://" not in root:
        return 0
    bucket, folder = open_bucket_at(root), scratch(root)
    coming: deque[Future[bool]] = deque()
    brought = 0
    with ThreadPoolExecutor(AT_ONCE, "images") as threads:
        for name in dict.fromkeys(_names(item, home)):
            coming.append(threads.submit(_bring_image, bucket, name, folder))
            if len(coming) >= AT_ONCE + WAITING:
                brought += coming.popleft().result()
        brought += sum(each.result() for each in coming)
    return brought


def _names(item: Ingredient, home: str) -> Iterator[str]:
    for shard in item.shards:
        with pq.ParquetFile(shard.path, pre_buffer=False) as file:
            rows: Any = file.read(columns=["images"], use_threads=False).column("images").to_pylist()
        yield from (image["path"] for row in rows for image in row if image["home"] == home)


def _bring_image(bucket: Bucket, name: str, folder: Path) -> bool:
    with suppress(FileNotFoundError, OutsideRoot):
        return _bring(bucket, name, folder)
    return False


def _bring(bucket: Bucket, name: str, folder: Path) -> bool:
    """Bring an object whose bytes never change, whole or not at all; return whether it was not here."""
    path = below(folder, name)
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{COMING}-{path.name}")
    bucket.load(name, beside)
    beside.replace(path)
    return True
