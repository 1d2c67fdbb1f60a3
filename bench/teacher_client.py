"""One client of the teacher benchmark, in a process of its own: its CPU and its peak memory are nobody else's.

    python -m bench.teacher_client JOB       a Job as JSON; prints a Measured as JSON

aiohttp   one ClientSession, orjson both ways              openai    AsyncOpenAI as its documentation has it
ours      GPT4o with its ledger on disk                    again     the same, where the ledger has every reply

Not counted: imports, and some requests to warm up in the same session.
"""

import asyncio
import base64
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from bench.teacher_work import Work
from mmat_dagster.fanout import map_in_order
from mmat_dagster.interfaces import ChatTurn, ReplySchema

MODEL = "gpt-4o-2024-11-20"
KEY = "sk-of-the-bench"
SETTINGS = {"temperature": 0.3, "seed": 42, "max_completion_tokens": 1024}
TIMEOUT_S = 60.0
WARM_UP = 20
# A measurement of replies that are there already takes so little that it is repeated.
PASSES_AGAIN = 5
# The open loop is steady when the first replies are long in, and until the last request is sent.
SETTLED_S = 2.0
MB = 1024  # ru_maxrss is in kB

Ask = Callable[[tuple[ChatTurn, ...], ReplySchema], Awaitable[str]]
Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to measure: `count` dialogues `concurrency` at a time, or `rate` of them a second (0: no open loop)."""

    client: str
    url: str
    folder: str
    turns: int = 1
    has_picture: bool = False
    count: int
    concurrency: int
    rate: float = 0.0
    delay_s: float = 0.0

    @property
    def work(self) -> Work:
        """The dialogues."""
        return Work(turns=self.turns, has_picture=self.has_picture, folder=Path(self.folder))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What it took; `begun_mb` of the peak were there before, `in_flight` is the most there were at once."""

    requests: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    begun_mb: float
    in_flight: int


