"""Parts of the training process put together for tests: a student's processor, its plan and its batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from accelerate import PartialState
from PIL import Image

from mmat_dagster.fingerprints import ENGINE
from mmat_dagster.schema import Dialogue, ImageRef
from mmat_dagster.training.process.batches import Batches
from mmat_dagster.training.process.conversations import Reading, Shelf
from mmat_dagster.training.process.measuring import Plan, Ruler, make_plan
from mmat_dagster.training.process.order import order_of
from mmat_dagster.training.process.templates import training_template
from mmat_dagster.training.process.tiny import make_processor
from mmat_dagster.training.spec import PLAN, Student, TrainingRun
from mmat_dagster.training.students import STUDENTS
from tests.learnable import learnable
from tests.pictures import encoded, photo
from tests.tiny_students import byte_tokenizer, idefics3_processor, trl_template

SEES = Student(name="sees")
READS = Student(name="reads", modality="text")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A student as far as batches are concerned."""

    student: Student
    processor: Any

    @property
    def template(self) -> str:
        """Return the chat template that it is trained with."""
        return training_template(self.processor, self.student)

    def ruler(self, run: TrainingRun) -> Ruler:
        """Return what measures its dialogues."""
        return Ruler(self.processor, self.template, run)

    def plan(self, run: TrainingRun, folder: Path, told: list[str] | None = None) -> Plan:
        """Return what of `run` can be learned from."""
        tell = told.append if told is not None else lambda line: None
        return make_plan(run, self.ruler(run), folder / PLAN, PartialState(cpu=True), tell)

    def batches(self, run: TrainingRun, plan: Plan, folder: Path, processor: Any = None) -> Batches:
        """Return what makes the batches of `run`, with its own processor or what stands for it."""
        shelf = Shelf(run.data, Reading(format=run.format, modality=run.student.modality), kept=2)
        return Batches(run, shelf, order_of(run, plan), processor or self.processor, self.template, folder)


def tiny() -> Reader:
    """Return the student that is made here."""
    return Reader(student=STUDENTS["tiny"], processor=make_processor())


def tiler() -> Reader:
    """Return a student whose images take more tokens the larger they are."""
    return Reader(student=SEES, processor=idefics3_processor(trl_template("idefics3"), "<|begin_of_text|>"))


def reader() -> Reader:
    """Return a student that reads only."""
    template = (ENGINE / "training" / "process" / "templates" / "smollm2.jinja").read_text("utf-8")
    return Reader(student=READS, processor=byte_tokenizer(["<|im_start|>"], "<|im_end|>", template))


READERS = {"tiny": tiny, "tiler": tiler, "reader": reader}


@cache
def reader_named(name: str) -> Reader:
    """Return the student of that name, made once."""
    return READERS[name]()


def with_pictures(folder: Path, dialogue: Dialogue, files: Sequence[tuple[bytes, tuple[int, int]]]) -> Dialogue:
    """Return `dialogue` about other pictures: files and their sizes."""
    return replace(dialogue, images=tuple(_put(folder / "images", *file) for file in files))


def about_photos(folder: Path, number: int, *sizes: tuple[int, int]) -> Dialogue:
    """Return a dialogue about photos of these sizes."""
    pictured = [(encoded(photo(number, size)), size) for size in sizes]
    return with_pictures(folder, learnable(folder, number, len(sizes)), pictured)


def saying(dialogue: Dialogue, text: str) -> Dialogue:
    """Return `dialogue` with `text` in its last user turn."""
    *before, asked, answer = dialogue.messages
    return replace(dialogue, messages=(*before, replace(asked, content=asked.content + text), answer))


def without_pixels(size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a TIFF whose floating-point pixels are no numbers."""
    return encoded(Image.new("F", size, float("nan")), "TIFF")


def _put(folder: Path, data: bytes, size: tuple[int, int]) -> ImageRef:
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / sha256).write_bytes(data)
    return ImageRef(home="source", path=sha256, sha256=sha256, width=size[0], height=size[1])
