"""What lies beside a checkpoint for people: the model card, and the picture of the loss."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import numpy as np
from huggingface_hub import ModelCard
from PIL import Image

from mmat_dagster.training.process.card import render_card
from mmat_dagster.training.process.metrics import draw_loss
from mmat_dagster.training.spec import Metrics, Outcome, Student
from tests.training_runs import training_run

RUN = training_run()
HUB = Student(name="qwen2.5-vl-3b", model="Qwen/Qwen2.5-VL-3B-Instruct", revision="abc")
OUTCOME = Outcome(
    state="done",
    step=60,
    max_steps=60,
    dialogues=1207,
    dropped={"missing image": 2, "longer than max_length": 1100},
    tokens=1_234_567,
    final_loss=0.12345,
)
LICENCES = {"Apache-2.0 over CC BY 4.0 (GQA), COCO's images": 7, "CC BY-NC-SA 4.0": 1200}


def card(**changes: Any) -> ModelCard:
    run = replace(RUN, **changes)
    base = run.student.model or "/store/students/tiny-0123"
    return ModelCard(render_card(run, base, OUTCOME, LICENCES, "torch 2.13.0"))


def rows(card: ModelCard) -> dict[str, str]:
    """Return the tables of a card: the rest of a row by its first cell."""
    lines = [line for line in card.text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: " | ".join(others) for first, *others in cells}


def test_the_front_matter_is_what_a_hub_reads() -> None:
    told: Any = card(student=HUB).data
    assert told.base_model == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert (told.library_name, told.pipeline_tag) == ("peft", "image-text-to-text")
    assert told.tags == ["mmat-1m", "rr", "sft", "trl", "lora"]


def test_a_text_student_trained_in_full_is_told_as_one() -> None:
    student = Student(name="smollm2", kind="smollm2", modality="text")
    told: Any = card(student=student, hyper=replace(RUN.hyper, method="full")).data
    assert (told.library_name, told.pipeline_tag) == ("transformers", "text-generation")


def test_no_folder_is_named_as_a_base_model() -> None:
    local: Any
    made: Any
    local, made = card(student=Student(name="mine", model="/models/mine")), card()
    assert not {"base_model"} & {*local.data.to_dict(), *made.data.to_dict()}
    assert (rows(local)["student"], rows(made)["student"]) == ("mine (mine)", "tiny (tiny-0123)")
    assert "/models" not in local.content
    assert "/store" not in made.content


def test_numbers_and_losses_are_told() -> None:
    told = rows(card(student=HUB))
    assert told["student"] == "qwen2.5-vl-3b (Qwen/Qwen2.5-VL-3B-Instruct at abc)"
    assert told["dialogues"] == "1,207 used; dropped: 1,100 longer than max_length, 2 missing image"
    assert told["tokens"] == "1,234,567"
    assert told["last loss"] == "0.1235 nats a token"
    assert told["trained with"] == "torch 2.13.0"
    assert told["tabmwp"] == "rr_dialogues | 3 | 1 | `f`"


def test_licences_stand_in_a_table_the_most_frequent_first() -> None:
    text = card().text
    heading, *lines = text[text.index("| licence |") :].splitlines()
    assert heading == "| licence | dialogues |"
    assert lines == [
        "|---|---:|",
        "| CC BY-NC-SA 4.0 | 1,200 |",
        "| Apache-2.0 over CC BY 4.0 (GQA), COCO's images | 7 |",
    ]


@pytest.mark.parametrize("form", ["rr", "orr", "answer"])
def test_every_format_is_explained(form: Any) -> None:
    begins = {"rr": "rr: rationale and", "orr": "orr: the same", "answer": "answer: the answer alone"}
    assert rows(card(format=form))["format"].startswith(begins[form])


def told_metrics(steps: int) -> list[Metrics]:
    return [
        Metrics(
            step=step,
            epoch=step / steps,
            loss=5.0 / step,
            learning_rate=1e-4,
            tokens=9 * step,
            tokens_per_second=3.0,
            memory_gb=1.0,
            seconds=2.0,
        )
        for step in range(1, steps + 1)
    ]


@pytest.mark.parametrize("steps", [1, 300])
def test_the_loss_is_drawn_large_enough_to_be_read(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "loss.png"
    draw_loss(told_metrics(steps), "rr_checkpoint of tabmwp, tiny", path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 700
        assert picture.height >= 450
        pixels = np.asarray(picture.convert("L"))
    assert 0.01 < (pixels < 200).mean() < 0.3
    assert path.stat().st_size < 200_000


def test_the_same_metrics_are_drawn_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "other.png"):
        draw_loss(told_metrics(5), "title", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
