"""The books of the teacher's server: what came, what became of it, and what was charged; readable from any thread."""

import threading
from collections import Counter
from dataclasses import dataclass

from tests import chat_server
from tests.teacher_server_faults import Fault


@dataclass(frozen=True, kw_only=True)
class Received(chat_server.Received):
    """A chat request and what became of it; `attempt` counts from 0, `status` is 0 where nothing is answered."""

    attempt: int
    fault: Fault | None
    status: int
    at: float


class Ledger:
    """Counts completions by the canonical sha256 of their request, calls by method, path and status, and faults."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.in_flight_peak = 0
        self._in_flight = 0
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._paid: Counter[str] = Counter()
        self._paid_unseen: Counter[str] = Counter()
        self._calls: Counter[tuple[str, str, int]] = Counter()
        self._faults: Counter[Fault] = Counter()

    @property
    def paid(self) -> Counter[str]:
        """The completions that were charged and sent whole."""
        with self._lock:
            return Counter(self._paid)

    @property
    def paid_unseen(self) -> Counter[str]:
        """The completions that were charged while the client got a part or nothing of them."""
        with self._lock:
            return Counter(self._paid_unseen)

    @property
    def calls(self) -> Counter[tuple[str, str, int]]:
        """The requests that were answered."""
        with self._lock:
            return Counter(self._calls)

    @property
    def faults(self) -> Counter[Fault]:
        """The faults that were drawn."""
        with self._lock:
            return Counter(self._faults)

    def __enter__(self) -> None:
        """Count a request as in flight."""
        self._in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self._in_flight)

    def __exit__(self, *_: object) -> None:
        self._in_flight -= 1

    def count_attempts(self, sha: str) -> int:
        """Return how often the request was let in."""
        return self._attempts[sha]

    def book_attempt(self, sha: str, fault: Fault | None) -> None:
        """Book a request that is let in."""
        with self._lock:
            self._attempts[sha] += 1
            if fault is not None:
                self._faults[fault] += 1

    def book_payment(self, sha: str, *, is_seen: bool) -> None:
        """Book a completion."""
        with self._lock:
            (self._paid if is_seen else self._paid_unseen)[sha] += 1

    def book_call(self, method: str, path: str, status: int) -> None:
        """Book an answer."""
        with self._lock:
            self._calls[method, path, status] += 1
