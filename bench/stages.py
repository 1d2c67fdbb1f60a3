"""What the engine itself costs, and whether its memory grows with the source.

    python bench/stages.py [ROWS ...]        default 5000 20000

Source QA to ORR of generated TabMWP problems with an OCR that answers at once, so that only the engine works, beside a
bare loop over the same files: json, Pillow's decoder, one Parquet file. Each runs in a process of its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
ROW = "{:>8}  {:<8} {:>12} {:>10} {:>12}"


def write_source(folder: Path, rows: int, pictures: int = 100) -> None:
    """Write `rows` problems over so many small pictures in TabMWP's layout."""
    tables = folder / "tabmwp" / "tables"
    tables.mkdir(parents=True)
    problems: dict[str, Any] = {}
    for number in range(1, rows + 1):
        picture = tables / f"{number}.png"
        if number <= pictures:
            Image.new("RGB", (200 + number, 120), "white").save(picture)
        else:
            picture.hardlink_to(tables / f"{number % pictures + 1}.png")
        problems[str(number)] = {
            "question": f"How much do {number} kilograms of sand cost?",
            "choices": None,
            "answer": str(2 * number),
            "unit": "$",
            "table_title": None,
            "table": "sand | $2\ngravel | $3",
            "solution": f"Multiply the price by the weight.\n$2 × {number} = ${2 * number}\nThey cost ${2 * number}.",
            "ques_type": "free_text",
            "ans_type": "integer_number",
            "split": "train",
        }
    (folder / "tabmwp" / "problems_train.json").write_text(json.dumps(problems))


def run_engine(folder: Path) -> None:
    """Build all four datasets."""
    from mmat_dagster.pipeline import Pipeline, Settings  # noqa: PLC0415
    from mmat_dagster.teachers.annotations import AnnotationsTeacher  # noqa: PLC0415
    from resources.store import LocalStore  # noqa: PLC0415
    from tests.fakes import ToldRetriever  # noqa: PLC0415
    from tests.test_pipeline import EndlessOcr  # noqa: PLC0415

    store = folder / "store"
    pipeline = Pipeline(
        sources=folder,
        store=LocalStore(root=str(store)),
        teacher=AnnotationsTeacher(),
        operators={"ocr": EndlessOcr()},
        search=ToldRetriever(),
        settings=Settings(),
    )
    for _ in pipeline.build("orr_dialogues", "tabmwp", lambda _: None):
        pass


def run_bare(folder: Path) -> None:
    """Read the same problems and pictures, and write one Parquet file."""
    rows = []
    for pid, problem in json.loads((folder / "tabmwp" / "problems_train.json").read_text()).items():
        with Image.open(folder / "tabmwp" / "tables" / f"{pid}.png") as image:
            image.load()
        rows.append({"id": pid, "question": problem["question"], "answer": problem["answer"]})
    pq.write_table(pa.Table.from_pylist(rows), folder / "bare.parquet", compression="zstd")


def measure(kind: str, folder: Path) -> tuple[float, float]:
    """Return CPU seconds and peak memory in MB of one kind of run, in a process of its own."""
    command = [sys.executable, __file__, f"--{kind}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    cpu, peak = done.stdout.split()[-2:]
    return float(cpu), float(peak)


def main(sizes: list[int]) -> None:
    """Print the table."""
    print(ROW.format("rows", "what", "CPU s", "peak MB", "CPU us/row"))
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            write_source(Path(name), size)
            for kind in ("bare", "engine"):
                cpu, peak = measure(kind, Path(name))
                print(ROW.format(size, kind, f"{cpu:.1f}", f"{peak:.0f}", f"{cpu / size * 1e6:.0f}"), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    runs = {"--engine": run_engine, "--bare": run_bare}
    if len(sys.argv) > 1 and sys.argv[1] in runs:
        started = time.process_time()
        runs[sys.argv[1]](Path(sys.argv[2]))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(time.process_time() - started, peak_mb)
    else:
        main([int(size) for size in sys.argv[1:]] or [5000, 20000])
