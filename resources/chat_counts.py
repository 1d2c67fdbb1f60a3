"""What a resource's asking has come to: counted where it happens, shown as `Spending`."""

from dataclasses import dataclass

from mmat_dagster.ledger.ledger import Lost
from mmat_dagster.ledger.orders import StoredReply
from mmat_dagster.spending import Spending


@dataclass(kw_only=True)
class Counts:
    """Counters of one resource, over all its sessions; `spent_usd` stays None where no price is known."""

    calls: int = 0
    reused: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    spent_usd: float | None = None
    retries: int = 0
    limited: int = 0
    waiting: int = 0
    lost_calls: int = 0
    lost_usd: float = 0.0

    def pay(self, reply: StoredReply) -> None:
        """Count a reply that was paid now."""
        paid = reply.paid
        self.calls += 1
        self.prompt_tokens += paid.prompt_tokens
        self.cached_tokens += paid.cached_tokens
        self.completion_tokens += paid.completion_tokens
        if paid.cost_usd is not None:
            self.spent_usd = (self.spent_usd or 0.0) + paid.cost_usd

    def lose(self, lost: Lost) -> None:
        """Count what an earlier process had in flight when it was killed."""
        self.lost_calls += lost.calls
        self.lost_usd += lost.usd

    @property
    def spending(self) -> Spending:
        """The counters as they are shown."""
        return Spending(**vars(self))
