"""A dialogue as a trainer takes it, or the reason why none may have it.

rr       the messages of rr_dialogues
orr      the messages of orr_dialogues
answer   the control: the user turn of orr_dialogues and its bare answer, without the system prompt
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mmat_dagster import wire
from mmat_dagster.media_marks import MEDIA_MARKS
from mmat_dagster.release.reading import ReleasedDialogue
from mmat_dagster.schema import DatasetName, Dialogue, ImageRef, Message, OrrDialogue, SourceName
from mmat_dagster.training.control import answer_only
from mmat_dagster.training.spec import TrainingFormat

DATASETS: Mapping[TrainingFormat, DatasetName] = {
    "rr": "rr_dialogues",
    "orr": "orr_dialogues",
    "answer": "orr_dialogues",
}

LossReason = Literal[
    "media mark in the text",
    "image marks do not match the images",
    "roles out of order",
    "missing image",
    "image changed",
    "images on both sides of the split",
]


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """A dialogue of the store or of a release, in what an export needs; `is_held_out` where its release has said so."""

    id: str
    source: SourceName
    part: str
    licence: str
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]
    is_held_out: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A dialogue that is not exported, and why; one line of dropped.jsonl."""

    id: str
    source: SourceName
    reason: LossReason
    detail: str


class NotExportable(Exception):
    """A trainer would misread a dialogue, or find it without its images."""

    def __init__(self, reason: LossReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: LossReason = reason
        self.detail = detail


def of_store(dialogue: Dialogue | OrrDialogue) -> Exportable:
    """Return a dialogue of the store."""
    return Exportable(
        id=dialogue.id,
        source=dialogue.source,
        part=dialogue.sample.part,
        licence=dialogue.sample.licence,
        messages=dialogue.messages,
        images=dialogue.images,
    )


def of_release(dialogue: ReleasedDialogue) -> Exportable:
    """Return a dialogue of a release."""
    return Exportable(
        id=dialogue.id,
        source=dialogue.source,
        part=dialogue.part,
        licence=dialogue.licence,
        messages=dialogue.messages,
        images=dialogue.images,
        is_held_out=dialogue.side == "val",
    )


def messages_of(dialogue: Dialogue | OrrDialogue | Exportable, form: TrainingFormat) -> tuple[Message, ...]:
    """Return what a student is to learn from a dialogue."""
    return answer_only(dialogue.messages) if form == "answer" else dialogue.messages


def check_messages(messages: Sequence[Message], image_count: int) -> None:
    """Raise NotExportable where a trainer would take the messages for something else than they are."""
    _check_roles(messages)
    for message in messages:
        mark = next((mark for mark in MEDIA_MARKS if mark in message.content), None)
        if mark is not None:
            raise NotExportable("media mark in the text", f"{message.role}: {_around(message.content, mark)}")
    _check_image_marks(messages, image_count)


def _check_roles(messages: Sequence[Message]) -> None:
    """Both trainers want user and assistant in turn after at most one system prompt, and skip or cut anything else."""
    roles = [message.role for message in messages]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or len(talk) % 2 or talk != ["user", "assistant"] * (len(talk) // 2):
        raise NotExportable("roles out of order", ", ".join(roles) or "no message")


def _check_image_marks(messages: Sequence[Message], image_count: int) -> None:
    """Every image has its mark, all of them before the first question: anywhere else the text itself holds one."""
    opening = next(message for message in messages if message.role == "user")
    head = wire.IMAGE * image_count
    found = sum(message.content.count(wire.IMAGE) for message in messages)
    if found != image_count or not opening.content.startswith(head):
        raise NotExportable("image marks do not match the images", f"{found} marks, {image_count} images")


def _around(text: str, mark: str) -> str:
    at = text.index(mark)
    return repr(text[max(0, at - 40) : at + len(mark) + 40])
