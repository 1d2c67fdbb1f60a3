"""One attempt at a chat-completions request over HTTP, and the class of what came of it.

Answered   200, or an error that this request would get again (400, 413, 422): kept in the ledger
Again      408, 409, 429, 5xx, a lost or silent connection, a body that is none: worth another attempt
Hopeless   3xx, 401, 402, 403, 404, no quota, settings that the model does not take: no request can work
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import httpx2
import openai
from pydantic import ValidationError

from mmat_dagster.chat.replies import parse_error, read_usage
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.buckets import RateSeen
from resources.outcomes import Again, Answered, Hopeless, Outcome
from resources.redaction import Secret

OK = 200
TOO_MANY = 429
NO_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
# A 400 that every request would get: the fault is in the resource's fields.
MISCONFIGURED = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter", "model_not_found"})
OF_THIS_REQUEST = frozenset({400, 413, 422})
TRANSIENT = frozenset({408, 409, 425})
# A server that says so may be away for long; beyond this it is asked again anyway.
LONGEST_PAUSE_S = 120.0
EXCERPT = 100
SAID_CHARS = 300
JSON = {"Content-Type": "application/json"}

ELSEWHERE = "sends elsewhere, where nobody follows: set `base_url` to where it leads"
FOREIGN = "does not speak the chat-completions protocol: check `base_url`"
HOPELESS: Mapping[int, str] = {
    401: "refuses the key: export a valid OPENAI_API_KEY",
    402: "has no credit left for this key: add credit, then run again",
    403: "denies this key the model {model}: ask for access or set another `model`",
    404: "does not know the model {model}: check `model` and `base_url`",
}


@dataclass(frozen=True, kw_only=True)
class ChatServer:
    """A chat-completions server, reached through the SDK's client; `key` is what must never be told."""

    client: openai.AsyncOpenAI
    name: str
    model: str
    key: str
    timeout_s: float

    fields_to_check: ClassVar[str] = "`base_url`, the network and `timeout_s`"

    async def post(self, body: bytes) -> Outcome:
        """Send one request, once."""
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self.client.post(
                    "/chat/completions", cast_to=httpx2.Response, content=body, options={"headers": JSON}
                )
                return self._answered(response)
        except openai.APIStatusError as error:
            return self.refusal(error.response)
        except (openai.APIConnectionError, TimeoutError, httpx2.HTTPError) as error:
            return Again(kind="transient", said=self._lost(error))

    def hopeless(self, status: int, said: str) -> Hopeless:
        """Return what to do about a status that no request can get past."""
        advice = HOPELESS.get(status, ELSEWHERE if 300 <= status < 400 else FOREIGN)
        # What a server says about a bad key may quote parts of it.
        told = f" ({said})" if said and status != 401 else ""
        return Hopeless(advice=f"{self.name} {advice.format(model=self.model)}{told}")

    def cleared(self, said: str) -> str:
        """Return `said` without the key."""
        return self._secret.cleared(said)

    def kept(self, body: bytes) -> bytes:
        """Return a response's body as it may be kept: without the key."""
        return self._secret.cleared_bytes(body)

    def _answered(self, response: httpx2.Response) -> Outcome:
        body = response.content
        try:
            paid = read_usage(body)
        except ValidationError:
            return Again(kind="transient", said=f"the answer is no chat completion: {self._excerpt(body)}")
        return Answered(
            status=response.status_code,
            body=self.kept(body),
            paid=paid,
            request_id=self._id(response),
            seen=_seen(response),
        )

    def refusal(self, response: httpx2.Response) -> Outcome:
        """Return the class of an error response."""
        status, body = response.status_code, self.kept(response.content)
        code, said = parse_error(body)
        said = self.cleared(response.headers.get("location", said) if 300 <= status < 400 else said)[:SAID_CHARS]
        if code in NO_QUOTA:
            return Hopeless(advice=f"{self.name} has no quota left for this key: add credit, then run again")
        if status == TOO_MANY:
            return Again(kind="limit", said=said or "429", after_s=_after_s(response), seen=_seen(response))
        if status in TRANSIENT or status >= 500:
            return Again(kind="transient", said=f"status {status} {said}".strip(), after_s=_after_s(response))
        if status in OF_THIS_REQUEST and code in MISCONFIGURED:
            return Hopeless(advice=f"{self.name} does not take these settings: change the field that it names ({said})")
        if status in OF_THIS_REQUEST:
            return Answered(status=status, body=body, paid=Paid(), request_id=self._id(response), seen=_seen(response))
        return self.hopeless(status, said)

    def _lost(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) or (
            isinstance(error, openai.APITimeoutError) and not any(isinstance(each, OSError) for each in causes(error))
        ):
            return f"no answer in {self.timeout_s:g} s"
        return self.cleared(str(causes(error)[-1]))[:300] or type(error).__name__

    def _excerpt(self, body: bytes) -> str:
        return self.kept(body)[:EXCERPT].decode(errors="replace")

    def _id(self, response: httpx2.Response) -> str | None:
        told = response.headers.get("x-request-id")
        return None if told is None else self.cleared(told)

    @cached_property
    def _secret(self) -> Secret:
        return Secret(self.key)


@cache
def _certificates() -> ssl.SSLContext:
    """Return whom to trust; to read that again for every client takes longer than a request."""
    return httpx2.create_ssl_context()


@asynccontextmanager
async def open_server(base_url: str, model: str, key: str, timeout_s: float) -> AsyncIterator[ChatServer]:
    """Yield the server at `base_url`; close its client in the end."""
    # 0 is aiohttp's word for no limit; with None the SDK's transport leaves aiohttp at 100.
    limits = httpx2.Limits(max_connections=0)
    client = openai.AsyncOpenAI(
        api_key=key or "none",  # the SDK wants one, local servers take any
        base_url=base_url,
        timeout=timeout_s,
        max_retries=0,
        # What is asked, images and all, goes to whom it is meant for and nowhere else.
        http_client=openai.DefaultAioHttpClient(limits=limits, follow_redirects=False, verify=_certificates()),
    )
    try:
        yield ChatServer(client=client, name=base_url, model=model, key=key, timeout_s=timeout_s)
    finally:
        await client.close()


def causes(error: BaseException) -> Sequence[BaseException]:
    """Return `error` and what it was raised from, the first cause last."""
    return [error, *(causes(error.__cause__) if error.__cause__ is not None else [])]


def _after_s(response: httpx2.Response) -> float | None:
    """Return the pause that the server asks for, in seconds; a date is left to the back-off."""
    for header, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        after_s = _number(response.headers.get(header))
        if after_s is not None:
            return min(max(0.0, after_s * unit_s), LONGEST_PAUSE_S)
    return None


def _seen(response: httpx2.Response) -> RateSeen | None:
    headers = response.headers
    if "x-ratelimit-limit-requests" not in headers and "x-ratelimit-limit-tokens" not in headers:
        return None
    return RateSeen(
        requests_per_minute=_number(headers.get("x-ratelimit-limit-requests")),
        tokens_per_minute=_number(headers.get("x-ratelimit-limit-tokens")),
        requests_left=_number(headers.get("x-ratelimit-remaining-requests")),
        tokens_left=_number(headers.get("x-ratelimit-remaining-tokens")),
    )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
