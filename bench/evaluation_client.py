"""One way to examine a student, in a process of its own: its CPU and its peak memory are nobody else's.

    python -m bench.evaluation_client JOB       a Job as JSON; prints a Measured as JSON

aiohttp   a bare loop: one list of messages a question, orjson both ways
openai    the same loop over AsyncOpenAI as its documentation has it
kept      the same, each reply written into an SQLite file, a hundred at a time
loop      the project's `examine` over that very client: what the loop itself costs
ours      `examine` over GPT4o, each reply in its ledger on the disk before it is used
again     the same, where the ledger has every reply

All keep every message and judge every answer by the benchmark's rule. Not counted: imports, the making of the
questions, what the operator saw (it lies in the cache already), and some questions to warm up.
"""

import asyncio
import base64
import hashlib
import re
import resource
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from bench.evaluation_work import READ, InstantOcr, NoSearch, make_questions
from mmat_dagster import prompts, wire
from mmat_dagster.evaluation.answering import Form, Manner
from mmat_dagster.evaluation.examining import Examination, examine
from mmat_dagster.evaluation.questions import Question
from mmat_dagster.evaluation.results import read_answers
from mmat_dagster.interfaces import ChatModel, ChatReply, ChatTurn, ReplySchema, RowError
from mmat_dagster.operators.sightings import Sightings
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.scoring import BENCHMARKS
from resources.gpt4o import GPT4o
from resources.store import LocalStore

MODEL = "tiny-0123456789abcdef"
KEY = "none"
SETTINGS = {"model": MODEL, "temperature": 0.0, "max_completion_tokens": 512}
BENCHMARK = BENCHMARKS["tabmwp"]
WARM_UP, WARM_UP_FROM = 20, 1_000_000
TIMEOUT_S = 60.0
REPLIES_AT_ONCE = 100
MB = 1024  # ru_maxrss is in kB

Body = dict[str, Any]
Ask = Callable[[list[Body]], Awaitable[str]]
Dialogue = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to measure: `count` questions in one form, `concurrency` of them at a time."""

    client: str
    url: str
    folder: str
    form: Form
    count: int
    concurrency: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What it took; `right` is the sum of the scores, `said` the hash of all that was asked and answered."""

    questions: int
    right: float
    said: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    begun_mb: float


