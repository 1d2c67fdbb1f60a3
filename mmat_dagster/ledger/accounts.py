"""Money: what was spent in all and by a run, what is reserved for requests under way, and when to stop.

A request's upper bound is reserved before it is sent and settled by what it really cost. What was in flight when a
process was killed may have been charged: it stays on the account, at its upper bound, as lost.
"""

from dataclasses import dataclass
from typing import Literal

TOTAL = "total"

Verdict = Literal["fits", "wait", "over"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent, in USD, by one run and by all together; None for no bound."""

    run_usd: float | None = None
    total_usd: float | None = None

    @property
    def is_set(self) -> bool:
        """Say whether anything is bounded."""
        return self.run_usd is not None or self.total_usd is not None


@dataclass(frozen=True, kw_only=True)
class Paid:
    """What one answered request cost: tokens as the provider counted them, USD or None where no price is known."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None


@dataclass(kw_only=True)
class Account:
    """What was spent under a name: `total`, or `run <id>`."""

    name: str
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    lost_calls: int = 0
    lost_usd: float = 0.0

    @property
    def used_usd(self) -> float:
        """What counts against a budget: spent, and lost in flight at its upper bound."""
        return self.spent_usd + self.lost_usd

    def judge(self, usd: float, cap_usd: float | None) -> Verdict:
        """Say whether `usd` more fit below the cap; `wait` where they may, once what is under way is settled."""
        if cap_usd is None or self.used_usd + self.reserved_usd + usd <= cap_usd:
            return "fits"
        return "wait" if self.reserved_usd > _DUST_USD and self.used_usd + usd <= cap_usd else "over"

    def reserve(self, usd: float) -> None:
        """Set the upper bound of a request aside."""
        self.reserved_usd += usd

    def release(self, usd: float) -> None:
        """Free what was set aside."""
        self.reserved_usd = max(0.0, self.reserved_usd - usd)

    def pay(self, paid: Paid) -> None:
        """Add what an answered request cost."""
        self.calls += 1
        self.prompt_tokens += paid.prompt_tokens
        self.cached_tokens += paid.cached_tokens
        self.completion_tokens += paid.completion_tokens
        self.spent_usd += paid.cost_usd or 0.0

    def lose(self, calls: int, usd: float) -> None:
        """Keep what may have been charged for requests that nobody saw the end of."""
        self.release(usd)
        self.lost_calls += calls
        self.lost_usd += usd


# Sums of floats: less than this is nothing.
_DUST_USD = 1e-9


def run_account(run_id: str) -> str:
    """Return the name of a run's account."""
    return f"run {run_id}"
