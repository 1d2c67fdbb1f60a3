"""OpenAI's API on loopback, for whole runs: chat completions, models, files and batches, with limits and seeded faults.

    with TeacherServer(Behaviour(rpm=600, faults=USUAL_FAULTS)) as server:
        ...                                            # clients in this and other processes talk to server.url
    server.received, server.paid, server.ledger.calls  # what came, what was charged for, what was answered

Benches start it in a process of its own: `python -m tests.teacher_server --port 0 --delay-s 0.5` prints the URL and
runs until its standard input closes or it gets SIGTERM.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.chat_server import OK, Body, Script, error_reply
from tests.loopback import Served
from tests.teacher_server_batches import Batch, BatchDesk, BatchOutcome, BatchRules
from tests.teacher_server_brain import brain
from tests.teacher_server_faults import RATE_LIMITED, Faults, canonical_sha
from tests.teacher_server_files import FileDesk, StoredFile, respond, respond_error
from tests.teacher_server_http import CutResponse, Door, Peer, respond_as, wait_until_gone
from tests.teacher_server_ledger import Ledger, Received
from tests.teacher_server_limits import Limits, PromptCache, render_retry
from tests.teacher_server_verdicts import Judge, Verdict

# Longer than any pause of a test, so that no kept connection closes under a client's hands.
KEEP_ALIVE_S = 75
LOST = error_reply(500, "The server had an error while processing your request.")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the server answers; `models` maps ids to the ISO date of their shutdown, `key` None lets everybody in.

    `delay_s` is the latency of a completion, errors come at once. `cached_share` is told as the cached part of every
    prompt, `prompt_cache` finds it by the prompts seen before. `batch_outcome` is asked with 0, 1, 2, ...; the first
    `drop_batch_replies` batches are registered while their creator never hears of it.
    """

    script: Script = brain
    seed: int = 0
    delay_s: float = 0.0
    faults: Faults = field(default_factory=Faults)
    rpm: float | None = None
    tpm: float | None = None
    limit_headers: bool = True
    image_tokens: int = 85
    cached_share: float = 0.0
    prompt_cache: bool = False
    models: Mapping[str, str | None] = field(default_factory=lambda: {"scripted": None})
    key: str | None = None
    keep_bodies: bool = True
    batch_delay_s: float = 0.05
    batch_outcome: Callable[[int], BatchOutcome] = lambda index: "completed"
    batch_rules: BatchRules = field(default_factory=BatchRules)
    drop_batch_replies: int = 0