@asynccontextmanager
async def open_aiohttp(job: Job) -> AsyncIterator[Ask]:
    """Ask over one session of aiohttp, bytes in and bytes out."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

        async def ask(messages: tuple[ChatTurn, ...], schema: ReplySchema) -> str:
            data = orjson.dumps(render(messages, schema))
            async with session.post(f"{job.url}/chat/completions", data=data) as response:
                response.raise_for_status()
                completion = orjson.loads(await response.read())
            return str(completion["choices"][0]["message"]["content"])

        yield ask


@asynccontextmanager
async def open_openai(job: Job) -> AsyncIterator[Ask]:
    """Ask through the SDK, on the transport that it recommends for many requests at once."""
    # 0: with None the SDK's aiohttp transport falls back to aiohttp's own limit of 100 connections.
    limits = httpx2.Limits(max_connections=0, max_keepalive_connections=None)
    http_client = openai.DefaultAioHttpClient(limits=limits, timeout=TIMEOUT_S)
    async with openai.AsyncOpenAI(api_key=KEY, base_url=job.url, max_retries=0, http_client=http_client) as client:
        create: Callable[..., Awaitable[Any]] = client.chat.completions.create

        async def ask(messages: tuple[ChatTurn, ...], schema: ReplySchema) -> str:
            completion = await create(**render(messages, schema))
            return str(completion.choices[0].message.content)

        yield ask


@asynccontextmanager
async def open_ours(job: Job) -> AsyncIterator[Ask]:
    """Ask through this project: every reply is on the disk before it is told."""
    from mmat_dagster.interfaces import RowError  # noqa: PLC0415
    from resources.gpt4o import GPT4o  # noqa: PLC0415

    model = GPT4o(
        api_key=KEY,
        base_url=job.url,
        model=MODEL,
        check_model=False,
        ledger=f"sqlite:///{job.folder}/ledger.sqlite",
        concurrency=job.concurrency,
        timeout_s=TIMEOUT_S,
    )
    async with model.session("bench"):

        async def ask(messages: tuple[ChatTurn, ...], schema: ReplySchema) -> str:
            reply = await model.complete(messages, schema)
            if isinstance(reply, RowError):
                raise RuntimeError(reply.detail)
            return reply.text

        yield ask
    spent = model.spending
    if spent.retries or (job.client == "again") != bool(spent.reused):
        raise RuntimeError(f"not what was to be measured: {spent}")


CLIENTS: dict[str, Callable[[Job], AbstractAsyncContextManager[Ask]]] = {
    "aiohttp": open_aiohttp,
    "openai": open_openai,
    "ours": open_ours,
    "again": open_ours,
}


def render(messages: tuple[ChatTurn, ...], schema: ReplySchema) -> Body:
    """Return the request as somebody without this project would write it, pictures read and encoded anew."""
    json_schema = {"name": schema.name, "strict": True, "schema": orjson.loads(schema.json_schema)}
    return {
        "model": MODEL,
        "messages": [_message(message) for message in messages],
        "response_format": {"type": "json_schema", "json_schema": json_schema},
        **SETTINGS,
    }


def _message(message: ChatTurn) -> Body:
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts: list[Body] = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_encoded(image.path)}", "detail": "auto"}}
        for image in message.images
    ]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


async def converse(ask: Ask, work: Work, number: int) -> int:
    """Hold dialogue `number`; return how many requests it took."""
    messages = work.begin(number)
    for turn in range(1, work.turns + 1):
        reply = await ask(messages, work.schema)
        if turn < work.turns:
            messages = work.go_on(messages, reply, turn)
    return work.turns


async def hold_all(ask: Ask, job: Job) -> int:
    """Hold all dialogues, so many at a time; return how many requests they took."""
    work = job.work
    if job.client in ("ours", "again"):
        return sum(
            [done async for done in map_in_order(lambda n: converse(ask, work, n), range(job.count), job.concurrency)]
        )
    gate = asyncio.Semaphore(job.concurrency)

    async def gated(number: int) -> int:
        async with gate:
            return await converse(ask, work, number)

    return sum(await asyncio.gather(*map(gated, range(job.count))))


async def measure_all(ask: Ask, job: Job) -> Measured:
    """Measure the whole work."""
    begun_mb, begun_cpu, begun = peak_mb(), cpu_s(), time.monotonic()
    passes = PASSES_AGAIN if job.client == "again" else 1
    requests = sum([await hold_all(ask, job) for _ in range(passes)])
    return Measured(
        requests=requests,
        wall_s=time.monotonic() - begun,
        cpu_s=cpu_s() - begun_cpu,
        peak_mb=peak_mb(),
        begun_mb=begun_mb,
        in_flight=job.concurrency,
    )


async def measure_rate(ask: Ask, job: Job) -> Measured:
    """Measure the steady part of an open loop: requests come whether or not earlier ones are answered."""
    work, begun_mb = job.work, peak_mb()
    under_way: set[asyncio.Task[int]] = set()
    tasks: list[asyncio.Task[int]] = []
    in_flight = 0
    marks: list[tuple[float, float, int]] = []
    settled = int((job.delay_s + SETTLED_S) * job.rate)
    begun = time.monotonic()
    for number in range(job.count):
        await asyncio.sleep(max(0.0, begun + number / job.rate - time.monotonic()))
        if number in (settled, job.count - 1):
            marks.append((time.monotonic(), cpu_s(), number))
        task = asyncio.create_task(converse(ask, work, number))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        tasks.append(task)
        in_flight = max(in_flight, len(under_way))
    await asyncio.gather(*tasks)
    (first_s, first_cpu, first), (last_s, last_cpu, last) = marks
    return Measured(
        requests=last - first,
        wall_s=last_s - first_s,
        cpu_s=last_cpu - first_cpu,
        peak_mb=peak_mb(),
        begun_mb=begun_mb,
        in_flight=in_flight,
    )


async def measure(job: Job) -> Measured:
    """Open the client, warm it up and measure it."""
    async with CLIENTS[job.client](job) as ask:
        await asyncio.gather(*(converse(ask, job.work, -1 - number) for number in range(WARM_UP)))
        return await (measure_rate if job.rate else measure_all)(ask, job)


def cpu_s() -> float:
    """Return the CPU seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(asdict(asyncio.run(measure(Job(**orjson.loads(sys.argv[1])))))).decode())
