"""One attempt at a search over HTTP (aiohttp): the key goes into a header, redirects are not followed, answers are JSON
of bounded size.
"""

import asyncio
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import aiohttp
import orjson
from pydantic import ValidationError

from mmat_dagster.ledger.accounts import Paid
from resources.google_errors import classify
from resources.google_results import read_page
from resources.outcomes import Again, Answered, Outcome
from resources.redaction import Secret

OK = 200
CHUNK = 65_536
KEY_HEADER = "X-Goog-Api-Key"
# Google compresses for clients that also say so here.
HEADERS = {"Accept": "application/json", "User-Agent": "mmat-dagster (gzip)"}
EXCERPT = 100

KeyPlace = Literal["header", "parameter"]


def open_client() -> aiohttp.ClientSession:
    """Return a client for the running event loop: any number of connections, the environment's proxies, no cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trust_env=True, headers=HEADERS
    )


def bare_url(endpoint: str) -> str:
    """Return an endpoint as it may be told: without the name and password that it may hold."""
    at = urlsplit(endpoint)
    return at._replace(netloc=at.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


@dataclass(frozen=True, kw_only=True)
class GoogleServer:
    """A server that speaks the Custom Search JSON API; `key` is what must never be told."""

    client: aiohttp.ClientSession
    endpoint: str
    key: str
    key_place: KeyPlace
    timeout_s: float
    max_bytes: int

    fields_to_check: ClassVar[str] = "`endpoint`, the network and `timeout_s`"

    @property
    def name(self) -> str:
        """How people are told of it."""
        return bare_url(self.endpoint)

    async def post(self, body: bytes) -> Outcome:
        """Ask for one page of results, once; `body` holds the parameters."""
        try:
            async with asyncio.timeout(self.timeout_s), self._get(body) as response:
                return await self._outcome(response)
        except TimeoutError:
            return Again(kind="transient", said=f"no answer in {self.timeout_s:g} s")
        except aiohttp.ClientError as error:
            return Again(kind="transient", said=self._secret.cleared(str(error))[:300] or type(error).__name__)

    def _get(self, body: bytes) -> "aiohttp.client._RequestContextManager":
        in_header = self.key_place == "header"
        headers = {KEY_HEADER: self.key} if self.key and in_header else {}
        parameters = orjson.loads(body) | ({"key": self.key} if self.key and not in_header else {})
        return self.client.get(self.endpoint, params=parameters, headers=headers, allow_redirects=False)

    async def _outcome(self, response: aiohttp.ClientResponse) -> Outcome:
        read = await self._read(response)
        if read is None:
            return Again(kind="transient", said=f"the answer is longer than {self.max_bytes:,} bytes")
        body = self._secret.cleared_bytes(read)
        if response.status != OK:
            return classify(self.name, response.status, body, response.headers)
        try:
            if response.content_type.endswith("json"):
                read_page(body)
                return Answered(status=OK, body=body, paid=Paid(), request_id=None, seen=None)
        except ValidationError:
            pass
        told = body[:EXCERPT].decode(errors="replace")
        return Again(kind="transient", said=f"the answer is no search result: {told}")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Return the body; None where it is longer than allowed, the rest of it unread."""
        held = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            held += chunk
            if len(held) > self.max_bytes:
                response.close()
                return None
        return bytes(held)

    @cached_property
    def _secret(self) -> Secret:
        return Secret(self.key)
