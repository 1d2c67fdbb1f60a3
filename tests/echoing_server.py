"""A peer that tells whatever secret it was shown: a chat server, a judge, a server of operators, and a search, in one.

What it answers changes from request to request, so that secrets come back in replies, in refusals and in failures.
"""

import base64
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.loopback import Served, Server

MODELS = ("scripted", "judging")
# What the third and the sixth request to a chat model come to.
TROUBLES = {2: 500, 5: 400}
NO_SEARCH = {"needed": False, "query": None}


class EchoingServer:
    """Answers from a script, and echoes the secret of every request; `shown` keeps those that it saw."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._count = itertools.count()
        self.url = ""

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/operators", self._operators),
                Route("/v1/operators/{name}", self._look, methods=["POST"]),
                Route("/search", self._search),
            ]
        )

    def _echo(self, request: Request) -> str:
        """Return the secret that a request shows, in all the forms in which a careless server quotes it."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        secret = bearer or request.headers.get("x-goog-api-key", "")
        self.shown.append(secret)
        return " ".join(
            (secret, quote(secret, safe=""), json.dumps(secret), base64.b64encode(secret.encode()).decode())
        )

    async def _models(self, request: Request) -> Response:
        listed = [{"id": name, "owned_by": self._echo(request)} for name in (*MODELS, self._echo(request))]
        return JSONResponse({"data": listed})

    async def _complete(self, request: Request) -> Response:
        body, echo, count = await request.json(), self._echo(request), next(self._count)
        if count in TROUBLES:
            return self._refused(TROUBLES[count], echo)
        reply = json.dumps(_reply(body, echo))
        message = {"role": "assistant", "content": reply, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        headers = {"x-request-id": quote(echo)}
        return JSONResponse({"id": echo, "model": body["model"], "choices": [choice]}, headers=headers)

    async def _operators(self, request: Request) -> Response:
        echo = self._echo(request)
        return JSONResponse({"operators": [{"name": "ocr", "purpose": echo, "version": f"1 {echo}"}]})

    async def _look(self, request: Request) -> Response:
        echo = self._echo(request)
        await request.body()
        if next(self._count) % 2:
            return self._refused(422, echo)
        return JSONResponse({"operator": "ocr", "version": f"1 {echo}", "text": echo, "details": {"told": echo}})

    async def _search(self, request: Request) -> Response:
        echo = self._echo(request)
        if next(self._count) % 2:
            return self._refused(400, echo)
        item = {"title": echo, "link": f"https://b.org/{quote(echo)}", "snippet": echo}
        return JSONResponse({"kind": "customsearch#search", "items": [item]})

    def _refused(self, status: int, echo: str) -> Response:
        error = {"code": "malformed", "message": f"{'x' * 150} not with {echo}", "status": echo}
        return JSONResponse({"error": error}, status, {"retry-after-ms": "1"})


def _reply(body: Mapping[str, Any], echo: str) -> dict[str, object]:
    text = json.dumps(body["messages"])
    if body["model"] == "judging":
        aspects = ("coherence", "relevance", "accuracy", "completeness", "visual_integration", "score")
        return {"reason": echo, **dict.fromkeys(aspects, 0.5)}
    if "Your task:" in text:
        return {"reason": None if "Your task: AUDIT" in text else echo, "thought": None}
    said = sum(message["role"] == "assistant" for message in body["messages"])
    if said == 0:
        search = {"needed": True, "query": "sand"}
        return {"thought": f"I know {echo}.", "operators": ["ocr"], "rag": search, "next_action": "continue"}
    kilograms = re.search(r"How much do (\d) kilograms", text)
    price = 2 * int(kilograms[1]) if kilograms else 0
    return {
        "thought": f"I know {echo}. The sand costs ${price}.",
        "operators": [],
        "rag": NO_SEARCH,
        "next_action": "final_answer",
    }


@contextmanager
def echoing() -> Iterator[EchoingServer]:
    """Run the server on loopback; `url` is where it listens."""
    server = EchoingServer()
    with Served(Server(uvicorn.Config(server.app(), log_config=None, lifespan="off")), "echoing server") as served:
        server.url = served.address
        yield server
