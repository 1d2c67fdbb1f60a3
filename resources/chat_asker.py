"""Asks a paid server through the ledger: claims, sends, stores, and only then tells.

ledger has it -> told         else claim -> send -> Answered -> stored -> told
                                                 -> Again    -> still troubled after all attempts: whose fault?
                                                 -> Hopeless -> the run ends; what is under way is finished
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from uuid import uuid4

from mmat_dagster.chat.replies import OK
from mmat_dagster.interfaces import BudgetReached, RowError, TeacherUnavailable
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import Admit, Settle, StoredReply, Terms, Withdraw
from resources.chat_attempts import Attempts, Health, Patience
from resources.chat_counts import Counts
from resources.outcomes import Again, Answered, Hopeless, Outcome, Server

# Until the first reply has told of limits and of how long replies are, so many requests may be under way.
FIRST_STEPS = 16
ENDING = "the run is ending: nothing new is sent"


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A request ready to be sent: the key of its reply, its body, its expected tokens and the most it can cost."""

    key: bytes
    body: bytes
    tokens: float
    reserve_usd: float


Prepare = Callable[[], Awaitable[Errand | RowError]]


@dataclass(kw_only=True)
class Asker:
    """Sends errands of one event loop; an errand that was begun ends in the ledger, whoever still waits for it.

    `look_up` runs once, before the first request is sent; `price` completes an answer with its cost; `canary` makes
    the cheapest errand there is, whose answer tells that the server is well.
    """

    server: Server
    ledger: Ledger
    terms: Terms
    patience: Patience
    concurrency: int
    counts: Counts
    look_up: Callable[[], Coroutine[None, None, None]]
    price: Callable[[Answered], StoredReply]
    canary: Callable[[bytes], Errand]
    _under_way: dict[bytes, asyncio.Task[StoredReply | RowError]] = field(default_factory=dict)
    _held: dict[bytes, Errand] = field(default_factory=dict)
    _looked_up: asyncio.Task[None] | None = None
    _canary: asyncio.Task[bool] | None = None
    _failure: str | None = None

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(min(FIRST_STEPS, self.concurrency))
        self._reserve_slots = max(0, self.concurrency - FIRST_STEPS)
        self._health = Health(answered_at=time.monotonic())

    async def ask(self, key: bytes, prepare: Prepare) -> StoredReply | RowError:
        """Return the reply to `key`; `prepare` makes the errand where it has to be sent.

        Raises TeacherUnavailable, BudgetReached, HeldByBatch and LedgerError.
        """
        task = self._under_way.get(key)
        if task is not None:
            self.counts.reused += 1
        else:
            task = asyncio.create_task(self._run(prepare))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        # Who asked may be cancelled, as all are when a run fails: what is paid is still stored.
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait for what was sent, send nothing new, and end the claims that nobody will settle."""
        self._health.is_ending = True
        unsent = {key: task for key, task in self._under_way.items() if key not in self._held}
        beside = [task for task in (self._looked_up, self._canary) if task is not None and not task.done()]
        for task in (*unsent.values(), *beside):
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        while self._under_way:
            await asyncio.wait(list(self._under_way.values()))
        for key in unsent:  # the ledger may have let it through in this very moment
            await self.ledger.do(Withdraw(key=key, is_lost=False))
        for key in list(self._held):
            await self._withdraw(key, is_lost=True)

    def _forget(self, key: bytes, done: "asyncio.Task[StoredReply | RowError]") -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever asked has seen it, or was cancelled before

    async def _run(self, prepare: Prepare) -> StoredReply | RowError:
        async with self._slots:
            self._check_end()
            await self.look_up_once()
            errand = await prepare()
            if isinstance(errand, RowError):
                return errand
            self._check_end()
            stored = await self.ledger.admit(self._admit(errand))
            if stored is None:
                return await self._send(errand)
            self.counts.reused += 1  # another process was quicker
            return stored

    def _admit(self, errand: Errand) -> Admit:
        return Admit(key=errand.key, terms=self.terms, tokens=errand.tokens, reserve_usd=errand.reserve_usd)

    async def _send(self, errand: Errand) -> StoredReply | RowError:
        self._held[errand.key] = errand
        attempts = self._attempts(errand, self.patience)
        outcome = await attempts.send()
        if isinstance(outcome, Answered):
            return await self._store(errand, outcome)
        await self._withdraw(errand.key, is_lost=False)
        is_own_fault = await self._is_own_fault(outcome, attempts.last_begun_at)
        if is_own_fault and isinstance(outcome, Again):
            tried = f"{self.patience.max_retries + 1} attempts"
            return RowError(reason="teacher gave no reply", detail=f"{tried}; the last one: {outcome.said}")
        raise self._fail(outcome)

    def _attempts(self, errand: Errand, patience: Patience) -> Attempts:
        return Attempts(
            server=self.server,
            ledger=self.ledger,
            terms=self.terms,
            patience=patience,
            health=self._health,
            counts=self.counts,
            body=errand.body,
            tokens=errand.tokens,
        )

    async def _store(self, errand: Errand, answered: Answered) -> StoredReply:
        reply = self.price(answered)
        order = Settle(
            key=errand.key,
            terms=self.terms,
            tokens=errand.tokens,
            reserve_usd=errand.reserve_usd,
            reply=reply,
            seen=answered.seen,
        )
        await self.ledger.do(order)
        self._held.pop(errand.key, None)
        self._health.answered_at = time.monotonic()
        if reply.status == OK:
            self.counts.pay(reply)
        else:
            self.counts.refused += 1
        for _ in range(self._reserve_slots):
            self._slots.release()
        self._reserve_slots = 0
        return reply

    async def _withdraw(self, key: bytes, *, is_lost: bool) -> None:
        self._held.pop(key, None)
        await self.ledger.do(Withdraw(key=key, is_lost=is_lost))

    async def _is_own_fault(self, outcome: Outcome, last_begun_at: float) -> bool:
        """Say whether the server fails at this request only: others were answered meanwhile, or a tiny one is now."""
        if not isinstance(outcome, Again) or outcome.kind == "limit" or self._health.is_ending:
            return False
        if self._health.answered_at > last_begun_at:
            return True
        if self._canary is None or self._canary.done():
            self._canary = asyncio.create_task(self._sing())
        return await asyncio.shield(self._canary)

    async def _sing(self) -> bool:
        errand = self.canary(uuid4().bytes)
        try:
            stored = await self.ledger.admit(self._admit(errand))
        except BudgetReached:
            return False
        if stored is None:
            self._held[errand.key] = errand
            once = Patience(max_retries=0, backoff_s=0.0, give_up_s=0.0)
            outcome = await self._attempts(errand, once).send()
            if isinstance(outcome, Answered):
                await self._store(errand, outcome)
                return True
            await self._withdraw(errand.key, is_lost=False)
        return False

    def _fail(self, outcome: Again | Hopeless) -> TeacherUnavailable:
        """Return the error that ends the run; from now on nothing new is sent."""
        if self._failure is None:
            self._health.is_ending = True
            if isinstance(outcome, Hopeless):
                advice = outcome.advice
            elif outcome.kind == "limit":
                minutes = self.patience.give_up_s / 60
                advice = f"{self.server.name} has let nothing through for {minutes:g} minutes ({outcome.said})"
            else:
                advice = (
                    f"{self.server.name} fails after {self.patience.max_retries} retries: "
                    f"check {self.server.fields_to_check} ({outcome.said})"
                )
            self._failure = advice
        return TeacherUnavailable(self._failure)

    def _check_end(self) -> None:
        if self._health.is_ending:
            raise TeacherUnavailable(self._failure or ENDING)

    async def look_up_once(self) -> None:
        """Look up what is asked, before the first request; raise TeacherUnavailable where it cannot be asked."""
        if self._looked_up is None:
            self._looked_up = asyncio.create_task(self.look_up())
        try:
            await asyncio.shield(self._looked_up)
        except TeacherUnavailable as error:
            self._health.is_ending, self._failure = True, self._failure or str(error)
            raise TeacherUnavailable(self._failure) from None
