"""Whoever prompts a chat model about samples and their images: teacher and judge."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TypeVar

from mmat_dagster.chat.asking import ask
from mmat_dagster.interfaces import Asked, ChatModel, ChatTurn, Pictures, ReplySchema, RowError
from mmat_dagster.spending import BatchState, Spending

# What decides what is asked and how replies are read.
CHAT_CODE = (
    "chat/asking.py",
    "chat/prompting.py",
    "chat/replies.py",
    "chat/requests.py",
    "chat/scaling.py",
    "chat/schemas.py",
)

T = TypeVar("T")


class Prompting(Asked):
    """Asks `model` and shows it `pictures`; known by the model's name, and costs what it costs."""

    def __init__(self, *, model: ChatModel, pictures: Pictures) -> None:
        self._model = model
        self._pictures = pictures
        self._repaired = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.model_name

    @property
    def model(self) -> ChatModel:
        """The model."""
        return self._model

    @property
    def spending(self) -> Spending | None:
        """What the model has cost, and how many replies had to be asked for again."""
        spent = self._model.spending
        return spent and replace(spent, repaired=self._repaired)

    def session(self, label: str) -> AbstractAsyncContextManager[None]:
        """Open the model."""
        return self._model.session(label)

    async def tend_batches(self) -> tuple[BatchState, ...]:
        """Tend the model's batches."""
        return await self._model.tend_batches()

    async def _ask(
        self, messages: Sequence[ChatTurn], schema: ReplySchema, parse: Callable[[str], T | RowError]
    ) -> T | RowError:
        """Return the parsed reply; one that cannot be used is told so and asked for once more."""
        return await ask(self._model, messages, schema, parse, self._count_repair)

    def _count_repair(self) -> None:
        self._repaired += 1
