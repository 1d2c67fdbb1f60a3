"""The entries of the reply ledger that belong to a dialogue: what the teacher's model was asked, and replied.

A ledger keeps replies by the hash of their request, not by dialogue. So the teacher is led through the dialogue once
more, with a model that answers from the ledger alone: what it asks then is what it asked when the dialogue was
written, as long as model, prompts and settings are the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from mmat_dagster.chat.replies import parse_reply
from mmat_dagster.chat.requests import ChatRequest, Parameters, request_key
from mmat_dagster.interfaces import ChatModel, ChatReply, ChatTurn, ReplySchema, RowError, Teacher
from mmat_dagster.ledger.kept_replies import KeptReply
from mmat_dagster.schema import Rationale, Transcript
from mmat_dagster.stages.reflection import is_mathematical
from mmat_dagster.tools import Operator

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request to the teacher's model, without its images' bytes, and the reply; None where the ledger has none."""

    task: str
    key: str
    messages: tuple[ChatTurn, ...]
    reply: KeptReply | None
    text: str


class NotKept(Exception):
    """The ledger holds no reply to a request."""


class KeptModel(ChatModel):
    """Answers from a ledger what was asked before, keeps what it is asked, and asks nobody."""

    def __init__(self, parameters: Parameters, find: Callable[[bytes], KeptReply | None]) -> None:
        self._parameters = parameters
        self._find = find
        self.exchanges: list[Exchange] = []

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self._parameters.model

    @property
    def version(self) -> str:
        """Nothing is made by it."""
        return "kept"

    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        """Return the reply that the ledger keeps; raise NotKept where it keeps none."""
        if self._parameters.image_detail == "none":
            messages = [replace(message, images=()) for message in messages]
        request = ChatRequest(messages=tuple(messages), schema=schema, sample_number=sample_number)
        key = request_key(self._parameters, request)
        kept = self._find(key)
        reply = None if kept is None else parse_reply(kept.status, kept.body)
        self.exchanges.append(
            Exchange(
                task=schema.name if schema else "reply",
                key=key.hex(),
                messages=request.messages,
                reply=kept,
                text="" if reply is None else reply.detail if isinstance(reply, RowError) else reply.text,
            )
        )
        if reply is None:
            raise NotKept
        return reply


def replay(
    rationale: Rationale, offered: Sequence[Operator], teacher: Teacher, model: KeptModel
) -> tuple[Exchange, ...]:
    """Lead `teacher`, who asks `model`, through a dialogue once more; return what was asked, in its order."""
    asyncio.run(_replay(rationale, offered, teacher))
    return tuple(model.exchanges)


async def _replay(rationale: Rationale, offered: Sequence[Operator], teacher: Teacher) -> None:
    sample, turns = rationale.sample, rationale.turns
    for made in range(len(turns)):
        await _tried(teacher.next_step(sample, turns[:made], offered))
    transcript = Transcript(
        question=sample.question, image_count=len(sample.images), turns=turns, answer=sample.answers[0]
    )
    pretence = await _tried(teacher.find_pretence(sample, transcript))
    if pretence is None and is_mathematical(sample, transcript):
        await _tried(teacher.find_skipped_calculation(sample, transcript))


async def _tried(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except NotKept:
        return None
