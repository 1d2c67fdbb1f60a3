"""The calls beside chat completions (models, files, batches): tried again where that may help, told where not."""

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import httpx2
import openai
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from mmat_dagster.interfaces import TeacherUnavailable
from resources.chat_http import ChatServer, causes
from resources.outcomes import Hopeless

ATTEMPTS = 5
LONGEST_PAUSE_S = 30.0
# The last one: a download that was cut in its middle, which the SDK does not wrap.
PASSING = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError, httpx2.TransportError)

T = TypeVar("T")


async def call(
    server: ChatServer,
    backoff_s: float,
    function: Callable[[], Awaitable[T]],
    *,
    attempts: int = ATTEMPTS,
    absent: Collection[int] = (),
) -> T | None:
    """Return what `function` returns; None where the server answers with a status in `absent`.

    Raises TeacherUnavailable, without the SDK's own error behind it, which may quote what must not be told.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(PASSING),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=backoff_s, max=LONGEST_PAUSE_S) + wait_random(0, backoff_s),
        reraise=True,
    )

    async def attempt() -> T:
        return await function()  # `function` may be a lambda, which tenacity would not await

    try:
        return await retrying(attempt)
    except openai.APIStatusError as error:
        if error.status_code in absent:
            return None
        failure = refusal(server, error)
    except (openai.APIConnectionError, httpx2.TransportError) as error:
        said = server.cleared(str(causes(error)[-1]))
        failure = f"{server.name} cannot be reached: check `base_url` and the network ({said})"
    raise TeacherUnavailable(failure)


def refusal(server: ChatServer, error: openai.APIStatusError) -> str:
    """Return what to do about an error response, without what a server may quote of the key."""
    outcome = server.refusal(error.response)
    if isinstance(outcome, Hopeless):
        return outcome.advice
    said = server.cleared(str(error))[:300]
    return f"{server.name} refuses {error.request.method} {error.request.url.path}: {said}"
