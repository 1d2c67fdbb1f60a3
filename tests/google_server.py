"""A real HTTP peer for searches: a server on loopback that speaks the Custom Search JSON API and follows a script."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.loopback import Served
from tests.teacher_server_http import CutResponse, Peer

ENGINE = "017643444788157684527:6ivsjbpxpqw"
PATH = "/customsearch/v1"

# The parameters of a request.
Asked: TypeAlias = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class SearchReply:
    """What the server answers; `is_cut` breaks the connection in the middle of the body."""

    body: str | bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    delay_s: float = 0.0
    is_cut: bool = False


Script: TypeAlias = Callable[[Asked], SearchReply]


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as the server saw it."""

    path: str
    headers: Mapping[str, str]
    asked: Asked


class GoogleServer:
    """Serves GET /customsearch/v1 while it is entered; `received` keeps every request. Set `script` first."""

    def __init__(self) -> None:
        self.script: Script = _unscripted
        self.received: list[Received] = []
        app = Starlette(routes=[Route(PATH, self._search), Route("/elsewhere", self._search)])
        self._server = Peer(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        self._served = Served(self._server, "search server")

    def reset(self) -> None:
        """Forget the script and what was received."""
        self.script, self.received = _unscripted, []

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._served.address

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{self.host}{PATH}"

    @property
    def queries(self) -> list[str]:
        """What was asked for, in the order of the requests."""
        return [each.asked["q"] for each in self.received]

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(self, *exit_: object) -> None:
        self._served.__exit__(*exit_)

    async def _search(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.received.append(Received(path=request.url.path, headers=dict(request.headers), asked=asked))
        reply = self.script(asked)
        await asyncio.sleep(reply.delay_s)
        if reply.is_cut:
            body = reply.body.encode() if isinstance(reply.body, str) else reply.body
            return CutResponse(body, reply.headers, lambda: self._server.hang_up(request))
        return Response(reply.body, reply.status, dict(reply.headers), reply.media_type)


def _unscripted(asked: Asked) -> SearchReply:
    return google_error(418, "no reply is scripted")


def item(number: int, **changes: object) -> dict[str, object]:
    """Return a result as Google gives it, with `changes`; one that is None is left out."""
    usual = {
        "kind": "customsearch#result",
        "title": f"Title {number}",
        "htmlTitle": f"<b>Title</b> {number}",
        "link": f"https://www.example.org/page/{number}",
        "displayLink": "www.example.org",
        "snippet": f"Text number {number} says so.",
        "htmlSnippet": f"<b>Text</b> number {number} says so.",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def page(items: Sequence[Mapping[str, object]] = (), next_start: int | None = None, **changes: Any) -> SearchReply:
    """Return a page of results as the API gives it."""
    queries: dict[str, object] = {"request": [{"count": 10, "cx": ENGINE}]}
    if next_start is not None:
        queries["nextPage"] = [{"startIndex": next_start, "count": 10}]
    body = {
        "kind": "customsearch#search",
        "queries": queries,
        "searchInformation": {"searchTime": 0.1, "totalResults": str(1000 if items else 0)},
        **({"items": list(items)} if items else {}),
    }
    return SearchReply(body=json.dumps(body), **changes)


ONE_PAGE = page([item(number) for number in range(1, 11)], next_start=11)


def google_error(
    status: int, message: str, reason: str = "", details: Sequence[Mapping[str, object]] = (), **changes: Any
) -> SearchReply:
    """Return an error as Google's APIs tell it, in its older (`errors`) and newer (`details`) form."""
    error = {
        "code": status,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": reason}],
        "status": "SOME_STATUS",
        "details": list(details),
    }
    return SearchReply(body=json.dumps({"error": error}), status=status, **changes)


def error_info(reason: str, **metadata: str) -> dict[str, object]:
    """Return the newer form of a reason."""
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": metadata}


def in_turn(*replies: SearchReply) -> Script:
    """Return a script that gives `replies` one after the other, and then only errors that no client retries."""
    remaining = deque(replies)
    return lambda asked: remaining.popleft() if remaining else google_error(418, "no reply is left")
