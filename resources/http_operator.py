"""Operators that another machine runs, over HTTP: a server of this project (serve-operators), or of the same contract.

    this image's fault      -> Failed                 refused, or failed at again and again by a server that is well
    no image can be seen    -> OperatorUnavailable    not allowed, not served, changed in mid-run, away for too long

The token goes into the Authorization header and nowhere else. Nothing but the configured server is ever reached.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

import dagster as dg
import orjson
from pydantic import Field, PrivateAttr

from mmat_dagster.operators.observation import MAX_CHARS, one_line
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from resources.circuit import Circuit
from resources.operator_contract import LOOPBACK, Answer, is_allowed
from resources.operator_http import Again, Manners, OperatorServer
from resources.operator_line import CHECK_S, Errand, Line, Patience, version_in

PORTS = {"http": 80, "https": 443}


class HttpOperator(dg.ConfigurableResource[Operator], Operator):
    """Has images looked at by a server; the version is the server's, which is asked for it when it is first needed."""

    takes: ClassVar[tuple[str, ...]] = ("question", "phrases")
    """What of a look, besides the image, is sent, since the operator depends on it."""

    url: str = Field(default="http://127.0.0.1:8100", description="The server, up to but not including /v1.")
    allowed_hosts: list[str] = Field(
        default=list(LOOPBACK), description="Hosts, or host:port, of which `url` must have one; images go nowhere else."
    )
    token: str = Field(default="", repr=False, description="What the server wants to be shown; may be empty.")
    timeout_s: float = Field(default=120.0, gt=0, description="How long one attempt may wait for the server.")
    max_retries: int = Field(default=4, ge=0, description="Further attempts at an image that the server fails at.")
    backoff_s: float = Field(default=1.0, gt=0, description="The first pause before another attempt; it doubles.")
    concurrency: int = Field(default=8, gt=0, description="Images under way at once, for each event loop.")
    max_response_bytes: int = Field(default=4_000_000, gt=0, description="A longer answer counts as a failure.")
    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer observation is cut, and the cut marked.")
    give_up_s: float = Field(default=300.0, gt=0, description="The run ends where a server is away for so long.")
    breaker_failures: int = Field(default=5, gt=0, description="After so many in a row nothing is sent for a while.")
    breaker_pause_s: float = Field(default=5.0, gt=0, description="The first such pause; it doubles up to a minute.")

    _lines: dict[asyncio.AbstractEventLoop, Line] = PrivateAttr(default_factory=dict)
    _learning: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _known: str | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Forget what a former run was told."""
        self._known = None

    @property
    def version(self) -> str:
        """What the server says that decides its results, and how long an observation may be."""
        return f"{self._server_version()} max_chars={self.max_chars}"

    def parameters(self, look: Look) -> str:
        """Return what is sent besides the image."""
        asked: dict[str, str | list[str]] = {}
        if "question" in self.takes and look.question:
            asked["question"] = _sound(look.question)
        if "phrases" in self.takes and look.phrases:
            asked["phrases"] = [_sound(phrase) for phrase in look.phrases]
        return orjson.dumps(asked).decode() if asked else ""

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:  # noqa: ARG002
        """Open connections for the running event loop; the last one to leave closes them."""
        loop = asyncio.get_running_loop()
        version = await asyncio.to_thread(self._server_version)
        if loop not in self._lines:
            self._lines[loop] = self._line(version)
        line = self._lines[loop]
        line.users += 1
        try:
            yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[loop]
                await line.close()

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Have every image looked at; raise OperatorUnavailable where the server is away or not as it was."""
        async with self.session("looks"):
            line = self._lines[asyncio.get_running_loop()]
            tasks = [asyncio.ensure_future(self._see(line, look)) for look in looks]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _see(self, line: Line, look: Look) -> Sight | Failed:
        seen = await line.see(Errand(look=look, parameters=self.parameters(look) or None))
        if isinstance(seen, Answer):
            return Sight(text=one_line(seen.text, self.max_chars), details=seen.details)
        return Failed(detail=one_line(seen.detail, self.max_chars))

    def _line(self, version: str) -> Line:
        manners = self._manners()
        circuit = Circuit(failures=self.breaker_failures, pause_s=self.breaker_pause_s, give_up_s=self.give_up_s)
        return Line(
            server=OperatorServer(session=manners.session(self.concurrency), manners=manners, name=self.name),
            circuit=circuit,
            patience=Patience(max_retries=self.max_retries, backoff_s=self.backoff_s),
            version=version,
            slots=asyncio.Semaphore(self.concurrency),
        )

    def _server_version(self) -> str:
        with self._learning:
            if self._known is None:
                # In a thread of its own: whoever asks may stand in a running event loop.
                with ThreadPoolExecutor(1) as thread:
                    self._known = thread.submit(asyncio.run, self._fetch_version()).result()
            return self._known

    async def _fetch_version(self) -> str:
        manners = self._manners(min(CHECK_S, self.timeout_s))
        async with manners.session(1) as session:
            server = OperatorServer(session=session, manners=manners, name=self.name)
            listing = await server.listing()
        if isinstance(listing, Again):
            raise server.hopeless(f"does not tell its operators ({listing.said}): start it, or set another `url`")
        return version_in(listing, server)

    def _manners(self, timeout_s: float | None = None) -> Manners:
        """Return how the server is talked to; raise OperatorUnavailable for settings that must not be used."""
        token = self.token.strip()
        if not (token.isascii() and token.isprintable()):
            raise OperatorUnavailable(f"{self.name}: the token holds a character that no token has: set it again")
        return Manners(
            url=_checked(self.name, self.url, self.allowed_hosts),
            token=token or None,
            timeout_s=timeout_s or self.timeout_s,
            max_response_bytes=self.max_response_bytes,
        )


class HttpOCR(HttpOperator):
    """Reads text, on another machine."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = PURPOSES["ocr"]
    takes: ClassVar[tuple[str, ...]] = ()


class HttpFaceDetection(HttpOperator):
    """Finds faces, on another machine."""

    name: ClassVar[str] = "face_detection"
    purpose: ClassVar[str] = PURPOSES["face_detection"]
    takes: ClassVar[tuple[str, ...]] = ()


class HttpLabelBbox(HttpOperator):
    """Finds named things, on another machine."""

    name: ClassVar[str] = "label_bbox"
    purpose: ClassVar[str] = PURPOSES["label_bbox"]


class HttpImageCaption(HttpOperator):
    """Describes images, on another machine."""

    name: ClassVar[str] = "image_caption"
    purpose: ClassVar[str] = PURPOSES["image_caption"]
    takes: ClassVar[tuple[str, ...]] = ("question",)


def _checked(name: str, url: str, allowed_hosts: Sequence[str]) -> str:
    """Return `url` where images may be sent there; raise OperatorUnavailable where not."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in PORTS or not parts.netloc or parts.query or parts.fragment:
        raise OperatorUnavailable(f"{name}: `url` must be like http://gpu:8100 or https://gpu.example")
    if "@" in parts.netloc:
        raise OperatorUnavailable(f"{name}: `url` must not hold a name or password: use `token`")
    if not is_allowed(parts.netloc, allowed_hosts, PORTS[parts.scheme]):
        raise OperatorUnavailable(
            f"{name}: the host {parts.netloc} of `url` is not one of `allowed_hosts` "
            f"({', '.join(allowed_hosts) or 'none'}): add it there (MMAT_OPERATOR_HOSTS) if images may be sent to it"
        )
    return url


def _sound(text: str) -> str:
    """Return `text` with question marks for halves of surrogate pairs, which no JSON takes."""
    return text.encode("utf-8", "replace").decode()
