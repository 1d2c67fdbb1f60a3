"""A real HTTP peer for Slack: `chat.postMessage` with its contract, on loopback."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.loopback import Served, Server

TOKEN = "xoxb-123456789-a-bot-of-ours"


@dataclass
class SlackServer:
    """Takes messages to `channels` from whoever has the token, after its `faults`: statuses instead of answers."""

    channels: tuple[str, ...] = ("#runs",)
    faults: list[int] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        app = Starlette(routes=[Route("/api/chat.postMessage", self._post, methods=["POST"])])
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._served = Served(Server(config), "Slack server")

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"{self._served.address}/api/"

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(self, *exit_: object) -> None:
        self._served.__exit__(*exit_)

    async def _post(self, request: Request) -> Response:
        self.requests += 1
        if self.faults:
            status = self.faults.pop(0)
            return JSONResponse({"ok": False, "error": "ratelimited"}, status, {"Retry-After": "0"})
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"ok": False, "error": "invalid_auth"})
        is_json = request.headers["content-type"].startswith("application/json")
        body: dict[str, Any] = await request.json() if is_json else dict(await request.form())
        if body["channel"] not in self.channels:
            return JSONResponse({"ok": False, "error": "channel_not_found"})
        self.messages.append(body)
        return JSONResponse({"ok": True, "channel": "C1", "ts": f"{len(self.messages)}.0", "message": {}})


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    """Yield a running server."""
    with SlackServer() as server:
        yield server
