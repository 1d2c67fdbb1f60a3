"""Stand-ins for the outside: they implement the interfaces, keep what they were asked and fail past their script."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import dagster as dg
from PIL import Image

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
from mmat_dagster.training.executor import TrainingExecutor, TrainingJob
from mmat_dagster.training.spec import Metrics, Outcome, TrainingRun, dump_metrics, read_run


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

    def offers(self, looks: Sequence[Look]) -> bool:
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


class ToldExecutor(TrainingExecutor[dg.AssetExecutionContext]):
    """Trains by writing what a training leaves; keeps its jobs and runs. A mixture may be told to end otherwise."""

    def __init__(self, **ends: Outcome | Exception) -> None:
        self.ends = ends
        self.jobs: list[TrainingJob] = []
        self.runs: list[TrainingRun] = []

    @property
    def world_size(self) -> int:
        return 1

    def train(self, context: dg.AssetExecutionContext, job: TrainingJob) -> Outcome:
        folder = Path(job.folder)
        run = read_run(folder / "run.json")
        self.jobs.append(job)
        self.runs.append(run)
        end = self.ends.pop(run.mixture, None)
        if isinstance(end, Exception):
            raise end
        if end is not None:
            return end
        return self.finish(folder, run)

    def finish(self, folder: Path, run: TrainingRun) -> Outcome:
        metrics = [told_metrics(step) for step in (1, 2)]
        (folder / "metrics.jsonl").write_bytes(b"".join(dump_metrics(each) for each in metrics))
        (folder / "result" / "processor").mkdir(parents=True, exist_ok=True)
        (folder / "result" / "adapter_model.safetensors").write_bytes(f"weights {run.key}".encode())
        (folder / "result" / "processor" / "chat_template.jinja").write_text("{% generation %}")
        (folder / "result" / "README.md").write_text("# A model card")
        Image.new("RGB", (8, 8)).save(folder / "result" / "loss.png")
        rows = sum(shard.rows for item in run.data for shard in item.shards)
        return Outcome(state="done", step=2, max_steps=2, dialogues=rows, dropped={"missing image": 1}, final_loss=0.5)


def told_metrics(step: int) -> Metrics:
    """Return what a step says whose loss is one through it."""
    return Metrics(
        step=step,
        epoch=step / 2,
        loss=1 / step,
        learning_rate=1e-3,
        tokens=10 * step,
        tokens_per_second=100.0,
        memory_gb=float(step),
        seconds=float(step),
    )
