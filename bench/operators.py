"""How well and how fast operators see, beside the bare libraries, all in one run; and the search's own measures.

    python -m bench.operators [--data DIR] [--tables 100] [--speed-images 40] [--rounds 3] [PART ...]

accuracy   cells of TabMWP's tables, words of SROIE's receipts, annotated faces: by operator and library
speed      images/s through the whole operator path (cache off) with 1 and 2 workers, beside the bare library's loop in
           1 and 2 processes; CPU seconds of all processes that take part
cache      looks/s that the cache answers, through the same path
search     BM25 on XQuAD: bench/search.py

The published pictures are read where DIR holds them (default: ../shared/data).
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import operator_truth as truth

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
# On shared cores two threads spin against each other: every process that is compared has one.
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ROW = "| {:<30} | {:<22} | {:>24} | {:>24} |"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What one process and its workers took for `images`: wall and CPU seconds, without starting up."""

    images: int
    wall_s: float
    cpu_s: float


def main() -> None:
    """Measure what was asked for."""
    options = _options()
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "accuracy": measure_accuracy,
        "speed": measure_speed,
        "cache": measure_cache,
        "search": measure_search,
    }
    for name in options.parts or parts:
        parts[name](options)
        print(flush=True)


def measure_accuracy(options: argparse.Namespace) -> None:
    """Print what operator and library find of what is annotated."""
    print(f"accuracy ({options.data})")
    print(ROW.format("pictures", "measure", "operator", "bare library"))
    tables = truth.read_tables(options.data / "sources" / "tabmwp", options.tables)
    images = [table.image for table in tables]
    ours, bare = _see("ocr", images), _see_barely("ocr", images)
    for title, wanted in (("cells", bool), ("numeric cells", truth.is_number)):
        counted = [
            sum(
                (truth.cells_found(filter(wanted, table.cells), text) for table, text in _pairs(tables, each)),
                truth.NOTHING,
            )
            for each in (ours, bare)
        ]
        print(ROW.format(f"TabMWP, {len(tables)} tables", title, *map(str, counted)), flush=True)
    _receipts(options)
    _faces(options)


def _receipts(options: argparse.Namespace) -> None:
    texts = options.data / "operators" / "ocr" / "sroie"
    receipts = truth.read_receipts(texts, options.data / "sources" / "visual_cot" / "cot" / "sroie")
    images = [receipt.image for receipt in receipts]
    counted = [
        sum(
            (truth.word_recall(receipt.lines, _pieces(text)) for receipt, text in _pairs(receipts, each)), truth.NOTHING
        )
        for each in (_see("ocr", images), _see_barely("ocr", images))
    ]
    print(ROW.format(f"SROIE, {len(receipts)} receipts", "words", *map(str, counted)), flush=True)


def _faces(options: argparse.Namespace) -> None:
    photos = truth.read_photos(options.data / "operators" / "face_detection" / "dlib_faces")
    images = [photo.image for photo in photos]
    for_each = [
        [truth.matches(photo, _boxes(text)) for photo, text in _pairs(photos, each)]
        for each in (_see("face_detection", images), _see_barely("face_detection", images))
    ]
    whole = [_sum(each) for each in for_each]
    title = f"{len(photos)} photos, {whole[0].annotated} faces"
    print(ROW.format(title, "recall at IoU 0.3", *(f"{each.recall:.3f}" for each in whole)))
    print(ROW.format(title, "precision at IoU 0.3", *(f"{each.precision:.3f}" for each in whole)), flush=True)


def _sum(matches: Sequence[truth.Matches]) -> truth.Matches:
    total = matches[0]
    for each in matches[1:]:
        total += each
    return total


def _pairs(things: Sequence[Any], texts: dict[str, str]) -> Iterable[tuple[Any, str]]:
    return ((thing, texts[str(thing.image)]) for thing in things)


def _pieces(text: str) -> list[str]:
    return re.split(r" \| |; ", text)


def _boxes(text: str) -> list[truth.Region]:
    found = [tuple(map(float, re.findall(r"\d+", box))) for box in re.findall(r"\[[^]]+\]", text)]
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in found]


