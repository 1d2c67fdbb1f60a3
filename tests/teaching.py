"""Whole runs of the prompted teacher for tests: a small source, the pipeline up to RR dialogues, what came of it.

A `Job` says what to do, against which server and ledger. It is done here (`do`), or in a process of its own
(`tests.teacher_worker`), where it may be killed.
"""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import orjson
from PIL import Image

from mmat_dagster import parts
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.interfaces import ChatModel, ChatTurn, Pictures, Teacher
from mmat_dagster.ledger.batches import OPEN
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline, RepliesPending, Settings
from mmat_dagster.progress import Progress
from mmat_dagster.schema import DatasetName, Dialogue, Rejection
from mmat_dagster.spending import Spending
from mmat_dagster.teachers.prompted import PromptedTeacher
from mmat_dagster.tools import Failed, Look, Sight
from resources.gpt4o import GPT4o
from resources.store import LocalStore
from tests.chat_server import OK
from tests.fakes import ToldOperator, ToldRetriever
from tests.teacher_server import TeacherServer
from tests.teacher_server_brain import find_task, text_of
from tests.teacher_server_faults import canonical_sha
from tests.teacher_server_ledger import Received
from tests.teacher_server_verdicts import Judge

TAUGHT: tuple[DatasetName, ...] = ("rationales", "rr_dialogues")
CALCULATION, LOOK = "How much do {} kilograms of sand cost?", "Which sand lies in yard {} today?"
_NUMBER = re.compile(r"(?:How much do|Which sand lies in yard) (\d+)")
# A run in batch mode that takes more rounds than this does not come to an end.
MOST_PASSES = 100
MOST_POLLS = 2000
# Of a model whose prices are told: so many dollars for a token in, and out.
USD_IN, USD_OUT = 0.001, 0.002
PRICES = {
    "usd_per_million_input": USD_IN * 1e6,
    "usd_per_million_output": USD_OUT * 1e6,
    "image_tokens_at_most": 85,
}
# Short pauses: a test waits for nothing that it does not test.
QUICK: Mapping[str, object] = {
    "model": "scripted",
    "api_key": "sk-test",
    "backoff_s": 0.01,
    "timeout_s": 10.0,
    "batch_settle_s": 0.1,
}


class InstantOcr(ToldOperator):
    """Reads the same text in every image."""

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        return [Sight(text="sand | $2; gravel | $3") for _ in looks]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to do and how; `fields` are the model's, as JSON has them.

    build   the RR dialogues of the source          tend   poll the batches again and again until all have ended
    ask     `count` plain questions of `chars` characters from the number `first` on, all at once
    """

    sources: str
    store: str
    url: str
    ledger: str
    fields: dict[str, object] = field(default_factory=dict)
    task: Literal["build", "ask", "tend"] = "build"
    run_id: str = "none"
    part_rows: int = 100
    concurrency: int = 64
    poll_s: float = 0.02
    first: int = 0
    count: int = 0
    chars: int = 0

    def but(self, **fields: object) -> "Job":
        """Return this job with other fields of the model."""
        return replace(self, fields={**self.fields, **fields})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of every sample, by its id."""

    dialogues: Counter[str]
    rejections: dict[str, list[Rejection]]

    @property
    def ends(self) -> Counter[str]:
        """How often a sample was kept or named."""
        return self.dialogues + Counter({each: len(told) for each, told in self.rejections.items()})

    def reasons(self) -> Counter[str]:
        """Count the reasons."""
        return Counter(rejection.reason for told in self.rejections.values() for rejection in told)

    def reasons_by_number(self, *reasons: str) -> dict[int, str]:
        """Return the problems that were rejected for one of `reasons`, each with its own."""
        lost = [rejection for told in self.rejections.values() for rejection in told if rejection.reason in reasons]
        return {int(rejection.record_id.removeprefix("tabmwp/")): rejection.reason for rejection in lost}


