"""A thread that works off, in one go, whatever has gathered while it was busy: the group commit of the ledger.

Any number of asyncio tasks hand in orders and wait; the thread takes all that lie there, does them together (one
transaction, one write to the disk) and wakes every task whose order is settled.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mmat_dagster.interfaces import LedgerError

OrderT = TypeVar("OrderT")

CLOSED = "the reply ledger is closed"


@dataclass(kw_only=True, eq=False)
class Ticket(Generic[OrderT]):
    """An order and the place where its result is waited for."""

    order: OrderT
    future: "asyncio.Future[object]"
    loop: asyncio.AbstractEventLoop
    outcome: object = None
    is_settled: bool = False
    looked_up_at: float = 0.0

    def settle(self, outcome: object) -> None:
        """Take note of the result, or of the exception to raise where it is waited for."""
        self.outcome, self.is_settled = outcome, True

    def reopen(self) -> None:
        """Forget what was settled: it did not come to the disk."""
        self.outcome, self.is_settled = None, False


@dataclass(kw_only=True)
class Worker(Generic[OrderT]):
    """Runs `work` on waiting tickets; those that it leaves unsettled wait on, for at most the seconds that it returns.

    An exception out of `work` settles all waiting tickets, and every later one: nothing is done on a broken ledger.
    Tickets whose waiting was cancelled are worked on like others: a reply is stored whether or not somebody waits.
    """

    name: str
    work: Callable[[Sequence[Ticket[OrderT]]], float | None]
    _inbox: deque[Ticket[OrderT]] = field(default_factory=deque)
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _is_closing: bool = False
    _broken: Exception | None = None

    async def do(self, order: OrderT) -> object:
        """Hand in `order` and return its result."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(order=order, future=loop.create_future(), loop=loop)
        self.hand_in(ticket)
        return await ticket.future

    def hand_in(self, ticket: Ticket[OrderT]) -> None:
        """Add a ticket; its future is settled in its own event loop."""
        with self._condition:
            if self._broken is not None:
                raise _copy(self._broken)
            if self._is_closing:
                raise LedgerError(CLOSED)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._inbox.append(ticket)
            self._condition.notify()

    def close(self) -> None:
        """Finish what was handed in and end the thread; who waits for better times is told that there are none."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        waiting: list[Ticket[OrderT]] = []
        due: float | None = None
        while self._gather(waiting, due):
            wait_s = self._work_off(waiting)
            due = None if wait_s is None else time.monotonic() + wait_s
            waiting = _deliver(waiting)
        for ticket in waiting:
            ticket.settle(LedgerError(CLOSED))
        _deliver(waiting)

    def _work_off(self, waiting: Sequence[Ticket[OrderT]]) -> float | None:
        try:
            if self._broken is None:
                return self.work(waiting)
        except Exception as error:  # noqa: BLE001 - raised again by every task that waits
            with self._condition:
                self._broken = error
        assert self._broken is not None
        for ticket in waiting:
            ticket.settle(_copy(self._broken))
        return None

    def _gather(self, waiting: list[Ticket[OrderT]], due: float | None) -> bool:
        """Wait for new tickets or until `due`; return False when there is nothing more to come."""
        with self._condition:
            while not self._inbox and not self._is_closing:
                left = None if due is None else due - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._condition.wait(left)
            is_over = self._is_closing and not self._inbox
            waiting.extend(self._inbox)
            self._inbox.clear()
            return not is_over


def _copy(error: Exception) -> Exception:
    """Return an exception for one task alone: a traceback grows with everybody who raises the same one."""
    try:
        return type(error)(*error.args)
    except TypeError:  # its class takes other arguments
        return LedgerError(f"{type(error).__name__}: {error}")


def _deliver(tickets: Sequence[Ticket[OrderT]]) -> list[Ticket[OrderT]]:
    """Wake who waits for a settled ticket, each event loop once; return the others."""
    settled: dict[asyncio.AbstractEventLoop, list[Ticket[OrderT]]] = {}
    for ticket in tickets:
        if ticket.is_settled:
            settled.setdefault(ticket.loop, []).append(ticket)
    for loop, group in settled.items():
        try:
            loop.call_soon_threadsafe(_wake, group)
        except RuntimeError:  # that event loop has ended, and nobody waits any more
            continue
    return [ticket for ticket in tickets if not ticket.is_settled]


def _wake(tickets: Sequence[Ticket[OrderT]]) -> None:
    for ticket in tickets:
        if ticket.future.done():
            continue
        if isinstance(ticket.outcome, BaseException):
            ticket.future.set_exception(ticket.outcome)
        else:
            ticket.future.set_result(ticket.outcome)
