"""Requests for tests of the reply ledger, and a neighbour: a real process of its own that uses the same ledger.

The neighbour is this file run as a program; a line in is a command, a line out is what came of it.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from mmat_dagster.interfaces import BudgetReached, LedgerError
from mmat_dagster.ledger.accounts import Budget, Paid
from mmat_dagster.ledger.buckets import Limits
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import Admit, Settle, StoredReply, Terms, Withdraw

NO_LIMITS = Limits(name="gpt-4o at home")
RUN = "run-1"
# A neighbour that hangs is ended, and its test fails.
NEIGHBOUR_S = 50.0
AT_ONCE = 32


def make_key(number: int) -> bytes:
    """Return the key of the request with a number."""
    return sha256(str(number).encode()).digest()


def make_terms(limits: Limits = NO_LIMITS, budget: Budget | None = None, run_id: str = RUN) -> Terms:
    """Return terms without limits and budget, or with these."""
    return Terms(model="gpt-4o", run_id=run_id, label="tabmwp", limits=limits, budget=budget or Budget())


TERMS = make_terms()


def make_admit(number: int, terms: Terms = TERMS, *, usd: float = 0.0, tokens: float = 0.0) -> Admit:
    """Return a question whether the request with a number may be sent."""
    return Admit(key=make_key(number), terms=terms, tokens=tokens, reserve_usd=usd)


def make_reply(number: int, usd: float | None = None, status: int = 200) -> StoredReply:
    """Return what came back for the request with a number: 100 tokens in, 20 of them cached, 10 out."""
    paid = Paid(prompt_tokens=100, cached_tokens=20, completion_tokens=10, cost_usd=usd)
    return StoredReply(status=status, body=b'{"reply": %d}' % number, paid=paid, request_id=f"req_{number}")


def make_settle(number: int, terms: Terms = TERMS, *, reserved: float = 0.0, usd: float | None = None) -> Settle:
    """Return the order to store the reply with a number."""
    reply = make_reply(number, usd)
    return Settle(key=make_key(number), terms=terms, tokens=0.0, reserve_usd=reserved, reply=reply)


@contextmanager
def opened(url: str) -> Iterator[Ledger]:
    """Open a ledger of its own: a session like another process's."""
    ledger = Ledger(url)
    try:
        yield ledger
    finally:
        ledger.close()


async def pour(ledger: Ledger, first: int, count: int, terms: Terms = TERMS) -> int:
    """Ask for `count` requests, many at once; return how many of them this process had to send."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def ask(number: int) -> int:
        async with slots:
            if await ledger.admit(make_admit(number, terms, usd=0.5)) is not None:
                return 0
            await ledger.do(make_settle(number, terms, reserved=0.5, usd=0.25))
            return 1

    return sum(await asyncio.gather(*(ask(number) for number in range(first, first + count))))


class Neighbour:
    """Another process with the same ledger."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "tests.ledgers", url]
        folder = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._guard = threading.Timer(NEIGHBOUR_S, self._process.kill)
        self._guard.daemon = True
        self._guard.start()

    def tell(self, *command: object) -> None:
        """Give a command, and do not wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, command)) + "\n")

    def hear(self) -> str:
        """Return what came of the oldest command that was not heard of."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def do(self, *command: object) -> str:
        """Give a command and return what came of it."""
        self.tell(*command)
        return self.hear()

    def kill(self) -> None:
        """End it without a chance to say anything."""
        self._process.kill()
        self._process.wait()

    def close(self) -> int:
        """Let it close its ledger; return its exit code."""
        self._process.communicate()
        self._guard.cancel()
        return self._process.returncode


@contextmanager
def neighbours(url: str, count: int) -> Iterator[list[Neighbour]]:
    """Run other processes that have opened the ledger."""
    others = [Neighbour(url) for _ in range(count)]
    try:
        assert [other.hear() for other in others] == ["opened"] * count
        yield others
    finally:
        for other in others:
            other.close()


@contextmanager
def neighbour(url: str) -> Iterator[Neighbour]:
    """Run another process that has opened the ledger."""
    with neighbours(url, 1) as others:
        yield others[0]


Command = Callable[[Ledger, list[float]], Awaitable[object]]


async def _admit(ledger: Ledger, numbers: list[float]) -> str:
    number, usd, cap = [*numbers, 0.0, 0.0][:3]
    terms = make_terms(budget=Budget(total_usd=cap) if cap else None)
    try:
        stored = await ledger.admit(make_admit(int(number), terms, usd=usd))
    except (BudgetReached, LedgerError) as error:
        return f"{type(error).__name__}: {error}"
    return "send" if stored is None else stored.body.decode()


async def _settle(ledger: Ledger, numbers: list[float]) -> str:
    number, reserved, usd = [*numbers, 0.0, 0.0][:3]
    await ledger.do(make_settle(int(number), reserved=reserved, usd=usd))
    return "stored"


async def _withdraw(ledger: Ledger, numbers: list[float]) -> str:
    await ledger.do(Withdraw(key=make_key(int(numbers[0])), is_lost=False))
    return "withdrawn"


async def _pour(ledger: Ledger, numbers: list[float]) -> int:
    return await pour(ledger, int(numbers[0]), int(numbers[1]))


async def _storm(ledger: Ledger, numbers: list[float]) -> int:
    """Ask for so many requests at once under a limit of so many a minute; return how many go in a second."""
    first, count, per_minute = map(int, numbers)
    terms = make_terms(Limits(name="shared", requests_per_minute=per_minute))
    tasks = [asyncio.create_task(ledger.admit(make_admit(first + each, terms))) for each in range(count)]
    done, waiting = await asyncio.wait(tasks, timeout=1.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return len(done)


COMMANDS: dict[str, Command] = {
    "admit": _admit,
    "settle": _settle,
    "withdraw": _withdraw,
    "pour": _pour,
    "storm": _storm,
}


def main(url: str) -> None:
    """Open the ledger and carry out what is told on standard input."""
    ledger = Ledger(url)
    _say("opened")
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            name, *numbers = line.split()
            _say(runner.run(_run(COMMANDS[name], ledger, [float(number) for number in numbers])))
    ledger.close()


async def _run(command: Command, ledger: Ledger, numbers: list[float]) -> object:
    return await command(ledger, numbers)


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])


def open_once(url: str) -> str:
    """Open a ledger and close it again; return its name."""
    ledger = Ledger(url)
    ledger.close()
    return ledger.name
