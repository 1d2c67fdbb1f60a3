"""Operators behind HTTP, so that a machine with a GPU serves many workers.

Host known? -> token right? -> operator known? -> a place free? -> the form, counted -> the image's header
-> a slot free? -> the look -> Answer

The contract stands in operator_contract.py. Nothing that a client sends makes a 5xx, except 503: come back later.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import JsonValue
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from mmat_dagster import __version__
from mmat_dagster.operators.looking import LookFunction, look_anew
from mmat_dagster.tools import Failed, Operator, OperatorUnavailable, Sight
from resources.operator_contract import (
    LOOPBACK,
    OPERATORS,
    Answer,
    Code,
    Described,
    Health,
    Listing,
    Problem,
    Trouble,
    Upload,
    is_allowed,
)
from resources.operator_uploads import MULTIPART, Received, Refused, receive

T = TypeVar("T")

# So many requests may wait for each that is looked at: they keep the models busy while others upload.
WAITING_PER_SLOT = 4
BUSY_S = "1"
AWAY_S = "10"
LABEL = "operators over HTTP"

WHEN: Mapping[int, str] = {
    400: "The form or its parameters are malformed.",
    401: "The token is missing or wrong.",
    404: "There is no such operator.",
    408: "The body came too slowly.",
    413: "The body is too long.",
    415: "The bytes are no image.",
    421: "The Host header names a host that this server does not answer to.",
    422: "The image is damaged or has too many pixels, or the operator could not look at it.",
    500: "The operator is broken.",
    503: "The operator is unavailable, or too many requests wait; Retry-After tells when to try again, in seconds.",
}
_HEADERS: Mapping[int, str] = {401: "WWW-Authenticate", 503: "Retry-After"}
_CODES: Mapping[int, Code] = {404: "unknown", 405: "method_not_allowed"}


def create_app(
    operators: Mapping[str, Operator],
    *,
    look: LookFunction = look_anew,
    max_bytes: int,
    max_concurrent: int,
    allowed_hosts: Sequence[str] = LOOPBACK,
    token: str | None = None,
) -> FastAPI:
    """Return the server of `operators`, by name.

    Args:
        operators: Sessions of all of them are open while the server runs.
        look: How an operator is asked, e.g. through a cache.
        max_bytes: The longest body of a request.
        max_concurrent: So many images are looked at at once, of all operators together.
        allowed_hosts: What the Host header may name, each with or without a port.
        token: What clients must show; None lets everybody in.
    """
    desk = _Desk(operators=operators, ask=look, max_bytes=max_bytes, max_concurrent=max_concurrent)
    app = FastAPI(
        title="Operators",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=desk.lifespan,
    )
    app.add_middleware(_HostCheck, allowed=tuple(allowed_hosts))
    _add_routes(app, desk, [Depends(_guard(token))] if token else [])
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_refused)
    app.add_exception_handler(ClientDisconnect, _unheard)
    app.add_exception_handler(Exception, _broken)
    return app


def _add_routes(app: FastAPI, desk: "_Desk", guards: Sequence[Any]) -> None:
    locked = [401] if guards else []
    app.add_api_route("/healthz", _health, response_model=Health, responses=_problems(421))
    app.add_api_route(
        OPERATORS,
        desk.describe,
        response_model=Listing,
        responses=_problems(*locked, 421, 503),
        dependencies=guards,
    )
    encoding = {"parameters": {"contentType": "application/json"}}
    form = {MULTIPART: {"schema": Upload.schema_of_form(), "encoding": encoding}}
    app.add_api_route(
        f"{OPERATORS}/{{name}}",
        desk.answer,
        methods=["POST"],
        response_model=Answer,
        responses=_problems(400, *locked, 404, 408, 413, 415, 421, 422, 500, 503),
        dependencies=guards,
        openapi_extra={"requestBody": {"required": True, "content": form}},
    )


@dataclass(kw_only=True)
class _Desk:
    """Carries out the requests; `_places` are those left for requests that upload, wait or are looked at."""

    operators: Mapping[str, Operator]
    ask: LookFunction
    max_bytes: int
    max_concurrent: int
    _versions: dict[str, str] = field(default_factory=dict, init=False)
    _slots: asyncio.Semaphore = field(init=False)
    _places: int = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.max_concurrent)
        self._places = self.max_concurrent * (1 + WAITING_PER_SLOT)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG002
        async with AsyncExitStack() as sessions:
            for operator in self.operators.values():
                await sessions.enter_async_context(operator.session(LABEL))
            yield

    async def describe(self) -> Listing:
        """List the operators."""
        told = [
            Described(name=name, purpose=operator.purpose, version=self._version(name))
            for name, operator in sorted(self.operators.items())
        ]
        return Listing(operators=told)

    async def answer(self, name: str, request: Request) -> Response:
        """Look at an image."""
        operator, version = self._named(name), self._version(name)
        with self._place():
            async with receive(request, self.max_bytes) as received:
                result = await _while_connected(request, self._look(operator, received))
        if isinstance(result, Failed):
            raise Refused(422, "failed", _sendable(result.detail))
        text, details = _sendable(result.text), _sendable(result.details)
        answer = Answer(operator=name, version=version, text=text, details=details)
        return Response(answer.model_dump_json(), media_type="application/json")

    def _named(self, name: str) -> Operator:
        if name not in self.operators:
            known = ", ".join(sorted(self.operators)) or "none"
            raise Refused(404, "unknown", f"there is no operator {name[:100]!r}; there are: {known}")
        return self.operators[name]

    def _version(self, name: str) -> str:
        if name not in self._versions:
            with _available():
                self._versions[name] = self.operators[name].version
        return self._versions[name]

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places:
            raise Refused(503, "busy", "too many requests wait already", {"Retry-After": BUSY_S})
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def _look(self, operator: Operator, received: Received) -> Sight | Failed:
        async with self._slots:
            with _available():
                (result,) = await self.ask(operator, [await received.look()])
        return result


class _HostCheck:
    """Answers to known host names only: a web page whose name was pointed at this machine does not get through."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app, self._allowed = app, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not is_allowed(Headers(scope=scope).get("host", ""), self._allowed):
            app = _problem(421, "misdirected", "this server does not answer to the host that the request names")
        await app(scope, receive, send)


