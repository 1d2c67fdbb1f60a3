"""Stand-ins for the outside: they implement the interfaces, keep what they were asked and fail past their script."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mmat_dagster.interfaces import (
    ChatModel,
    ChatReply,
    ChatTurn,
    Finding,
    Pictures,
    Reply,
    ReplySchema,
    RowError,
    Teacher,
)
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.schema import DatasetName, ImageRef, Rejection, Sample, SourceName, Step, Transcript, Turn
from mmat_dagster.spending import Spending
from mmat_dagster.tools import Failed, Look, Operator, Passage, Retriever, SearchEngine, SearchFailed, Sight


class NoPictures(Pictures):
    """Has no image at all."""

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        raise AssertionError(f"nobody should look at {image.path}")


class PicturesInFolder(Pictures):
    """Has every image in one folder per source."""

    root: ClassVar[Path] = Path("pictures")

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        return self.root / source / image.path


class ToldOperator(Operator):
    """An OCR that says what it was told to say."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = "reads"

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.max_chars = MAX_CHARS

    @property
    def version(self) -> str:
        return "told"

    def offers(self, sample: Sample) -> bool:
        return True

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        return [Sight(text=self.texts.pop(0)) for _ in looks]


class BrokenOperator(ToldOperator):
    """An OCR that never manages to look."""

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        return [Failed(detail="out of order") for _ in looks]


class ToldRetriever(Retriever, SearchEngine):
    """A search that finds the same passages for every query, and keeps the queries."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = passages
        self.queries: list[str] = []
        self.questions: list[str] = []

    @property
    def version(self) -> str:
        return "told"

    def over(self, passages: Path | None) -> Retriever:
        return self

    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:
        self.queries.append(query)
        self.questions.append(question)
        return self.passages[:top_k]


class BrokenRetriever(ToldRetriever):
    """A search that never gets an answer."""

    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:
        raise SearchFailed("out of order")


class ScriptedTeacher(Teacher):
    """Replies with its script, step by step, then fails."""

    def __init__(
        self,
        *steps: Step | Rejection,
        pretence: Finding | Rejection | None = None,
        skipped: Finding | Rejection | None = None,
    ) -> None:
        self.steps = list(steps)
        self.pretence, self.skipped = pretence, skipped
        self.heard: list[tuple[Turn, ...]] = []
        self.judged: list[str] = []

    @property
    def name(self) -> str:
        return "scripted"

    def version(self, dataset: DatasetName) -> str:
        return "scripted"

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        self.heard.append(tuple(turns))
        step = self.steps.pop(0)
        return step if isinstance(step, Rejection) else Reply(step=step, raw_reply=f"raw: {step.thought}")

    async def find_pretence(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        self.judged.append("pretence")
        return self.pretence

    async def find_skipped_calculation(self, sample: Sample, transcript: Transcript) -> Finding | Rejection | None:
        self.judged.append("skipped calculation")
        return self.skipped


class ScriptedChatModel(ChatModel):
    """Gives its replies one after the other, keeps what it was sent, and fails past the last one."""

    def __init__(self, *replies: str | ChatReply | RowError, spending: Spending | None = None) -> None:
        self.replies = list(replies)
        self.received: list[tuple[ChatTurn, ...]] = []
        self.schemas: list[ReplySchema | None] = []
        self.spent = spending

    @property
    def model_name(self) -> str:
        return "scripted-4o"

    @property
    def version(self) -> str:
        return "scripted-4o temperature=0"

    @property
    def spending(self) -> Spending | None:
        return self.spent

    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        self.received.append(tuple(messages))
        self.schemas.append(schema)
        if not self.replies:
            raise AssertionError("one request more than the script has replies for")
        reply = self.replies.pop(0)
        return ChatReply(text=reply, prompt_tokens=1, completion_tokens=1) if isinstance(reply, str) else reply
