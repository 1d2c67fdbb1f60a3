"""A real HTTP peer for chat models: an OpenAI-compatible server on loopback that answers from a script."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.loopback import Served, Server

OK = 200
PROMPT_TOKENS = 11
COMPLETION_TOKENS = 7
MODELS = {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "tests"}]}

# The body of a request as JSON: tests look into it freely.
Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ServerReply:
    """What the server answers: `body` is the model's text; the whole response where `raw` or the status is not 200."""

    body: str | None = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    refusal: str | None = None
    raw: bool = False
    delay_s: float = 0.0


Script: TypeAlias = Callable[[Body], str | ServerReply]


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as the server saw it."""

    path: str
    headers: Mapping[str, str]
    body: Body


def error_reply(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> ServerReply:
    """Return an error in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}})
    return ServerReply(status=status, body=body, headers=headers or {})


def in_turn(*replies: str | ServerReply) -> Script:
    """Return a script that gives `replies` one after the other; a request too many is refused."""
    remaining = deque(replies)
    return lambda body: remaining.popleft() if remaining else _unscripted(body)


class ChatServer:
    """Serves POST /v1/chat/completions and GET /v1/models while it is entered.

    `received` keeps every chat request, `lookups` counts those for the models; `models` is what these get. Set
    `script` first; a request that it has no reply for gets status 418, which no client retries.
    """

    def __init__(self) -> None:
        self.script: Script = _unscripted
        self.received: list[Received] = []
        self.models = ServerReply(body=json.dumps(MODELS), raw=True)
        self.lookups = 0
        config = uvicorn.Config(self._app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._served = Served(Server(config), "chat server")

    @property
    def url(self) -> str:
        """The base URL, up to and including /v1."""
        return f"{self._served.address}/v1"

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(self, *exit_: object) -> None:
        self._served.__exit__(*exit_)

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
            ]
        )

    async def _complete(self, request: Request) -> Response:
        body: Body = await request.json()
        self.received.append(Received(path=request.url.path, headers=dict(request.headers), body=body))
        reply = self.script(body)
        if isinstance(reply, str):
            reply = ServerReply(body=reply)
        await asyncio.sleep(reply.delay_s)
        if reply.raw or reply.status != OK:
            return Response(reply.body, reply.status, reply.headers, "application/json")
        return JSONResponse(_completion(body, reply), reply.status, reply.headers)

    async def _models(self, request: Request) -> Response:
        self.lookups += 1
        return Response(self.models.body, self.models.status, self.models.headers, "application/json")


def _unscripted(body: Body) -> ServerReply:
    return error_reply(418, f"no reply is scripted for this request of {len(body['messages'])} messages")


def _completion(request: Body, reply: ServerReply) -> Body:
    message = {"role": "assistant", "content": reply.body, "refusal": reply.refusal}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        },
    }
