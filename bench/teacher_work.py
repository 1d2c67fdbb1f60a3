"""What the teacher benchmark asks: this project's own prompts, by number, so that nobody holds them all.

    python -m bench.teacher_work FOLDER      writes the pictures that the dialogues are about

A prompt has about 1,500 tokens. A single turn audits a finished reasoning, three turns are the steps of one.
"""

import hashlib
import sys
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from mmat_dagster.interfaces import ChatTurn, Pictures, ReplySchema
from mmat_dagster.schema import ImageRef, Observation, Round, Sample, SourceName, Step, Transcript, Turn
from mmat_dagster.teachers.replies import PRETENCE, STEP
from mmat_dagster.teachers.requests import render_next_step, render_pretence, render_results

PICTURES = 50
PICTURE_BYTES = 100_000
PICTURE_SIZE = (640, 480)
NOISE = 40
MAX_TURNS = 8

SAMPLE = Sample(
    id="tabmwp/1",
    source="tabmwp",
    part="train",
    question="",
    bare_question="",
    answers=("2",),
    answer_type="number",
    images=(),
    licence="CC BY-NC-SA 4.0",
)
LOOK = "I go through the list from the top, since the question asks for two of its lines and what they come to."
LINES = "; ".join(f"shelf {number}: {number * 7} kg of sand at ${number}.50 a bag" for number in range(1, 31))
EARLIER = tuple(
    Round(question=f"What does the line of shelf {number} say, word by word?", answer=f"{number * 7} kg at ${number}")
    for number in range(1, 16)
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Dialogues of `turns` requests each; those with a picture share PICTURES of them, which lie in `folder`."""

    turns: int
    has_picture: bool
    folder: Path

    @property
    def schema(self) -> ReplySchema:
        """What every reply follows."""
        return PRETENCE if self.turns == 1 else STEP

    def begin(self, number: int) -> tuple[ChatTurn, ...]:
        """Return the first request of dialogue `number`; no two numbers ask the same."""
        sample = self._sample(number)
        if self.turns > 1:
            return render_next_step(replace(sample, context=EARLIER), (), (), _Beside(self.folder), MAX_TURNS)
        return render_pretence(sample, _transcript(sample), _Beside(self.folder))

    def go_on(self, messages: tuple[ChatTurn, ...], reply: str, turn: int) -> tuple[ChatTurn, ...]:
        """Return the next request: the reply and a user message are added."""
        results = render_results((Observation(tool="ocr", text=LINES),), MAX_TURNS - turn)
        return (*messages, ChatTurn(role="assistant", text=reply), ChatTurn(role="user", text=results))

    def _sample(self, number: int) -> Sample:
        question = f"How many dollars do {number} kg of sand from shelf 3 and 2 kg from shelf 4 cost? Answer in digits."
        images = (_picture(self.folder, number % PICTURES),) if self.has_picture else ()
        return replace(SAMPLE, question=question, bare_question=question, images=images)


class _Beside(Pictures):
    """Finds pictures in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def locate(self, source: SourceName, image: ImageRef) -> Path:  # noqa: ARG002
        """Return the file."""
        return self._folder / image.path


def write_pictures(folder: Path) -> None:
    """Write noisy JPEGs of about PICTURE_BYTES each."""
    for number in range(PICTURES):
        (folder / f"{number}.jpg").write_bytes(_jpeg())


def _transcript(sample: Sample) -> Transcript:
    looked = Turn(
        step=Step(thought=LOOK, operators=("ocr",), signal="continue"),
        observations=(Observation(tool="ocr", text=LINES),),
    )
    ended = Turn(step=Step(thought="Shelf 3 and shelf 4 together cost $2.", signal="end"))
    return Transcript(question=sample.question, image_count=len(sample.images), turns=(looked, ended), answer="2")


@cache
def _picture(folder: Path, number: int) -> ImageRef:
    sha256 = hashlib.sha256((folder / f"{number}.jpg").read_bytes()).hexdigest()
    width, height = PICTURE_SIZE
    return ImageRef(home="source", path=f"{number}.jpg", sha256=sha256, width=width, height=height)


def _jpeg() -> bytes:
    """Return the JPEG of a new noise at the highest quality that keeps it below PICTURE_BYTES."""
    noise = Image.merge("RGB", [Image.effect_noise(PICTURE_SIZE, NOISE) for _ in range(3)])
    low, high = 1, 95
    while low < high:
        quality = (low + high + 1) // 2
        low, high = (quality, high) if len(_compressed(noise, quality)) <= PICTURE_BYTES else (low, quality - 1)
    return _compressed(noise, low)


def _compressed(picture: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


if __name__ == "__main__":
    write_pictures(Path(sys.argv[1]))