class TeacherServer:
    """Serves while it is entered; its books, files and batches may be read from any thread.

    A request that the rate limits refuse is no attempt, so that time has no part in the faults. Bodies and headers
    are kept only where the behaviour says so; the counts always are.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.ledger = Ledger()
        self._judge = _judge(self.behaviour)
        self._limits = Limits(self.behaviour.rpm, self.behaviour.tpm)
        self._cache = PromptCache()
        self._files = FileDesk()
        self._batches = self._batch_desk()
        self._drops_left = self.behaviour.drop_batch_replies
        self._peer = Peer(_config(self._app()))
        self._served = Served(self._peer, "teacher server", port)

    @property
    def url(self) -> str:
        """The base URL, up to and including /v1."""
        return f"{self._served.address}/v1"

    @property
    def received(self) -> list[Received]:
        """The chat requests in the order in which they came; none where bodies are not kept."""
        return self.ledger.received

    @property
    def paid(self) -> Counter[str]:
        """How often a completion was charged and sent whole, by the canonical sha256 of its request."""
        return self.ledger.paid

    @property
    def paid_unseen(self) -> Counter[str]:
        """How often a completion was charged while the client got a part or nothing of it."""
        return self.ledger.paid_unseen

    @property
    def in_flight_peak(self) -> int:
        """How many chat requests there were at once, at most."""
        return self.ledger.in_flight_peak

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The batches, oldest first."""
        return tuple(self._batches.batches.values())

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The files that are not deleted, oldest first."""
        return tuple(self._files.files.values())

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(self, *exit_: object) -> None:
        self._served.__exit__(*exit_)

    def _batch_desk(self) -> BatchDesk:
        return BatchDesk(
            files=self._files,
            answer=self._answer_line,
            delay_s=self.behaviour.batch_delay_s,
            outcome=self.behaviour.batch_outcome,
            rules=self.behaviour.batch_rules,
            seed=self.behaviour.seed,
        )

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._list_models, methods=["GET"]),
                Route("/v1/models/{id:path}", self._retrieve_model, methods=["GET"]),
                Route("/v1/batches", self._create_batch, methods=["POST"]),
                *self._files.routes(),
                *self._batches.routes(),
            ],
            middleware=[Middleware(Door, key=self.behaviour.key, book=self.ledger.book_call)],
        )

    async def _complete(self, request: Request) -> Response:
        with self.ledger:
            body: Body = orjson.loads(await request.body())
            verdict = self._decide(body)
            wait_s = self._limits.admit(verdict.tokens)
            headers = self._limits.render_headers() if self.behaviour.limit_headers else {}
            if wait_s > 0:
                return self._refuse(request, body, verdict, headers | render_retry(wait_s))
            self.ledger.book_attempt(verdict.sha, verdict.fault)
            self._keep(request, body, verdict)
            if verdict.fault == "stall":
                return await self._stall(request)
            if verdict.status != OK:
                return respond_as(verdict.reply, headers)
            return await self._deliver(request, body, verdict, headers)

    def _refuse(self, request: Request, body: Body, verdict: Verdict, headers: Mapping[str, str]) -> Response:
        refusal = error_reply(429, f"Rate limit reached: {verdict.tokens} tokens are asked for.", RATE_LIMITED)
        self._keep(request, body, verdict, refused_with=refusal.status)
        return respond_as(refusal, headers)

    async def _deliver(self, request: Request, body: Body, verdict: Verdict, headers: Mapping[str, str]) -> Response:
        content = verdict.render(self._cached_tokens(body, verdict))
        delay_s = self.behaviour.delay_s + verdict.reply.delay_s
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        is_cut = verdict.fault == "reset in mid-body"
        self.ledger.book_payment(verdict.sha, is_seen=not is_cut and not await request.is_disconnected())
        headers = {**headers, **verdict.reply.headers}
        if is_cut:
            return CutResponse(content, headers, hang_up=lambda: self._peer.hang_up(request))
        return Response(content, OK, headers, "application/json")

    async def _stall(self, request: Request) -> Response:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.behaviour.faults.stall_s):
                await wait_until_gone(request)
        await self._peer.hang_up(request)
        return Response()  # reaches nobody

    def _answer_line(self, body: Body) -> tuple[int, Body]:
        """Answer a batch's line; what breaks a connection elsewhere is a failure of the server here."""
        verdict = self._decide(body)
        self.ledger.book_attempt(verdict.sha, verdict.fault)
        status, content = verdict.status, verdict.render(self._cached_tokens(body, verdict))
        if verdict.fault in ("stall", "reset in mid-body"):
            status, content = LOST.status, (LOST.body or "").encode()
        if status == OK:
            self.ledger.book_payment(verdict.sha, is_seen=True)
        answer: Body = orjson.loads(content)
        return status, answer

    def _decide(self, body: Body) -> Verdict:
        sha = canonical_sha(body)
        return self._judge.decide(body, sha, self.ledger.count_attempts(sha))

    def _cached_tokens(self, body: Body, verdict: Verdict) -> int:
        if self.behaviour.prompt_cache:
            return min(verdict.prompt_tokens, self._cache.match(body, self.behaviour.image_tokens))
        return int(verdict.prompt_tokens * self.behaviour.cached_share)

    def _keep(self, request: Request, body: Body, verdict: Verdict, refused_with: int | None = None) -> None:
        if self.behaviour.keep_bodies:
            self.ledger.received.append(
                Received(
                    path=request.url.path,
                    headers=dict(request.headers),
                    body=body,
                    attempt=verdict.attempt,
                    fault=None if refused_with else verdict.fault,
                    status=refused_with or verdict.status,
                    at=time.monotonic(),
                )
            )

    async def _create_batch(self, request: Request) -> Response:
        response = await self._batches.create(request)
        if self._drops_left > 0 and response.status_code == OK:
            self._drops_left -= 1
            await self._peer.hang_up(request)
        return response

    async def _list_models(self, request: Request) -> Response:
        models = [_model(name, shutdown) for name, shutdown in self.behaviour.models.items()]
        return respond({"object": "list", "data": models})

    async def _retrieve_model(self, request: Request) -> Response:
        name = request.path_params["id"]
        if name not in self.behaviour.models:
            return respond_error(404, f"The model '{name}' does not exist.", "model_not_found")
        return respond(_model(name, self.behaviour.models[name]))


def _judge(behaviour: Behaviour) -> Judge:
    return Judge(
        script=behaviour.script,
        faults=behaviour.faults,
        seed=behaviour.seed,
        image_tokens=behaviour.image_tokens,
    )


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def _model(name: str, shutdown: str | None) -> Body:
    model: Body = {"id": name, "object": "model", "created": 0, "owned_by": "tests"}
    return model if shutdown is None else {**model, "shutdown_date": shutdown}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input closes or SIGTERM comes; no body is kept."""
    parser = argparse.ArgumentParser(description="Serve OpenAI's API on loopback, answered by a stand-in teacher.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--delay-s", type=float, default=0.0, help="latency of a completion")
    parser.add_argument("--rpm", type=float, help="requests per minute")
    parser.add_argument("--tpm", type=float, help="tokens per minute")
    options = parser.parse_args(arguments)
    behaviour = Behaviour(delay_s=options.delay_s, rpm=options.rpm, tpm=options.tpm, keep_bodies=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with TeacherServer(behaviour, port=options.port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
