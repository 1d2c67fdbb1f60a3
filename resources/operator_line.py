"""The line from one event loop to a server of operators: attempts, back-off, and a circuit breaker over all of them.

An image that the server fails at is given up after `max_retries` more attempts, if the server is well otherwise: the
circuit is closed, and the server lists its operators. Where it is not, everybody waits, and one image after the other
tries whether it is back; where it does not come back, all callers get OperatorUnavailable.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential, wait_random

from mmat_dagster.tools import Failed, Look, OperatorUnavailable
from resources.circuit import Circuit
from resources.operator_contract import Answer, Listing
from resources.operator_http import Again, OperatorServer, Outcome

LONGEST_BACKOFF_S = 30.0
SPREAD = 0.2
CHECK_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long trouble is waited out: attempts after the first, and the first pause."""

    max_retries: int
    backoff_s: float


@dataclass(kw_only=True)
class Errand:
    """One image on its way, and how often the server failed at it."""

    look: Look
    parameters: str | None
    troubles: int = 0


@dataclass(kw_only=True)
class Line:
    """Carries the errands of one event loop; `users` counts who holds it open."""

    server: OperatorServer
    circuit: Circuit
    patience: Patience
    version: str
    slots: asyncio.Semaphore
    users: int = 0
    _gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last_said: str = ""

    async def see(self, errand: Errand) -> Answer | Failed:
        """Return what the server finds in an image; raise OperatorUnavailable where it is away."""
        retrying = AsyncRetrying(retry=retry_if_result(_is_trouble), wait=self._wait())
        outcome: Outcome = await retrying(self._attempt, errand)
        assert not isinstance(outcome, Again)
        return outcome

    async def _attempt(self, errand: Errand) -> Outcome:
        async with self.slots:
            async with self._gate:
                await self._until_admitted()
                if self.circuit.state == "half-open":
                    # The others wait at the gate for what this one, the probe, finds out.
                    return await self._probe(errand)
            return await self._try(errand)

    async def _until_admitted(self) -> None:
        while not self.circuit.admit():
            if self.circuit.is_spent:
                raise self._away()
            await asyncio.sleep(self.circuit.wait_s)

    async def _probe(self, errand: Errand) -> Outcome:
        try:
            return await self._try(errand)
        finally:
            self.circuit.abandon()  # of no effect where it has come to an end

    async def _try(self, errand: Errand) -> Outcome:
        image = await asyncio.to_thread(_read, errand.look)
        if isinstance(image, Failed):
            return image
        outcome = await self.server.answer(image, errand.parameters)
        if isinstance(outcome, Again):
            return await self._troubled(errand, outcome)
        self.circuit.succeed(errand.look.sha256)
        if isinstance(outcome, Answer):
            self._check_version(outcome.version)
        return outcome

    async def _troubled(self, errand: Errand, trouble: Again) -> Again | Failed:
        self._last_said = trouble.said
        self.circuit.fail(None if trouble.is_away else errand.look.sha256)
        errand.troubles += not trouble.is_away
        if errand.troubles <= self.patience.max_retries or trouble.is_away or self.circuit.state != "closed":
            return trouble
        if not await self._is_well():
            return trouble
        return Failed(detail=f"the server failed at this image {errand.troubles} times, at last: {trouble.said}")

    async def _is_well(self) -> bool:
        """Say whether the server tells of itself, as the one that it was."""
        try:
            async with asyncio.timeout(CHECK_S):
                listing = await self.server.listing()
        except TimeoutError:
            listing = Again(said=f"no list of operators in {CHECK_S:g} s")
        if isinstance(listing, Again):
            self._last_said = listing.said
            self.circuit.fail()
            return False
        self._check_version(version_in(listing, self.server))
        return True

    def _check_version(self, version: str) -> None:
        if version != self.version:
            raise self.server.hopeless(
                f"was changed in mid-run, from version {self.version!r} to {version!r}: run again, and what the "
                "old one told is asked anew"
            )

    def _away(self) -> OperatorUnavailable:
        return self.server.hopeless(
            f"has answered nothing for {self.circuit.give_up_s:g} s (at last: {self._last_said}): see whether it is "
            "up and reachable, then run again"
        )

    def _wait(self) -> Callable[[RetryCallState], float]:
        backoff = wait_exponential(multiplier=self.patience.backoff_s, max=LONGEST_BACKOFF_S) + wait_random(
            0, self.patience.backoff_s
        )
        jitter = wait_random(1, 1 + SPREAD)

        def wait_s(state: RetryCallState) -> float:
            assert state.outcome is not None
            trouble = state.outcome.result()
            assert isinstance(trouble, Again)
            if trouble.after_s is not None:
                return trouble.after_s * jitter(state)
            # An open circuit paces everybody as it is.
            return backoff(state) if self.circuit.state == "closed" else 0.0

        return wait_s

    async def close(self) -> None:
        """Close the connections."""
        await self.server.session.close()


def version_in(listing: Listing, server: OperatorServer) -> str:
    """Return the version of the server's operator; raise OperatorUnavailable where it does not serve it."""
    for described in listing.operators:
        if described.name == server.name:
            return described.version
    known = ", ".join(described.name[:50] for described in listing.operators[:20]) or "none"
    raise server.hopeless(f"does not serve this operator; it serves: {known}")


def _is_trouble(outcome: Outcome) -> bool:
    return isinstance(outcome, Again)


def _read(look: Look) -> bytes | Failed:
    """Return the image's bytes, which must be those that its record was built from."""
    try:
        content = look.image if isinstance(look.image, bytes) else look.image.read_bytes()
    except OSError as error:
        return Failed(detail=error.strerror or str(error))
    if hashlib.sha256(content).hexdigest() != look.sha256:
        return Failed(detail="the image has changed since its record was built")
    return content
