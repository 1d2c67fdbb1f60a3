"""Dialogues as a trainer's conversations: read from Parquet parts, one row or one part at a time.

rr      system, user, assistant, user, ..., assistant: the wire form as it is
orr     system, user with the operators' results, assistant
answer  the same user turn, and of the assistant nothing but the answer: the control
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from mmat_dagster import wire
from mmat_dagster.schema import ImageRef, Message, Role, SourceName
from mmat_dagster.training.control import answer_only
from mmat_dagster.training.spec import BadRun, Ingredient, Modality, Shard, TrainingFormat

COLUMNS = ["id", "source", "messages", "images"]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One dialogue to learn from; the images stand before the first user turn's text."""

    id: str
    source: SourceName
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]
    has_results: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows become conversations."""

    format: TrainingFormat
    modality: Modality

    def conversation(self, row: dict[str, Any]) -> Conversation:
        """Return the conversation of a row with COLUMNS."""
        messages = tuple(Message(role=each["role"], content=each["content"]) for each in row["messages"])
        images = tuple(ImageRef(**each) for each in row["images"])
        has_results = any(_holds_results(each) for each in messages)
        return Conversation(
            id=row["id"],
            source=row["source"],
            messages=_without_marks(answer_only(messages) if self.format == "answer" else messages),
            images=images if self.modality == "vision" else (),
            has_results=has_results,
        )


def read_shard(shard: Shard, *, columns: Sequence[str] = COLUMNS) -> pa.Table:
    """Return a part's rows; raise BadRun where it is not there or not the one that the run was planned with."""
    try:
        filesystem, path = _filesystem(shard.path)
        with filesystem.open_input_file(path) as file:
            data = file.read()
    except (OSError, pa.ArrowInvalid) as error:
        raise BadRun(f"the dialogues {shard.path} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise BadRun(f"the dialogues {shard.path} are not those that this run was planned with: plan it anew")
    # In this thread alone: pyarrow's own threads can abort the process when it ends soon after (seen with pyarrow 26).
    with pq.ParquetFile(io.BytesIO(data), pre_buffer=False) as file:
        return file.read(columns=list(columns), use_threads=False)


class Shelf:
    """The rows of all shards, of which the `kept` read last are in memory."""

    def __init__(self, data: Sequence[Ingredient], reading: Reading, kept: int) -> None:
        self._shards = [(item, shard) for item in data for shard in item.shards]
        self._reading = reading
        self._kept = kept
        self._open: OrderedDict[int, pa.Table] = OrderedDict()

    def conversation(self, shard: int, row: int) -> Conversation:
        """Return one dialogue, by the number of its shard in the run's order and its row there."""
        return self._reading.conversation(self._table(shard).slice(row, 1).to_pylist()[0])

    def conversations(self, shard: int) -> Iterator[Conversation]:
        """Yield all dialogues of a shard."""
        for batch in self._table(shard).to_batches(max_chunksize=256):
            yield from map(self._reading.conversation, batch.to_pylist())

    def ingredient(self, shard: int) -> Ingredient:
        """Return what a shard belongs to."""
        return self._shards[shard][0]

    def _table(self, shard: int) -> pa.Table:
        if shard not in self._open:
            self._open[shard] = read_shard(self._shards[shard][1])
            if len(self._open) > self._kept:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]


def as_chat(
    conversation: Conversation, modality: Modality, images: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """Return the messages as chat templates take them: content parts for a vision student, plain text for another.

    `images` are loaded pictures, one per reference; without them an image part stays a placeholder.
    """
    if modality == "text":
        return [{"role": each.role, "content": each.content} for each in conversation.messages]
    loaded = [{"image": image} for image in images] if images is not None else [{} for _ in conversation.images]
    parts: list[dict[str, Any]] = [{"type": "image", **each} for each in loaded]
    chat = []
    for message in conversation.messages:
        before = parts if message.role == "user" else []
        parts = [] if message.role == "user" else parts
        chat.append({"role": message.role, "content": [*before, {"type": "text", "text": message.content}]})
    return chat


def _filesystem(path: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if "://" in path:
        filesystem, inside = pyarrow.fs.FileSystem.from_uri(path)
        return filesystem, inside
    return pyarrow.fs.LocalFileSystem(), path


def _holds_results(message: Message) -> bool:
    return message.role == "user" and (message.content.startswith("Here are ") or wire.API_OUTPUTS in message.content)


def _without_marks(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages without the `<image>` marks, which the wire form has at the head of the first user turn."""
    return tuple(Message(role=each.role, content=_unmarked(each.role, each.content)) for each in messages)


def _unmarked(role: Role, content: str) -> str:
    while role == "user" and content.startswith(wire.IMAGE):
        content = content.removeprefix(wire.IMAGE)
    return content
