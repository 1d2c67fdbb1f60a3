"""What a release costs in time and memory, beside a bare pyarrow rewrite of the same rows.

    python bench/release.py [ROWS] [IMAGES] [FOLDER]        default 300000 20000

Generated dialogues, RR and ORR, over distinct small pictures that several of them share. The bare loop reads the same
columns of the same parts, puts the same images in and writes one Parquet file a part with the same settings: no split,
no check of an image, no JSON Lines, no image files, no statistics. Each runs in a process of its own, in turns.
"""

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
ROW = "{:<8} {:>9} {:>9} {:>9} {:>9}"
PART = 5000
SIDE = 32
COLUMNS = ["id", "source", "messages", "images", "reflection", "teacher"]
SAMPLE = ["part", "licence", "question", "answers", "answer_type"]


def write_store(folder: Path, rows: int, images: int) -> None:
    """Write `rows` RR and ORR dialogues of TabMWP over `images` pictures of about 3 KB."""
    from mmat_dagster import parts  # noqa: PLC0415
    from mmat_dagster.parts import Manifest, Part  # noqa: PLC0415
    from resources.store import LocalStore  # noqa: PLC0415

    shown = write_pictures(folder / "sources" / "tabmwp" / "tables", images)
    store = LocalStore(root=str(folder / "store"))
    for dataset, table in (("rr_dialogues", rr_table()), ("orr_dialogues", orr_table())):
        made: list[Part] = []
        for start in range(0, rows, PART):
            part = renumbered(table, start, min(PART, rows - start), shown)
            name = f"part-{start // PART:05d}-bench"
            sink = pa.BufferOutputStream()
            pq.write_table(part, sink, compression="zstd")
            data = sink.getvalue().to_pybytes()
            store.write(f"{dataset}/tabmwp/{name}.parquet", data)
            made.append(
                Part(name=name, rows=len(part), rejected={}, census={}, sha256=hashlib.sha256(data).hexdigest())
            )
        parts.publish(store, Manifest(dataset=dataset, source="tabmwp", key="bench", parts=tuple(made)))  # type: ignore[arg-type]


