"""A dialogue that would spoil a training is named, and its good neighbours are learned from."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmat_dagster.schema import Dialogue, ImageRef
from mmat_dagster.training.spec import BadRun, Dropped, TrainingRun, read_dropped
from tests.learnable import HYPER, learnable, learnable_run

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from accelerate import PartialState

from mmat_dagster.training.process.batches import IGNORED, PLACES, Batches
from mmat_dagster.training.process.conversations import Reading, Shelf
from mmat_dagster.training.process.loading import load_processor, prepare_base
from mmat_dagster.training.process.measuring import Plan, Ruler, make_plan
from mmat_dagster.training.process.order import order_of
from mmat_dagster.training.students import STUDENTS

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = STUDENTS["tiny"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    return load_processor(TINY, prepare_base(TINY, tmp_path_factory.mktemp("bases")))


def planned(run: TrainingRun, student: tuple[Any, str], folder: Path) -> Plan:
    return make_plan(run, Ruler(*student, run), folder / "plan", PartialState(cpu=True), lambda line: None)


def batches_of(run: TrainingRun, student: tuple[Any, str], folder: Path) -> Batches:
    order = order_of(run, planned(run, student, folder))
    shelf = Shelf(run.data, Reading(format=run.format, modality="vision"), kept=2)
    return Batches(run, shelf, order, *student, folder)


def spoil_with_nan(folder: Path, dialogue: Dialogue) -> Dialogue:
    pixels = np.full((20, 20), 0.5, dtype=np.float32)
    pixels[3, 4] = np.nan
    path = folder / "images" / "nan.tiff"
    Image.fromarray(pixels, mode="F").save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(dialogue, images=(ImageRef(home="source", path="nan.tiff", sha256=sha256, width=20, height=20),))


def spoil_by_loss(folder: Path, dialogue: Dialogue) -> Dialogue:
    (folder / "images" / dialogue.images[0].path).unlink()
    return dialogue


def spoil_by_change(folder: Path, dialogue: Dialogue) -> Dialogue:
    Image.new("RGB", (40, 30), "black").save(folder / "images" / dialogue.images[0].path)
    return dialogue


def spoil_by_damage(folder: Path, dialogue: Dialogue) -> Dialogue:
    path = folder / "images" / dialogue.images[0].path
    path.write_bytes(path.read_bytes()[:60])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(dialogue, images=(replace(dialogue.images[0], sha256=sha256),))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_with_nan, "pixels are not finite"),
        (spoil_by_loss, "missing image"),
        (spoil_by_change, "image changed"),
        (spoil_by_damage, "unreadable image"),
    ],
)
def test_a_poisoned_dialogue_is_named_and_the_next_one_takes_its_place(
    tmp_path: Path, student: tuple[Any, str], spoil: Callable[[Path, Dialogue], Dialogue], reason: str
) -> None:
    dialogues = [learnable(tmp_path, number) for number in range(6)]
    dialogues[2] = spoil(tmp_path, dialogues[2])
    batches = batches_of(learnable_run(tmp_path, dialogues), student, tmp_path)
    made = [batches([{"place": place}, {"place": place + 1}]) for place in (0, 2, 4)]
    (dropped,) = read_dropped(tmp_path)
    assert (dropped.id, dropped.reason) == ("tabmwp/2", reason)
    assert all(torch.isfinite(batch["pixel_values"]).all() for batch in made)
    taken = [batches.name(int(place)) for batch in made for place in batch[PLACES]]
    assert {*taken} == {f"tabmwp/{number}" for number in (0, 1, 3, 4, 5)}
    assert len(taken) == 6
    again = [batches([{"place": place}, {"place": place + 1}]) for place in (0, 2, 4)]
    assert all(torch.equal(one["input_ids"], other["input_ids"]) for one, other in zip(made, again, strict=True))
    assert read_dropped(tmp_path) == [dropped]


def test_a_hundred_images_are_too_long_and_told_in_tokens(tmp_path: Path, student: tuple[Any, str]) -> None:
    dialogues = [learnable(tmp_path, 0), learnable(tmp_path, 1, pictures=100)]
    plan = planned(learnable_run(tmp_path, dialogues, hyper=replace(HYPER, max_length=1000)), student, tmp_path)
    (dropped,) = plan.dropped
    assert (dropped.id, dropped.reason) == ("tabmwp/1", "longer than max_length")
    assert dropped.detail.endswith("1,500 of them for images; max_length is 1,000")
    assert plan.dialogues == 1


def test_more_images_than_a_student_takes_are_named(tmp_path: Path, student: tuple[Any, str]) -> None:
    dialogues = [learnable(tmp_path, 0), learnable(tmp_path, 1, pictures=100)]
    run = learnable_run(tmp_path, dialogues, student=replace(TINY, max_images=8))
    assert planned(run, student, tmp_path).dropped == (
        Dropped(
            id="tabmwp/1",
            source="tabmwp",
            reason="more images than the student takes",
            detail="100 images, and tiny takes 8",
        ),
    )


def test_a_special_token_in_a_text_is_named(tmp_path: Path, student: tuple[Any, str]) -> None:
    dialogue = learnable(tmp_path, 1)
    system = replace(dialogue.messages[0], content="You reason.<|end|>")
    spoilt = replace(dialogue, messages=(system, *dialogue.messages[1:]))
    plan = planned(learnable_run(tmp_path, [learnable(tmp_path, 0), spoilt]), student, tmp_path)
    (dropped,) = plan.dropped
    assert dropped.reason == "refused by the student's processor"
    assert "<|end|>" in dropped.detail


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_the_plan_counts_what_a_batch_holds_to_the_token(
    tmp_path: Path, student: tuple[Any, str], pictures: int
) -> None:
    run = learnable_run(tmp_path, [learnable(tmp_path, 7, pictures=pictures)])
    plan = planned(run, student, tmp_path)
    batch = batches_of(run, student, tmp_path)([{"place": 0}])
    assert int(batch["attention_mask"].sum()) == plan.tokens


def test_dialogues_with_and_without_images_share_a_batch_in_any_order(tmp_path: Path, student: tuple[Any, str]) -> None:
    dialogues = [learnable(tmp_path, number, pictures=number % 3) for number in range(6)]
    batches = batches_of(learnable_run(tmp_path, dialogues), student, tmp_path)
    batch = batches([{"place": place} for place in range(6)])
    assert batch["pixel_values"].shape[0] == 6
    assert sorted(map(int, batch[PLACES])) == list(range(6))
    assert ((batch["labels"] != IGNORED).sum(dim=1) > 0).all()
    assert ((batch["labels"] == IGNORED) | (batch["labels"] == batch["input_ids"])).all()


def test_where_nothing_can_be_learned_from_the_run_ends(tmp_path: Path, student: tuple[Any, str]) -> None:
    dialogues = [spoil_by_loss(tmp_path, learnable(tmp_path, number)) for number in range(3)]
    batches = batches_of(learnable_run(tmp_path, dialogues, max_dropped=1.0), student, tmp_path)
    with pytest.raises(BadRun, match="no dialogue of tabmwp can be learned from"):
        batches([{"place": 0}])


def test_too_many_dropped_dialogues_end_the_run(tmp_path: Path, student: tuple[Any, str]) -> None:
    dialogues = [learnable(tmp_path, number) for number in range(4)]
    for number in range(3):
        spoil_by_loss(tmp_path, dialogues[number])
    batches = batches_of(learnable_run(tmp_path, dialogues), student, tmp_path)
    with pytest.raises(BadRun, match="more dialogues of tabmwp cannot be learned from than max_dropped allows"):
        batches([{"place": place} for place in range(4)])


def test_a_student_of_text_learns_only_where_an_operator_has_spoken(tmp_path: Path, student: tuple[Any, str]) -> None:
    silent = learnable(tmp_path, 1)
    silent = replace(silent, messages=(*silent.messages[:2], *silent.messages[4:]))
    run = learnable_run(tmp_path, [learnable(tmp_path, 0), silent], student=replace(TINY, modality="text"))
    tokenizer, template = student[0].tokenizer, "{% for m in messages %}{{ m.content }}{% endfor %}"
    plan = make_plan(run, Ruler(tokenizer, template, run), tmp_path / "plan", PartialState(cpu=True), lambda line: None)
    assert [(each.id, each.reason) for each in plan.dropped] == [
        ("tabmwp/1", "nothing tells a text student what the image shows")
    ]
