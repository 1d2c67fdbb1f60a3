"""Dialogues that a student can learn from: real pictures and a real Parquet part, in a folder of a test's own."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from mmat_dagster.records import to_table
from mmat_dagster.schema import Dialogue, ImageRef, Observation, Step, Transcript, Turn
from mmat_dagster.training.spec import HyperParameters, Ingredient, Shard, TrainingRun, dump_run
from mmat_dagster.training.students import STUDENTS
from tests.builders import make_sample, render_dialogue

SYSTEM = "Think in steps. You may call ocr."
HYPER = HyperParameters(
    learning_rate=1e-2,
    lora_dropout=0.1,
    max_length=2048,
    precision="fp32",
    gradient_checkpointing=False,
    liger=False,
    global_batch=2,
    max_steps=6,
)


def learnable_run(folder: Path, dialogues: Iterable[Dialogue] | None = None, **changes: Any) -> TrainingRun:
    """Write a part of `dialogues`, by default twelve, below `folder`, and return the run that learns from it."""
    records = list(dialogues) if dialogues is not None else [learnable(folder, number) for number in range(12)]
    part = folder / "part.parquet"
    pq.write_table(to_table(records, Dialogue), part)
    shard = Shard(path=str(part), rows=len(records), sha256=hashlib.sha256(part.read_bytes()).hexdigest())
    ingredient = Ingredient(
        source="tabmwp", dataset="rr_dialogues", fingerprint="0" * 16, images=str(folder / "images"), shards=(shard,)
    )
    run = TrainingRun(
        name="rr_checkpoint of tabmwp",
        mixture="tabmwp",
        student=STUDENTS["tiny"],
        format="rr",
        data=(ingredient,),
        store_images=str(folder),
        hyper=HYPER,
        accelerator="cpu",
    )
    return replace(run, **changes)


def learnable(folder: Path, number: int, pictures: int = 1) -> Dialogue:
    """Return an RR dialogue about `pictures` pictures, which are drawn into `folder`."""
    sample = make_sample(
        id=f"tabmwp/{number}",
        question=f"How much are {number} bags? Answer with a number.",
        answers=(str(2 * number),),
        images=tuple(_draw(folder / "images", f"{number}-{at}", number) for at in range(pictures)),
    )
    turns = (
        Turn(
            step=Step(thought="I read the prices first.", operators=("ocr",), signal="continue"),
            observations=(Observation(tool="ocr", text="bag | $2"),),
        ),
        Turn(step=Step(thought=f"A bag is $2, so {number} bags are ${2 * number}.", signal="end")),
    )
    said = Transcript(question=sample.question, image_count=pictures, turns=turns, answer=sample.answers[0])
    return render_dialogue(sample, said, SYSTEM, teacher="annotations")


def put_run(folder: Path, run: TrainingRun) -> Path:
    """Write run.json into the new folder of a run, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_bytes(dump_run(run))
    return folder / "run.json"


def _draw(folder: Path, name: str, shade: int) -> ImageRef:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    Image.new("RGB", (40, 30), (17 * shade % 256, 90, 200)).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageRef(home="source", path=path.name, sha256=sha256, width=40, height=30)
