"""What a client asks of the ledger, and what the ledger keeps of a reply."""

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypeAlias

from mmat_dagster.ledger.accounts import Budget, Paid
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.buckets import Limits, RateSeen


@dataclass(frozen=True, kw_only=True)
class StoredReply:
    """A reply as it came: HTTP status and body, what it cost, and the provider's id of it.

    Errors that belong to the request alone (400, ...) are kept too: asking again would bring them again.
    """

    status: int
    body: bytes
    paid: Paid = field(default_factory=Paid)
    batch: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On whose account a client asks: the model, the run and what it works on, and how much it may send and spend."""

    model: str
    run_id: str
    label: str
    limits: Limits
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, kw_only=True)
class Admit:
    """May the request `key` be sent? The result is a StoredReply where it is answered by now, else None: send it.

    Waits for rate limits, for a budget that others hold reserved, and for others who ask the same; raises
    BudgetReached, and HeldByBatch where a batch asks the same.
    """

    key: bytes
    terms: Terms
    tokens: float
    reserve_usd: float


@dataclass(frozen=True, kw_only=True)
class Resend:
    """May one more attempt at an admitted request be sent? Waits for the rate limits."""

    terms: Terms
    tokens: float


@dataclass(frozen=True, kw_only=True)
class Settle:
    """Store the reply to an admitted request, durably; `tokens` is what was taken from the bucket for it."""

    key: bytes
    terms: Terms
    tokens: float
    reserve_usd: float
    reply: StoredReply
    seen: RateSeen | None = None


@dataclass(frozen=True, kw_only=True)
class Withdraw:
    """Take back this process's claim on a request, if there is one: it was never answered, or nobody saw whether it
    was (`is_lost`) and it may have been charged.
    """

    key: bytes
    is_lost: bool


@dataclass(frozen=True, kw_only=True)
class SlowDown:
    """The provider has answered 429: pause for `after_s` where it says so, and send less for a while.

    The `tokens` of the refused request are given back; its next attempt takes them again.
    """

    terms: Terms
    tokens: float
    after_s: float | None
    seen: RateSeen | None = None


@dataclass(frozen=True, kw_only=True)
class Want:
    """Put the request on the list for the next batch; the result is how often a batch has already failed at it.

    Where it is answered by now, the result is a StoredReply. `request` is the request without its images' bytes,
    `size_bytes` the length of its line with them.
    """

    key: bytes
    terms: Terms
    request: bytes
    size_bytes: int
    reserve_usd: float


@dataclass(frozen=True, kw_only=True)
class Call:
    """Run `function(books)` in the next transaction and return what it returns, or raise what it returns."""

    function: Callable[[Books], object]


Order: TypeAlias = Admit | Resend | Settle | Withdraw | SlowDown | Want | Call


class HeldByBatch(Exception):
    """The request is part of a batch that has not ended."""


def pack(body: bytes) -> bytes:
    """Compress a body for the ledger."""
    return zlib.compress(body, 6)


def unpack(packed: bytes) -> bytes:
    """Return the body that `pack` was given."""
    return zlib.decompress(packed)


class Asking(Protocol):
    """On whose account a reply is stored: a client's terms, or a batch."""

    @property
    def model(self) -> str:
        """The model that replied."""

    @property
    def run_id(self) -> str:
        """The run that asked."""

    @property
    def label(self) -> str:
        """What it worked on."""


def reply_row(key: bytes, reply: StoredReply, asked_by: Asking, now: float) -> dict[str, object]:
    """Return the row that stores `reply`."""
    return {
        "key": key,
        "model": asked_by.model,
        "status": reply.status,
        "body": pack(reply.body),
        **asdict(reply.paid),
        "batch": reply.batch,
        "request_id": reply.request_id,
        "run_id": asked_by.run_id,
        "label": asked_by.label,
        "created_at": now,
    }
