"""Questions, students and tools for tests of examinations: no torch, no server."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from mmat_dagster.evaluation.answering import Manner
from mmat_dagster.evaluation.hosts import ServedStudent, StudentHost
from mmat_dagster.evaluation.questions import Question, prepare
from mmat_dagster.images import ImageShelf
from mmat_dagster.interfaces import ChatModel, ChatReply, ChatTurn, ReplySchema, RowError
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.scoring.benchmark import Item
from mmat_dagster.tools import Operator, Passage
from resources.store import LocalStore
from tests.fakes import ToldOperator, ToldRetriever

PASSAGE = Passage(id="p1", title="Sand", text="Sand is sold by the ton.")
AGENT = Manner(form="rr")

Reply = str | ChatReply | RowError


def make_item(**changes: object) -> Item:
    """Return an item over no image, with `changes`."""
    usual: dict[str, object] = {
        "id": "q1",
        "question": "How much is the sand?",
        "gold": ("2",),
        "answer_type": "number",
        "groups": {"category": ("prices",)},
    }
    return Item(**{**usual, **changes})  # type: ignore[arg-type]


def make_question(folder: Path, **changes: object) -> Question:
    """Return a question over one small picture, with `changes` of its item."""
    picture = folder / "table.png"
    if not picture.exists():
        Image.new("RGB", (20, 10), "white").save(picture)
    prepared = prepare(make_item(**{"images": (picture,), **changes}), ImageShelf(LocalStore(root=str(folder))))
    assert isinstance(prepared, Question)
    return prepared


def make_tools(*operators: Operator, found: Sequence[Passage] = (PASSAGE,)) -> Toolbox:
    """Return a toolbox of `operators`, an OCR that reads a price where none is named."""
    named = operators or (ToldOperator("sand $2"),)
    return Toolbox(operators={operator.name: operator for operator in named}, retriever=ToldRetriever(*found))


class AnsweringModel(ChatModel):
    """Replies as `say` says, whatever order it is asked in; keeps what it was sent."""

    def __init__(self, say: Callable[[Sequence[ChatTurn]], Reply]) -> None:
        self.say = say
        self.received: list[tuple[ChatTurn, ...]] = []

    @property
    def model_name(self) -> str:
        return "answering"

    @property
    def version(self) -> str:
        return "answering"

    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        self.received.append(tuple(messages))
        reply = self.say(messages)
        return ChatReply(text=reply, prompt_tokens=10, completion_tokens=2) if isinstance(reply, str) else reply


class ToldHost(StudentHost):
    """Serves whatever `say` says for a student, and keeps whom it has served."""

    def __init__(self, say: Callable[[ServedStudent, Sequence[ChatTurn]], Reply]) -> None:
        self.say = say
        self.served: list[ServedStudent] = []
        self.models: list[AnsweringModel] = []

    @property
    def version(self) -> str:
        return "told"

    @contextmanager
    def serve(self, student: ServedStudent) -> Iterator[ChatModel]:
        self.served.append(student)
        model = AnsweringModel(lambda messages: self.say(student, messages))
        self.models.append(model)
        yield model