def measure_speed(options: argparse.Namespace) -> None:
    """Print images/s and CPU of operator and library, medians of rounds in which each kind runs once."""
    print(f"speed: medians of {options.rounds} rounds, {os.cpu_count()} cores")
    row = "| {:<15} | {:<24} | {:>9} | {:>12} | {:>17} | {:>16} |"
    print(row.format("operator", "kind", "images/s", "CPU ms/image", "CPU, ours : bare", "wall, bare : ours"))
    with tempfile.TemporaryDirectory() as name:
        for operator, images in _pictures(options, Path(name)).items():
            kinds = [("bare", 1), ("ours", 1), ("bare", 2), ("ours", 2)]
            rounds = [[_timed(kind, operator, images, count) for kind, count in kinds] for _ in range(options.rounds)]
            for number, (kind, count) in enumerate(kinds):
                _print_speed(row, operator, f"{kind}, {count} {_workers(kind, count)}", number, rounds)


def _workers(kind: str, count: int) -> str:
    noun = "worker" if kind == "ours" else "process"
    return noun if count == 1 else {"worker": "workers", "process": "processes"}[noun]


def _print_speed(row: str, operator: str, title: str, number: int, rounds: Sequence[Sequence[Speed]]) -> None:
    own = [each[number] for each in rounds]
    rate = statistics.median(each.images / each.wall_s for each in own)
    cpu = statistics.median(each.cpu_s / each.images for each in own) * 1000
    cells = ["", ""]
    if number % 2:  # ours stands behind the bare loop that it is compared with
        before = [each[number - 1] for each in rounds]
        pairs = list(zip(own, before, strict=True))
        cells[0] = f"{statistics.median(us.cpu_s / them.cpu_s for us, them in pairs):.3f}"
        cells[1] = f"{statistics.median(them.wall_s / us.wall_s for us, them in pairs):.3f}"
    print(row.format(operator, title, f"{rate:.2f}", f"{cpu:.1f}", *cells), flush=True)


def _pictures(options: argparse.Namespace, folder: Path) -> dict[str, list[Path]]:
    """Return the tables for OCR, and each photo eight times, as files of other bytes and the same pixels."""
    tables = truth.read_tables(options.data / "sources" / "tabmwp", options.speed_images)
    photos = truth.read_photos(options.data / "operators" / "face_detection" / "dlib_faces")
    copies: list[Path] = []
    for number in range(max(1, 8 * options.speed_images // (5 * len(photos)))):
        for photo in photos:
            copy = folder / f"{number}-{photo.image.name}"
            shutil.copyfile(photo.image, copy)
            with copy.open("ab") as file:
                file.write(b"\0" * number)
            copies.append(copy)
    return {"ocr": [table.image for table in tables], "face_detection": copies}


def _timed(kind: str, operator: str, images: Sequence[Path], count: int) -> Speed:
    """Run one kind in processes of its own: ours in one with `count` workers, the bare loop in `count` at once."""
    shares = [images] if kind == "ours" else [images[start::count] for start in range(count)]
    command = [sys.executable, "-m", "bench.operator_runs", kind, operator, str(count)]
    processes = [
        subprocess.Popen(  # noqa: S603
            [*command, *map(str, share)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=ONE_THREAD
        )
        for share in shares
    ]
    told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    return Speed(
        images=len(images), wall_s=max(each["wall_s"] for each in told), cpu_s=sum(each["cpu_s"] for each in told)
    )


def measure_cache(options: argparse.Namespace) -> None:  # noqa: ARG001
    """Print how many looks/s the cache answers, at the second pass over as many images."""
    done = _run("cache", "ocr", 1, [])
    looks = done["looks"]
    print(f"cache: {looks / done['wall_s']:,.0f} looks/s, {done['cpu_s'] / looks * 1e3:.3f} ms CPU each")


def measure_search(options: argparse.Namespace) -> None:  # noqa: ARG001
    """Run the search's own benchmark."""
    subprocess.run([sys.executable, "-m", "bench.search"], check=True, cwd=ROOT)


def _see(operator: str, images: Sequence[Path]) -> dict[str, str]:
    texts: dict[str, str] = _run("ours", operator, 0, images)["texts"]
    return texts


def _see_barely(operator: str, images: Sequence[Path]) -> dict[str, str]:
    count = min(os.cpu_count() or 1, len(images))
    with ThreadPoolExecutor(count) as threads:
        shares = [images[start::count] for start in range(count)]
        done = threads.map(lambda share: _run("bare", operator, 1, share)["texts"], shares)
        return {path: text for texts in done for path, text in texts.items()}


def _run(kind: str, operator: str, count: int, images: Sequence[Path]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.operator_runs", kind, operator, str(count), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=ONE_THREAD)  # noqa: S603
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["accuracy", "speed", "cache", "search"], metavar="PART")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--tables", type=int, default=100, help="how many of the 1,000 tables are read")
    parser.add_argument("--speed-images", type=int, default=40, help="pictures of a round")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