@asynccontextmanager
async def open_aiohttp(job: Job) -> AsyncIterator[Ask]:
    """Ask over one session of aiohttp, bytes in and bytes out."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

        async def ask(messages: list[Body]) -> str:
            data = orjson.dumps({**SETTINGS, "messages": messages})
            async with session.post(f"{job.url}/chat/completions", data=data) as response:
                response.raise_for_status()
                return str(orjson.loads(await response.read())["choices"][0]["message"]["content"])

        yield ask


@asynccontextmanager
async def open_openai(job: Job) -> AsyncIterator[Ask]:
    """Ask through the SDK, on the transport that it recommends for many requests at once."""
    # 0: with None the SDK's aiohttp transport falls back to aiohttp's own limit of 100 connections.
    limits = httpx2.Limits(max_connections=0, max_keepalive_connections=None)
    http_client = openai.DefaultAioHttpClient(limits=limits, timeout=TIMEOUT_S)
    async with openai.AsyncOpenAI(api_key=KEY, base_url=job.url, max_retries=0, http_client=http_client) as client:
        create: Callable[..., Awaitable[Any]] = client.chat.completions.create

        async def ask(messages: list[Body]) -> str:
            completion = await create(**SETTINGS, messages=messages)
            return str(completion.choices[0].message.content)

        yield ask


@asynccontextmanager
async def open_kept(job: Job) -> AsyncIterator[Ask]:
    """Ask through the SDK and write replies into an SQLite file as durably as the ledger does, though many at once."""
    with closing(sqlite3.connect(Path(job.folder) / "replies.sqlite")) as database:
        database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS replies (asked BLOB PRIMARY KEY, reply TEXT)")
        waiting: list[tuple[bytes, str]] = []

        def write() -> None:
            database.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", waiting)
            database.commit()
            waiting.clear()

        async with open_openai(job) as send:

            async def ask(messages: list[Body]) -> str:
                reply = await send(messages)
                waiting.append((hashlib.sha256(orjson.dumps(messages)).digest(), reply))
                if len(waiting) >= REPLIES_AT_ONCE:
                    write()
                return reply

            yield ask
            write()


BARE: dict[str, Callable[[Job], AbstractAsyncContextManager[Ask]]] = {
    "aiohttp": open_aiohttp,
    "openai": open_openai,
    "kept": open_kept,
}


async def ask_directly(ask: Ask, question: Question) -> tuple[Dialogue, str]:
    """Ask for the bare answer."""
    reply = await ask([_opening(question, question.text)])
    return [("user", wire.IMAGE + question.text), ("assistant", reply)], reply.strip()


async def reason(ask: Ask, question: Question) -> tuple[Dialogue, str]:
    """Hold the dialogue as somebody without this project would: a list of messages, a pattern for the steps."""
    system = {"role": "system", "content": SYSTEM}
    messages = [system, _opening(question, question.text + wire.START)]
    signal = "continue"
    while signal != "end":
        step = await ask(messages)
        found = _STEP.search(step)
        assert found is not None
        signal = found["signal"]
        reaction = wire.SUMMARISE + question.text if signal == "end" else RESULTS
        messages += [{"role": "assistant", "content": step}, {"role": "user", "content": reaction}]
    reply = await ask(messages)
    texts = [SYSTEM, f"{wire.IMAGE}{question.text}{wire.START}", *(each["content"] for each in messages[2:]), reply]
    roles = [*(each["role"] for each in messages), "assistant"]
    return list(zip(roles, texts, strict=True)), reply.strip()


SYSTEM = prompts.render("rr_system", operators=f"{InstantOcr.name}: {InstantOcr.purpose}")
RESULTS = f"Here are ocr results from the previous step:\n-ocr information: {READ}\n{wire.CONTINUE}"
_STEP = re.compile(r"<SIGNAL>(?P<signal>\w+)</SIGNAL>")


def _opening(question: Question, text: str) -> Body:
    encoded = base64.b64encode(question.images[0].path.read_bytes()).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}", "detail": "auto"}}
    return {"role": "user", "content": [picture, {"type": "text", "text": text}]}


async def hold_bare(job: Job, questions: Sequence[Question]) -> list[tuple[Dialogue, float]]:
    """Put all questions in the bare loop; return each dialogue and its score."""
    gate = asyncio.Semaphore(job.concurrency)
    put = reason if job.form == "rr" else ask_directly
    async with BARE[job.client](job) as ask:

        async def gated(question: Question) -> tuple[Dialogue, float]:
            async with gate:
                dialogue, response = await put(ask, question)
            return dialogue, BENCHMARK.judge(question.item, response).score

        return list(await asyncio.gather(*map(gated, questions)))


class PlainModel(ChatModel):
    """The SDK's client as a chat model, without a ledger."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ask: Ask | None = None

    @property
    def model_name(self) -> str:
        """The student's name."""
        return MODEL

    @property
    def version(self) -> str:
        """The student's name."""
        return MODEL

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:  # noqa: ARG002
        """Open the client."""
        async with open_openai(self._job) as self._ask:
            yield

    async def complete(
        self,
        messages: Sequence[ChatTurn],
        schema: ReplySchema | None = None,  # noqa: ARG002
        sample_number: int = 0,  # noqa: ARG002
    ) -> ChatReply | RowError:
        """Return the reply; its tokens are not counted."""
        assert self._ask is not None
        text = await self._ask([_message(each) for each in messages])
        return ChatReply(text=text, prompt_tokens=0, completion_tokens=0)


def _message(turn: ChatTurn) -> Body:
    pictures: list[Body] = []
    for image in turn.images:
        encoded = base64.b64encode(image.path.read_bytes()).decode()
        pictures.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}})
    content = [*pictures, {"type": "text", "text": turn.text}] if pictures else turn.text
    return {"role": turn.role, "content": content}


