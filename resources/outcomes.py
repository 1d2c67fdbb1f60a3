"""What comes of one attempt at a paid request, whoever is asked: the class decides what happens next.

Answered   a response that asking again would only repeat: kept in the ledger
Again      trouble that may pass, or a limit: worth another attempt
Hopeless   no request can work: the run ends and says what to do
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.buckets import RateSeen


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A response that is worth keeping."""

    status: int
    body: bytes
    paid: Paid
    request_id: str | None
    seen: RateSeen | None


@dataclass(frozen=True, kw_only=True)
class Again:
    """Trouble that may pass; `after_s` where the server says when."""

    kind: Literal["transient", "limit"]
    said: str
    after_s: float | None = None
    seen: RateSeen | None = None


@dataclass(frozen=True, kw_only=True)
class Hopeless:
    """Trouble that every request would meet, and what to do about it."""

    advice: str


Outcome: TypeAlias = Answered | Again | Hopeless


class Server(Protocol):
    """Whoever is asked, as `Asker` needs it."""

    @property
    def name(self) -> str:
        """How people are told of it."""

    @property
    def fields_to_check(self) -> str:
        """What to look at where it cannot be reached, as part of a sentence."""

    async def post(self, body: bytes) -> Outcome:
        """Send one request, once."""
