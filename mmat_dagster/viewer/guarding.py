"""What keeps the viewer safe in a browser: who may ask, how, and what a page may do."""

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
METHODS = ("GET", "HEAD")
# Scripts and styles are the viewer's own files: a text of the data that became markup could still run nothing.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Answers requests for reading that name this machine, and tells browsers what pages may do.

    A page elsewhere can have its own host name resolve to 127.0.0.1 and so read what is served here; its requests
    carry that name.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = LOOPBACK) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._answering(scope)(scope, receive, send_guarded)

    def _answering(self, scope: Scope) -> ASGIApp:
        if _host(Headers(scope=scope).get("host", "")) not in self._hosts:
            return PlainTextResponse("This viewer answers to its own machine only.", status_code=421)
        if scope["method"] not in METHODS:
            return PlainTextResponse(
                "There is nothing to change here.", status_code=405, headers={"Allow": "GET, HEAD"}
            )
        return self._app


def _host(header: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdigit() else header).casefold()