def write_pictures(folder: Path, count: int) -> list[dict[str, object]]:
    """Write PNG files of noise, and return where they lie."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    shown: list[dict[str, object]] = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(noise.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path, compress_level=1)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shown.append({"home": "source", "path": f"tables/{path.name}", "sha256": digest, "width": SIDE, "height": SIDE})
    return shown


def rr_table() -> pa.Table:
    """Return a part of RR dialogues with different questions, all over one picture."""
    from mmat_dagster.records import to_table  # noqa: PLC0415
    from mmat_dagster.schema import Dialogue  # noqa: PLC0415

    return to_table(rr_dialogues(), Dialogue)


def orr_table() -> pa.Table:
    """Return the ORR dialogues of `rr_table`."""
    from mmat_dagster import prompts  # noqa: PLC0415
    from mmat_dagster.records import to_table  # noqa: PLC0415
    from mmat_dagster.schema import OrrDialogue  # noqa: PLC0415
    from mmat_dagster.stages.integration import integrate  # noqa: PLC0415

    system = prompts.render("orr_system")
    return to_table([integrate(dialogue, system) for dialogue in rr_dialogues()], OrrDialogue)


def rr_dialogues() -> list[Any]:
    """Return a part of dialogues that call OCR once, and reflect now and then."""
    from mmat_dagster import prompts, wire  # noqa: PLC0415
    from mmat_dagster.schema import Dialogue, Observation, Step, Transcript, Turn  # noqa: PLC0415
    from tests.builders import SAMPLE as BASE  # noqa: PLC0415

    system = prompts.render("rr_system", operators="ocr: reads what is printed\nlabel_bbox: finds what is named")
    made: list[Any] = []
    for number in range(PART):
        question = f"How much do {number} kilograms of sand and {number * 7 % 997} of gravel cost in all?"
        read = "; ".join(f"item {each} | ${number * each % 89 + 1}.{each:02d}" for each in range(1, 25))
        turns = (
            Turn(
                step=Step(
                    thought=f"I read the prices first, since {number} goods have one.",
                    operators=("ocr",),
                    signal="continue",
                ),
                observations=(Observation(tool="ocr", text=read),),
            ),
            Turn(step=Step(thought=f"Multiplying and adding gives {number * 3} dollars. " * 6, signal="end")),
        )
        said = Transcript(question=question, image_count=1, turns=turns, answer=str(number * 3))
        sample = replace(BASE, id=f"tabmwp/{number}", source="tabmwp", part="train", question=question)
        made.append(
            Dialogue(
                id=sample.id,
                source="tabmwp",
                messages=wire.render_rr(said, system),
                images=sample.images[:1],
                sample=sample,
                transcript=said,
                reflection="none" if number % 17 else "math",
                reflection_reason=None,
                teacher="annotations",
            )
        )
    return made


def renumbered(table: pa.Table, start: int, rows: int, shown: list[dict[str, object]]) -> pa.Table:
    """Return `rows` of the table with ids and pictures of their own."""
    table = table.slice(0, rows)
    ids = pa.array([f"tabmwp/{start + number}" for number in range(rows)])
    images = pa.array([[shown[(start + number) * 7919 % len(shown)]] for number in range(rows)], table["images"].type)
    table = table.set_column(table.schema.get_field_index("id"), "id", ids)
    return table.set_column(table.schema.get_field_index("images"), "images", images)


def run_release(folder: Path) -> None:
    """Make the release."""
    from mmat_dagster.images import PicturesOnDisk  # noqa: PLC0415
    from mmat_dagster.release.plan import Plan, find_data  # noqa: PLC0415
    from mmat_dagster.release.publishing import publish  # noqa: PLC0415
    from resources.store import LocalStore  # noqa: PLC0415

    store, root = LocalStore(root=str(folder / "store")), folder / "store"
    pictures = PicturesOnDisk(source_root=folder / "sources", store_root=root)
    publish(Plan(store=store, pictures=pictures, data=find_data(store)), tell_nobody)


def tell_nobody(source: object, done: int, total: int) -> None:
    """Report to nobody."""


def run_bare(folder: Path) -> None:
    """Rewrite the same rows with their images."""
    from mmat_dagster.release.shards import IMAGES, parquet_settings  # noqa: PLC0415

    out = folder / "bare"
    out.mkdir(exist_ok=True)
    settings = parquet_settings()
    for dataset in ("rr_dialogues", "orr_dialogues"):
        for path in sorted((folder / "store" / dataset / "tabmwp").glob("part-*.parquet")):
            with pq.ParquetFile(path) as file:
                table = file.read(columns=[*COLUMNS, *(f"sample.{name}" for name in SAMPLE)], use_threads=False)
            sample = table["sample"].combine_chunks()
            for name in SAMPLE:
                table = table.append_column(name, pc.struct_field(sample, name))
            refs: Any = table["images"].to_pylist()
            images = [
                [
                    {"bytes": (folder / "sources" / "tabmwp" / ref["path"]).read_bytes(), "path": ref["path"]}
                    for ref in row
                ]
                for row in refs
            ]
            column = pa.array(images, IMAGES)
            table = table.drop_columns(["sample"]).set_column(3, "images", column)
            pq.write_table(table, out / f"{dataset}-{path.name}", **settings, row_group_size=1000)


def measure(kind: str, folder: Path) -> tuple[float, float, float]:
    """Return wall and CPU seconds and peak memory in MiB of one kind of run, in a process of its own."""
    command = [sys.executable, __file__, f"--{kind}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    wall, cpu, peak = map(float, done.stdout.split()[-3:])
    return wall, cpu, peak


def main(rows: int, images: int, folder: Path) -> None:
    """Print the table."""
    write_store(folder, rows, images)
    print(f"{rows:,} RR and as many ORR dialogues over {images:,} pictures")
    print(ROW.format("what", "wall s", "CPU s", "peak MiB", "of bare"), flush=True)
    bare = 0.0
    for kind in ("bare", "release", "bare"):
        wall, cpu, peak = measure(kind, folder)
        bare = wall if kind == "bare" else bare
        print(ROW.format(kind, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{wall / bare:.2f}"), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    runs = {"--release": run_release, "--bare": run_bare}
    if len(sys.argv) > 1 and sys.argv[1] in runs:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        runs[sys.argv[1]](Path(sys.argv[2]))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(time.perf_counter() - begun, time.process_time() - begun_cpu, peak_mib)
    else:
        numbers = [int(each) for each in sys.argv[1:3]]
        wanted_rows, wanted_images = (*numbers, *(300_000, 20_000)[len(numbers) :])
        with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as name:
            main(wanted_rows, wanted_images, Path(name))