def write_problems(
    root: Path, numbers: Iterable[int], edited: Mapping[int, str] | None = None, *, calculates: bool = True
) -> Path:
    """Write a TabMWP problem for each of `numbers` below `root`/tabmwp, all with one picture, and return `root`.

    `edited` holds the questions of those that have one of their own; nobody checks a calculation where none is asked.
    """
    wanted = list(numbers)
    tables = root / "tabmwp" / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    picture = root / "picture.png"
    if not picture.exists():
        Image.new("RGB", (60, 40), "white").save(picture)
    for number in wanted:
        if not (tables / f"{number}.png").exists():
            os.link(picture, tables / f"{number}.png")
    wording = CALCULATION if calculates else LOOK
    texts = {number: (edited or {}).get(number) or wording.format(number) for number in wanted}
    problems = {str(number): _problem(text, number, calculates=calculates) for number, text in texts.items()}
    (root / "tabmwp" / "problems_train.json").write_text(json.dumps(problems))
    return root


def make_model(job: Job) -> GPT4o:
    """Return the job's model."""
    model = GPT4o.model_validate({**QUICK, "base_url": job.url, "ledger": job.ledger, **job.fields})
    model._run_id = job.run_id
    return model


def prompted(model: ChatModel, pictures: Pictures) -> PromptedTeacher:
    """Return the teacher as the resource makes it."""
    return PromptedTeacher(model=model, pictures=pictures, max_turns=4)


def make_pipeline(job: Job, teach: Callable[[ChatModel, Pictures], PromptedTeacher] = prompted) -> Pipeline:
    """Return the engine as the job wants it."""
    store = Path(job.store)
    model = make_model(job)
    return Pipeline(
        sources=Path(job.sources),
        store=LocalStore(root=str(store)),
        teacher=teach(model, PicturesOnDisk(source_root=Path(job.sources), store_root=store)),
        operators={"ocr": InstantOcr()},
        search=ToldRetriever(),
        settings=Settings(part_rows=job.part_rows, concurrency=job.concurrency),
    )


def do(job: Job) -> Spending:
    """Do the job and return what it has cost."""
    if job.task == "build":
        return build(job)
    model = make_model(job)
    asyncio.run(ask(model, job) if job.task == "ask" else tend(model, job.poll_s))
    return model.spending


async def ask(model: GPT4o, job: Job) -> None:
    """Ask the job's questions, all at once."""
    system = ChatTurn(role="system", text="Reply in JSON.")
    async with model.session("questions of tabmwp"):
        asked = [f"How much do {number} kilograms cost?".ljust(job.chars) for number in _numbers(job)]
        await asyncio.gather(*(model.complete([system, ChatTurn(role="user", text=each)]) for each in asked))


async def tend(model: ChatModel | Teacher, poll_s: float) -> None:
    """Poll the batches until all have ended."""
    for _ in range(MOST_POLLS):
        if not any(batch.state in OPEN for batch in await model.tend_batches()):
            return
        await asyncio.sleep(poll_s)
    raise TimeoutError("the batches do not end")


def build(job: Job, pipeline: Pipeline | None = None, tend_by: Callable[[], object] | None = None) -> Spending:
    """Build the RR dialogues, in batch mode pass after pass, and return what it has cost.

    Between passes `tend_by` polls the batches, or this does until all have ended.
    """
    pipeline = pipeline or make_pipeline(job)
    teacher = pipeline.teacher
    tend_by = tend_by or (lambda: asyncio.run(tend(teacher, job.poll_s)))
    for _ in range(MOST_PASSES):
        try:
            for _ in pipeline.build("rr_dialogues", "tabmwp", ignore):
                pass
        except RepliesPending:
            tend_by()
        else:
            spending = pipeline.teacher.spending
            assert spending is not None
            return spending
    raise TimeoutError(f"the build has not ended in {MOST_PASSES} passes")


def ignore(progress: Progress) -> None:
    """Report to nobody."""


