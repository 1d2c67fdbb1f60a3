"""What asking a model has cost, will cost, and is still to come: counts, forecasts, quotes, batches."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What asking has cost since the resource was made; USD are None where no price is known.

    `calls` counts replies that were paid now, `reused` those that were there already or under way, `refused` requests
    that the server did not take. `retries` counts further attempts, `limited` those after a 429, `repaired` replies
    that were bad and asked for again, `waiting` requests that wait for a batch, `lost_calls` those that were in flight
    when a process was killed and may have been charged, `lost_usd` at most.
    """

    calls: int = 0
    reused: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    spent_usd: float | None = None
    retries: int = 0
    limited: int = 0
    repaired: int = 0
    waiting: int = 0
    lost_calls: int = 0
    lost_usd: float | None = None

    @property
    def asked(self) -> int:
        """All requests that have got an answer."""
        return self.calls + self.reused + self.refused

    def since(self, before: "Spending") -> "Spending":
        """Return what has come since `before`; USD that were unknown then count from nothing."""
        return Spending(**{name: _less(value, getattr(before, name)) for name, value in vars(self).items()})


def total(spendings: Iterable[Spending]) -> Spending:
    """Return the sum; USD are None where none of them knows any."""
    many = [*spendings]
    return Spending(**{each.name: _sum(getattr(one, each.name) for one in many) for each in fields(Spending)})


def _less(now: float | None, before: float | None) -> Any:
    return None if now is None else now - (before or 0)


def _sum(values: Iterable[float | None]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What calls will probably take: `cached_tokens` are those of the prompts that the provider will have kept."""

    calls: float = 0.0
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    completion_tokens: float = 0.0

    def plus(self, other: "Forecast", count: float = 1.0) -> "Forecast":
        """Return this and `count` times the other."""
        return Forecast(
            calls=self.calls + count * other.calls,
            prompt_tokens=self.prompt_tokens + count * other.prompt_tokens,
            cached_tokens=self.cached_tokens + count * other.cached_tokens,
            completion_tokens=self.completion_tokens + count * other.completion_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What calls will cost in USD: at list price, with the provider's prompt cache, as batches; None where no price is
    known. `hours` is the time that they take, and `bound_by` says what sets it.
    """

    usd: float | None = None
    cached_usd: float | None = None
    batch_usd: float | None = None
    hours: float | None = None
    bound_by: str = ""


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """How far a batch of requests is; `label` is what its requests were for, times are seconds since 1970."""

    id: str
    label: str
    state: str
    requests: int
    answered: int
    refused: int
    released: int
    detail: str
    created_at: float
    ended_at: float | None
    can_go_on: bool
    """Whether what waited for it finds more now than before; not where the provider refused the batch."""

    @property
    def is_refused(self) -> bool:
        """Say whether the provider refused the batch for a reason that stays."""
        return self.state == "failed" and not self.can_go_on