def gpt4o(job: Job) -> GPT4o:
    """Return the resource as a served student is asked through it."""
    return GPT4o(
        api_key=KEY,
        base_url=job.url,
        model=MODEL,
        check_model=False,
        reply_format="text",
        temperature=0.0,
        seed=None,
        max_completion_tokens=512,
        ledger=f"sqlite:///{job.folder}/ledger.sqlite",
        concurrency=job.concurrency,
        timeout_s=TIMEOUT_S,
    )


@contextmanager
def tools(job: Job, questions: Sequence[Question]) -> Iterator[Toolbox]:
    """Yield the operator with its cache, in which all that it is going to see lies already."""
    ocr, sightings = InstantOcr(), Sightings(f"{job.folder}/operators.sqlite")

    async def look_at_all() -> None:
        await sightings.look(ocr, [look for question in questions for look in question.scene.looks])

    asyncio.run(look_at_all())
    yield Toolbox(operators={ocr.name: ocr}, retriever=NoSearch(), look=sightings.look)
    sightings.close()


def examination(job: Job, toolbox: Toolbox, questions: Sequence[Question]) -> Examination:
    """Return what is examined."""
    return Examination(
        mixture="bench",
        variant=job.form,
        student=MODEL,
        checkpoint=None,
        benchmark=BENCHMARK,
        rule=BENCHMARK.rules[0],
        manner=Manner(form=job.form),
        tools=toolbox,
        questions=questions,
        concurrency=job.concurrency,
    )


def measure_ours(job: Job, questions: Sequence[Question], first: Sequence[Question]) -> Measured:
    """Measure an examination after a small one."""
    store = LocalStore(root=f"{job.folder}/store")
    model = PlainModel(job) if job.client == "loop" else gpt4o(job)
    with tools(job, [*first, *questions]) as toolbox:
        examine(examination(job, toolbox, first), model, store, _tell_nobody)
        with Watch() as watch:
            result = examine(examination(job, toolbox, questions), model, store, _tell_nobody)
    answers = read_answers(store, result)
    dialogues: list[Dialogue] = [[(each.role, each.content) for each in answer.messages] for answer in answers]
    return watch.measured(dialogues, sum(answer.score for answer in answers))


def measure_bare(job: Job, questions: Sequence[Question], first: Sequence[Question]) -> Measured:
    """Measure the bare loop after a small one."""
    asyncio.run(hold_bare(job, first))
    with Watch() as watch:
        held = asyncio.run(hold_bare(job, questions))
    return watch.measured([dialogue for dialogue, _ in held], sum(score for _, score in held))


class Watch:
    """Times what happens while it is entered: by the clock and in CPU seconds of this process, all threads."""

    def __enter__(self) -> "Watch":
        self.begun_mb, self._cpu_s, self._begun = peak_mb(), cpu_s(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s, self.wall_s, self.peak_mb = cpu_s() - self._cpu_s, time.monotonic() - self._begun, peak_mb()

    def measured(self, dialogues: Sequence[Dialogue], right: float) -> Measured:
        """Return what it took."""
        return Measured(
            questions=len(dialogues),
            right=right,
            said=hashlib.sha256(orjson.dumps(dialogues)).hexdigest(),
            wall_s=self.wall_s,
            cpu_s=self.cpu_s,
            peak_mb=self.peak_mb,
            begun_mb=self.begun_mb,
        )


def measure(job: Job) -> Measured:
    """Make the questions and measure."""
    pictures = Path(job.folder)
    questions, first = make_questions(pictures, 1, job.count), make_questions(pictures, WARM_UP_FROM, WARM_UP)
    return (measure_bare if job.client in BARE else measure_ours)(job, questions, first)


def cpu_s() -> float:
    """Return the CPU seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


def _tell_nobody(answered: int, right: float) -> None:  # noqa: ARG001
    return


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(asdict(measure(Job(**orjson.loads(sys.argv[1]))))).decode())
