"""The attempts at one request: back-off with jitter, the server's own word on when, and when it is enough.

Trouble of the line or the server is waited out `max_retries` times. A limit is not the request's fault and is waited
out as long as anything at all is answered, at most `give_up_s` without that.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential, wait_random

from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import Resend, SlowDown, Terms
from resources.chat_counts import Counts
from resources.outcomes import Again, Outcome, Server

LONGEST_BACKOFF_S = 60.0
# A server's "in 2 s" is told to many at once: they come back spread over a little longer.
SPREAD = 0.2


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long trouble is waited out: attempts after the first, the first pause, and how long limits may last."""

    max_retries: int
    backoff_s: float
    give_up_s: float


@dataclass(kw_only=True)
class Health:
    """What is known of the server: when it last answered (seconds of the monotonic clock), and whether all is over."""

    answered_at: float
    is_ending: bool = False


@dataclass(kw_only=True)
class Attempts:
    """Sends one body until it is answered or it is enough; `tokens` are taken from the buckets for every attempt.

    The first attempt's tokens were taken when it was admitted. `last_begun_at` is when the last one began.
    """

    server: Server
    ledger: Ledger
    terms: Terms
    patience: Patience
    health: Health
    counts: Counts
    body: bytes
    tokens: float
    last_begun_at: float = 0.0
    _troubles: int = 0

    async def send(self) -> Outcome:
        """Return the answer, or the last trouble."""
        outcome = await self._attempt()
        return await self._go_on(outcome) if isinstance(outcome, Again) else outcome

    async def _go_on(self, first: Outcome) -> Outcome:
        """Try again after the first trouble, which is what the first attempt of this loop returns."""
        known = [first]

        async def attempt() -> Outcome:
            return known.pop() if known else await self._attempt()

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda outcome: isinstance(outcome, Again)),
            stop=self._is_enough,
            wait=self._wait(),
            before=self._before,
            retry_error_callback=_outcome,
        )
        outcome: Outcome = await retrying(attempt)
        return outcome

    async def _before(self, state: RetryCallState) -> None:
        if state.attempt_number > 1 and not self.health.is_ending:
            self.counts.retries += 1
            await self.ledger.do(Resend(terms=self.terms, tokens=self.tokens))

    async def _attempt(self) -> Outcome:
        if self._troubles and self.health.is_ending:
            return Again(kind="transient", said="the run is ending")
        self.last_begun_at = time.monotonic()
        outcome = await self.server.post(self.body)
        if not isinstance(outcome, Again):
            return outcome
        if outcome.kind == "limit":
            self.counts.limited += 1
            order = SlowDown(terms=self.terms, tokens=self.tokens, after_s=outcome.after_s, seen=outcome.seen)
            await self.ledger.do(order)
        else:
            self._troubles += 1
        return outcome

    def _is_enough(self, state: RetryCallState) -> bool:
        if self.health.is_ending:
            return True
        if _trouble(state).kind == "limit":
            return time.monotonic() - self.health.answered_at > self.patience.give_up_s
        return self._troubles > self.patience.max_retries

    def _wait(self) -> Callable[[RetryCallState], float]:
        backoff = wait_exponential(multiplier=self.patience.backoff_s, max=LONGEST_BACKOFF_S) + wait_random(
            0, self.patience.backoff_s
        )

        def wait_s(state: RetryCallState) -> float:
            after_s = _trouble(state).after_s
            return backoff(state) if after_s is None else after_s * (1 + SPREAD * random.random())

        return wait_s


def _outcome(state: RetryCallState) -> Outcome:
    assert state.outcome is not None
    outcome: Outcome = state.outcome.result()
    return outcome


def _trouble(state: RetryCallState) -> Again:
    outcome = _outcome(state)
    assert isinstance(outcome, Again)
    return outcome
