"""How well and how fast pictures are told apart and found again, on the published data beside the project.

python -m bench.likeness FOLDER [--imagehash]     FOLDER holds sources/ and benchmarks/
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mmat_dagster.decontamination.pictures import PictureSearch
from mmat_dagster.likeness import likeness
from mmat_dagster.pixels import read_rgb
from tests.pictures import as_jpeg, bordered, scaled, trimmed

FILES = {
    "table": ["sources/tabmwp/tables/*.png", "benchmarks/tabmwp/tables/*.png"],
    "receipt": ["sources/visual_cot/cot/sroie/*.jpg"],
    "photo": ["benchmarks/blink/tasks/*/processed/*/image.jpg", "sources/infoseek/oven_images/**/*.*"],
    "mmmu": ["benchmarks/mmmu/mmmu-pro-tool/static/images/*.png"],
}
GEOMETRY = "sources/the_cauldron/intergps/train-00000-of-00001.parquet"
EVERY_TABLE = 4


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 90": lambda image: as_jpeg(image, 90),
    "JPEG 75": lambda image: as_jpeg(image, 75),
    "JPEG 50": lambda image: as_jpeg(image, 50),
    "50 %": lambda image: scaled(image, 0.5),
    "50 %, JPEG 75": lambda image: as_jpeg(scaled(image, 0.5), 75),
    "75 %": lambda image: scaled(image, 0.75),
    "150 %": lambda image: scaled(image, 1.5),
    "200 %": lambda image: scaled(image, 2.0),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "1 % cut": lambda image: trimmed(image, 0.01),
    "2 % cut": lambda image: trimmed(image, 0.02),
    "1 % border": lambda image: bordered(image, 0.01),
    "2 % border": lambda image: bordered(image, 0.02),
}


def read(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield the kind and the pixels of every picture, those of the same bytes once."""
    seen: set[bytes] = set()
    rows = pq.read_table(folder / GEOMETRY, use_threads=False).to_pylist()
    files = [("geometry", image["bytes"]) for row in rows for image in row["images"]]
    for kind, patterns in FILES.items():
        paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
        files += [(kind, path.read_bytes()) for path in paths]
    for kind, data in files:
        if data not in seen:
            seen.add(data)
            yield kind, read_rgb(data)


def tell_alarms(likenesses: list[bytes]) -> None:
    """Print how many pairs of different files are called alike; some are drawn from the same table and are right."""
    search = PictureSearch(likenesses)
    started = time.process_time()
    found = sum(len(search.find(one)) for one in likenesses)
    spent_ms = (time.process_time() - started) / len(likenesses) * 1000
    pairs = len(likenesses) * (len(likenesses) - 1) // 2
    print(f"{pairs:,} pairs, {(found - len(likenesses)) // 2} called alike, {spent_ms:.2f} ms a picture")


def tell_recall(pictures: list[tuple[str, Image.Image]], likenesses: list[bytes]) -> None:
    """Print the share of changed pictures that are found again, by kind."""
    kinds = list(dict.fromkeys(kind for kind, _ in pictures))
    chosen = [number for number, (kind, _) in enumerate(pictures) if kind != "table" or number % EVERY_TABLE == 0]
    print(f"{'found again':14}" + "".join(f"{kind:>10}" for kind in kinds))
    for name, change in CHANGES.items():
        hits: dict[str, list[bool]] = {kind: [] for kind in kinds}
        for number in chosen:
            kind, image = pictures[number]
            hits[kind].append(bool(PictureSearch([likenesses[number]]).find(likeness(change(image)))))
        print(f"{name:14}" + "".join(f"{np.mean(hits[kind]):10.0%}" for kind in kinds))


def tell_growth(likenesses: list[bytes], total: int) -> None:
    """Print what a search costs among `total` pictures, the further ones being blobs of the same shapes."""
    numbers = np.random.default_rng(0)
    blobs = [
        Image.fromarray(numbers.integers(0, 256, (12, 12), dtype=np.uint8)).resize((320, 240)).convert("RGB")
        for _ in range(total - len(likenesses))
    ]
    shapes = [numbers.choice(len(likenesses)) for _ in blobs]
    further = [likenesses[shape][:2] + likeness(blob)[2:] for shape, blob in zip(shapes, blobs, strict=True)]
    search = PictureSearch(likenesses + further)
    spent = []
    for one in likenesses:
        started = time.process_time()
        search.find(one)
        spent.append((time.process_time() - started) * 1000)
    print(
        f"among {total:,}: median {np.median(spent):.2f} ms, mean {np.mean(spent):.2f} ms, {max(spent):.1f} ms at most"
    )


def tell_imagehash(pictures: list[tuple[str, Image.Image]]) -> None:
    """Print what the 64 bits of imagehash.phash would call alike."""
    import imagehash  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415

    bits = np.array([np.packbits(imagehash.phash(image).hash.ravel()) for _, image in pictures]).view(np.uint64).ravel()
    turned = np.concatenate([np.bitwise_count(bits[at + 1 :] ^ bits[at]) for at in range(len(bits))])
    alike = {radius: int((turned <= radius).sum()) for radius in (0, 4, 8)}
    print("imagehash.phash calls alike, by turned bits allowed:", alike)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--imagehash", action="store_true", help="compare with the imagehash package")
    arguments = parser.parse_args()
    pictures = list(read(arguments.folder))
    started = time.process_time()
    likenesses = [likeness(image) for _, image in pictures]
    print(f"{len(pictures)} pictures, {(time.process_time() - started) / len(pictures) * 1000:.2f} ms a likeness")
    tell_alarms(likenesses)
    tell_growth(likenesses, 20_000)
    tell_recall(pictures, likenesses)
    if arguments.imagehash:
        tell_imagehash(pictures)


if __name__ == "__main__":
    main()
