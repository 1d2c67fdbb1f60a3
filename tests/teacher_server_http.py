"""HTTP as the teacher's server needs it: a door that asks for the key, and connections that break when told."""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.chat_server import OK, ServerReply, error_reply
from tests.loopback import Server

WRONG_KEY = error_reply(401, "Incorrect API key provided.", "invalid_api_key")


class Peer(Server):
    """Hangs up on a client when told, and waits for nobody when it goes down."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection and drop the work on it."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def hang_up(self, request: Request) -> None:
        """Close the connection of `request` once what was written is sent; nothing further reaches the client."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) == request.scope["client"]:
                connection.transport.close()
        await wait_until_gone(request)


class Door:
    """Asks for the key, gives every response its id, and books it."""

    def __init__(self, app: ASGIApp, key: str | None, book: Callable[[str, str, int], None]) -> None:
        self._app = app
        self._key = key
        self._book = book

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in or refuse it."""

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-request-id", f"req_{uuid.uuid4().hex}".encode()))
                self._book(scope["method"], scope["path"], message["status"])
            await send(message)

        app = self._app if self._is_allowed(scope) else respond_as(WRONG_KEY, {})
        # Only a server that goes down cancels; the client is gone by then.
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send_with_id)

    def _is_allowed(self, scope: Scope) -> bool:
        return self._key is None or (b"authorization", f"Bearer {self._key}".encode()) in scope["headers"]


class CutResponse(Response):
    """Promises the whole body, sends half of it, and hangs up."""

    def __init__(self, content: bytes, headers: Mapping[str, str], hang_up: Callable[[], Awaitable[None]]) -> None:
        super().__init__(content, OK, headers, "application/json")
        self._hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the half."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        await self._hang_up()


def respond_as(reply: ServerReply, headers: Mapping[str, str]) -> Response:
    """Return the response that `reply` spells out, with `headers` where it has no other ones."""
    return Response(reply.body, reply.status, {**headers, **reply.headers}, "application/json")


async def wait_until_gone(request: Request) -> None:
    """Wait until the client of `request` is no longer there."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
