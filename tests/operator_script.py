"""Clients of operators over HTTP with little patience, and a server on loopback that answers them from a script."""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeAlias

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mmat_dagster.tools import Failed, Operator, OperatorUnavailable, Sight
from resources.http_operator import HttpOperator
from resources.operator_server import create_app
from tests.operator_peers import look_at, picture, running

BAD = picture(13, 13)
GOOD = [picture(20 + number, 10) for number in range(12)]
LISTED = {"operators": [{"name": "measure", "purpose": "measures", "version": "measure 1"}]}


class HttpMeasuring(HttpOperator):
    """The client of Measuring."""

    name: ClassVar[str] = "measure"
    purpose: ClassVar[str] = "tells how large the image is"


def make_client(url: str, kind: type[HttpOperator] = HttpMeasuring, **fields: Any) -> HttpOperator:
    """Return a client whose patience is short."""
    quick = {"timeout_s": 5.0, "max_retries": 2, "backoff_s": 0.01, "give_up_s": 1.0, "breaker_pause_s": 0.05}
    return kind(**{"url": url, **quick, **fields})


def serve_app(*operators: Operator, **settings: Any) -> Any:
    known = {operator.name: operator for operator in operators}
    return create_app(known, **{"max_bytes": 5_000_000, "max_concurrent": 4, **settings})


def error(status: int, message: str = "no", **headers: str) -> Response:
    told = json.dumps({"error": {"code": "whatever", "message": message}})
    return Response(
        told, status, {name.replace("_", "-"): value for name, value in headers.items()}, "application/json"
    )


def answer(**changed: Any) -> Response:
    told = {"operator": "measure", "version": "measure 1", "text": "seen", "details": None, **changed}
    return Response(json.dumps(told), media_type="application/json")


Reply: TypeAlias = Response | Callable[[Request, bytes], Awaitable[Response]]


class Scripted:
    """Answers looks by `reply`, which is given the image, and lists by `listing`; counts both."""

    def __init__(self, reply: Callable[[bytes], Reply]) -> None:
        self.reply = reply
        self.listing = Response(json.dumps(LISTED), media_type="application/json")
        self.images: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.listings = self.under_way = self.most = 0
        self.elsewhere: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/v1/operators", self._list),
                Route("/v1/operators/measure", self._look, methods=["POST"]),
                Route("/{path:path}", self._stray, methods=["GET", "POST"]),
            ]
        )

    async def _list(self, request: Request) -> Response:
        self.listings += 1
        self.headers.append(dict(request.headers))
        return self.listing

    async def _look(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            async with request.form() as form:
                image = form["image"]
                assert not isinstance(image, str)
                content = await image.read()
            self.images.append(content)
            reply = self.reply(content)
            return reply if isinstance(reply, Response) else await reply(request, content)
        finally:
            self.under_way -= 1

    async def _stray(self, request: Request) -> Response:
        self.elsewhere.append(request.url.path)
        return answer()


@contextmanager
def scripted(*replies: Reply, then: Reply | None = None) -> Iterator[tuple[Scripted, str]]:
    """Serve a script that gives `replies` one after the other, then `then` for ever."""
    remaining = deque(replies)
    server = Scripted(lambda image: remaining.popleft() if remaining else then or answer())
    with running(server.app) as url:
        yield server, url


async def see(client: HttpOperator, *images: bytes) -> Sequence[Sight | Failed]:
    return await client.look([look_at(image) for image in images or (GOOD[0],)])


async def stop_of(client: HttpOperator, *images: bytes) -> str:
    with pytest.raises(OperatorUnavailable) as stop:
        await see(client, *images)
    return str(stop.value)
