"""One request to a server of operators, and the class of what came of it: the class decides.

Answer, Listing   200 with a body that is one
Failed            400, 413, 415, 422: this image is not for this operator, and never will be
Again             408, 425, 429, 5xx, a lost or silent connection, a body that is none: worth another attempt
OperatorUnavailable is raised for the rest (401, 403, 404, 421, redirects, ...): no request can work
"""

import io
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ValidationError

from mmat_dagster.operators.observation import one_line
from mmat_dagster.tools import Failed, OperatorUnavailable
from resources.operator_contract import OPERATORS, Answer, Listing
from resources.redaction import Secret

M = TypeVar("M", bound=BaseModel)

OK = 200
OF_THIS_IMAGE = frozenset({400, 413, 415, 422})
PASSING = frozenset({408, 425})
# Said by a server that works, but not now: no image is to blame.
AWAY = frozenset({429, 503})
# A server that says so may be away for long; beyond this it is asked again anyway.
LONGEST_PAUSE_S = 120.0
CONNECT_S = 10.0
# Idle connections are given up before a server does: many close theirs after 5 s.
IDLE_S = 4.0
EXCERPT = 200
TOLD = 500
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}

HOPELESS: Mapping[int, str] = {
    401: "refuses the token: set `token` to the one that the server was started with",
    403: "denies access: set `token` to one that it takes",
    404: "does not serve the operator {name}: start it there, or set another `url`",
    421: "does not answer to this host name: start it with --allowed-host {host}",
}


@dataclass(frozen=True, kw_only=True)
class Again:
    """Trouble that may pass; `is_away` where no image can be to blame, `after_s` where the server says when."""

    said: str
    is_away: bool = False
    after_s: float | None = None


Outcome: TypeAlias = Answer | Failed | Again


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a server is talked to: who asks, how long and how much is waited for."""

    url: str
    token: str | None
    timeout_s: float
    max_response_bytes: int

    @property
    def host(self) -> str:
        """The server's host name."""
        return urlsplit(self.url).hostname or ""

    def session(self, connections: int) -> aiohttp.ClientSession:
        """Open a session, within a running event loop."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_S),
            timeout=aiohttp.ClientTimeout(total=self.timeout_s, sock_connect=min(CONNECT_S, self.timeout_s)),
            headers={**HEADERS, **({"Authorization": f"Bearer {self.token}"} if self.token else {})},
            cookie_jar=aiohttp.DummyCookieJar(),
            # A body that unpacks into more than it seems is not unpacked.
            auto_decompress=False,
        )


@dataclass(frozen=True, kw_only=True)
class OperatorServer:
    """A server, seen from one operator of its; every method sends one request, once."""

    session: aiohttp.ClientSession
    manners: Manners
    name: str

    async def answer(self, image: bytes, parameters: str | None) -> Outcome:
        """Have the operator look at an image."""
        form = aiohttp.FormData()
        form.add_field("image", io.BytesIO(image), filename="image", content_type="application/octet-stream")
        if parameters is not None:
            form.add_field("parameters", parameters)
        answer = await self._send("POST", f"{OPERATORS}/{self.name}", Answer, form)
        if isinstance(answer, Answer) and answer.operator != self.name:
            return Again(said=f"the answer is from the operator {answer.operator[:100]!r}")
        return answer

    async def listing(self) -> Listing | Again:
        """Ask which operators there are."""
        listing = await self._send("GET", OPERATORS, Listing)
        return Again(said=listing.detail) if isinstance(listing, Failed) else listing

    async def _send(
        self, method: str, path: str, form: type[M], body: aiohttp.FormData | None = None
    ) -> M | Failed | Again:
        url = self.manners.url.rstrip("/") + path
        try:
            async with self.session.request(method, url, data=body, allow_redirects=False) as response:
                content = await self._read(response)
                if isinstance(content, Again):
                    return content
                return (
                    self._parsed(response, content, form) if response.status == OK else self._class(response, content)
                )
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise self.hopeless(f"cannot be trusted: check its certificate ({self._told(error)})") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Again(said=self._told(error) or "no connection", is_away=True)
        except TimeoutError:
            return Again(said=f"no answer in {self.manners.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Again(said=self._told(error))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | Again:
        """Return the body, without the token: what an operator says becomes part of a dialogue."""
        content = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            content += chunk
            if len(content) > self.manners.max_response_bytes:
                return Again(said=f"the answer is longer than {self.manners.max_response_bytes:,} bytes")
        return self._secret.cleared_bytes(bytes(content))

    def _parsed(self, response: aiohttp.ClientResponse, content: bytes, form: type[M]) -> M | Again:
        if response.content_type != "application/json":
            return Again(said=f"the answer is {response.content_type[:100]}, not application/json")
        try:
            return form.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))[:EXCERPT]
            return Again(said=f"the answer does not fit: {where}: {first['msg']}".replace(": :", ":"))

    def _class(self, response: aiohttp.ClientResponse, content: bytes) -> Failed | Again:
        """Return the class of a response that is no success; raise OperatorUnavailable where none can be one."""
        status, said = response.status, _said(content)
        told = f"status {status} {said}".strip()
        if status in OF_THIS_IMAGE:
            return Failed(detail=said or told)
        if status in AWAY:
            return Again(said=told, is_away=True, after_s=_after_s(response))
        if status in PASSING or status >= 500:
            return Again(said=told, after_s=_after_s(response))
        if 300 <= status < 400:
            where = self._secret.cleared(response.headers.get("Location", ""))[:EXCERPT]
            raise self.hopeless(f"sends elsewhere ({status} {where}), where nobody follows: set `url` to the end of it")
        advice = HOPELESS.get(status, "does not speak the contract of operators: check `url`")
        # What a server says about a bad token may quote parts of it.
        raise self.hopeless(advice.format(name=self.name, host=self.manners.host) + f" ({told})" * (status != 401))

    def hopeless(self, advice: str) -> OperatorUnavailable:
        """Return the error that ends the run."""
        return OperatorUnavailable(f"{self.name}: the server {self.manners.url} {advice}")

    def _told(self, error: Exception) -> str:
        return self._secret.cleared(str(error))[:TOLD] or type(error).__name__

    @cached_property
    def _secret(self) -> Secret:
        return Secret(self.manners.token or "")


class _Message(BaseModel):
    message: str


class _Problem(BaseModel):
    """What is needed of a Problem; other servers may have codes of their own."""

    error: _Message


def _said(content: bytes) -> str:
    """Return what an error's body says, on one line."""
    try:
        said = _Problem.model_validate_json(content).error.message[:TOLD]
    except ValidationError:
        said = content[:EXCERPT].decode(errors="replace")
    return one_line(said)


def _after_s(response: aiohttp.ClientResponse) -> float | None:
    """Return the pause that the server asks for, in seconds; a date is left to the back-off."""
    try:
        after_s = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(max(0.0, after_s), LONGEST_PAUSE_S)