def _guard(token: str) -> Callable[..., Awaitable[None]]:
    """Return a dependency that lets in who shows `token`."""
    expected = token.encode()

    async def check(
        shown: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        given = shown.credentials.encode("latin-1", "replace") if shown else b""
        if not hmac.compare_digest(given, expected):
            raise Refused(401, "unauthorized", "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    return check


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except OperatorUnavailable as error:
        raise Refused(503, "unavailable", _sendable(str(error)), {"Retry-After": AWAY_S}) from error


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does, which ends with the client's patience: raises ClientDisconnect where that is over."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _sendable(value: JsonValue) -> Any:
    """Return `value` as any JSON reader takes it: halves of surrogate pairs, which a model may write, become `?`."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        told[status] = {"model": Problem, "description": WHEN[status]}
        if status in _HEADERS:
            told[status]["headers"] = {_HEADERS[status]: {"schema": {"type": "string"}}}
    return told


def _problem(status: int, code: Code, message: str, headers: Mapping[str, str] | None = None) -> Response:
    problem = Problem(error=Trouble(code=code, message=message))
    return Response(problem.model_dump_json(), status, headers, "application/json")


async def _health() -> Health:
    """Say that the server is up."""
    return Health()


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, Refused)
    return _problem(error.status, error.code, error.message, error.headers)


async def _http_refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "malformed")
    return _problem(error.status_code, code, error.detail, error.headers)


async def _unheard(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=400)  # nobody is there to read it


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _problem(500, "internal", "the operator failed in a way that it should not; the server's log says how")