def read_outcome(job: Job) -> Outcome:
    """Read what the last build made."""
    store = LocalStore(root=job.store)
    dialogues = Counter(dialogue.id for dialogue in parts.read_records(store, _manifest(job, TAUGHT[-1]), Dialogue))
    rejections: dict[str, list[Rejection]] = {}
    for dataset in TAUGHT:
        for rejection in parts.read_rejected(store, _manifest(job, dataset)):
            rejections.setdefault(rejection.record_id, []).append(rejection)
    return Outcome(dialogues=dialogues, rejections=rejections)


def is_built(job: Job) -> bool:
    """Say whether the RR dialogues are there."""
    return parts.read_manifest(LocalStore(root=job.store), TAUGHT[-1], "tabmwp") is not None


def read_files(job: Job) -> dict[str, bytes]:
    """Return every file of what was built: parts, rejections and manifests."""
    root = Path(job.store)
    paths = [path for path in sorted(root.rglob("*")) if path.suffix in (".parquet", ".json")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def count_tasks(received: Iterable[Received]) -> Counter[str]:
    """Count what the teacher was asked to do."""
    return Counter(str(find_task(each.body)) for each in received)


def count_numbers(received: Iterable[Received]) -> Counter[int]:
    """Count the requests about each problem."""
    return Counter(number_in(each.body) for each in received)


def count_lines(server: TeacherServer) -> Counter[str]:
    """Count the requests of all batches, by their custom ids."""
    return Counter(orjson.loads(line)["custom_id"] for lines in lines_of_batches(server) for line in lines)


def lines_of_batches(server: TeacherServer) -> list[list[bytes]]:
    """Return the lines of each batch's input file."""
    files = {file.id: file.content for file in server.files}
    return [files[batch.input_file_id].splitlines() for batch in server.batches]


def charged_in_chat(server: TeacherServer) -> tuple[int, int, int]:
    """Return calls and tokens in and out of the replies that the server has sent whole, as it counts them."""
    told = server.behaviour
    judge = Judge(script=told.script, faults=told.faults, seed=told.seed, image_tokens=told.image_tokens)
    whole = [each for each in server.received if each.status == OK and each.fault != "reset in mid-body"]
    verdicts = [judge.decide(each.body, canonical_sha(each.body), each.attempt) for each in whole]
    prompt = sum(verdict.prompt_tokens for verdict in verdicts)
    return len(verdicts), prompt, sum(verdict.completion_tokens for verdict in verdicts)


def charged_in_batches(server: TeacherServer) -> tuple[int, int, int]:
    """Return calls and tokens in and out of all output files."""
    outputs = {batch.output_file_id for batch in server.batches}
    lines = [line for file in server.files if file.id in outputs for line in file.content.splitlines()]
    usages = [orjson.loads(line)["response"]["body"]["usage"] for line in lines]
    prompt = sum(usage["prompt_tokens"] for usage in usages)
    return len(usages), prompt, sum(usage["completion_tokens"] for usage in usages)


def number_in(body: Mapping[str, object]) -> int:
    """Return the number of the problem that a request is about."""
    messages = body["messages"]
    assert isinstance(messages, list)
    found = _NUMBER.search(next(text_of(message) for message in messages if message["role"] == "user"))
    assert found is not None
    return int(found[1])


def _manifest(job: Job, dataset: DatasetName) -> Manifest:
    manifest = parts.read_manifest(LocalStore(root=job.store), dataset, "tabmwp")
    assert manifest is not None
    return manifest


def _numbers(job: Job) -> range:
    return range(job.first, job.first + job.count)


def _problem(text: str, number: int, *, calculates: bool) -> dict[str, object]:
    return {
        "question": text,
        "choices": None,
        "answer": str(2 * number) if calculates else f"sand {number}",
        "unit": "$" if calculates else None,
        "table_title": None,
        "table": "sand | $2\ngravel | $3",
        "solution": "It is in the table.",
        "ques_type": "free_text",
        "ans_type": "integer_number" if calculates else "extractive_text",
        "split": "train",
    }
