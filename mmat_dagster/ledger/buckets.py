"""Rate limits: a bucket of requests and one of tokens for a model, shared by all processes through the ledger.

Full at start, refilled continuously. A provider's headers seed and correct them; a 429 pauses and slows them.
"""

from dataclasses import dataclass

# After a 429 the refill runs at this share, and comes back to full within RECOVERY_S.
SLOWED = 0.8
RECOVERY_S = 30.0
# The 429s of a burst count once.
BURST_S = 2.0
# Where the provider does not say how long: so long nothing is sent after a 429.
PAUSE_S = 0.5
MINUTE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a provider allows for a model; None where nobody has said. `name` is the same in all processes."""

    name: str
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True, kw_only=True)
class RateSeen:
    """What a response's `x-ratelimit-*` headers tell; None where one is absent."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    requests_left: float | None = None
    tokens_left: float | None = None


@dataclass(kw_only=True)
class Bucket:
    """What is left of a model's limits at `refilled_at` (seconds since 1970).

    The limits are what is configured, or what the provider has told, and the lower one where both are known.
    """

    name: str
    requests_per_minute: float | None
    tokens_per_minute: float | None
    requests: float
    tokens: float
    pace: float
    slowed_at: float
    paused_until: float
    refilled_at: float
    told_requests: float | None = None
    told_tokens: float | None = None

    @classmethod
    def full(cls, limits: Limits, now: float) -> "Bucket":
        """Return a bucket that nothing was taken from yet."""
        return cls(
            name=limits.name,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            requests=limits.requests_per_minute or 0.0,
            tokens=limits.tokens_per_minute or 0.0,
            pace=1.0,
            slowed_at=0.0,
            paused_until=0.0,
            refilled_at=now,
        )

    def refill(self, now: float) -> None:
        """Add what has come since the last time."""
        passed = max(0.0, now - self.refilled_at)
        self.pace = min(1.0, self.pace + passed * (1.0 - SLOWED) / RECOVERY_S)
        self.requests = _refilled(self.requests, self.requests_per_minute, passed * self.pace)
        self.tokens = _refilled(self.tokens, self.tokens_per_minute, passed * self.pace)
        self.refilled_at = now

    def limit(self, limits: Limits) -> None:
        """Take over what is configured; a provider that told of less still counts."""
        self._set_requests(_lower(limits.requests_per_minute, self.told_requests) or self.requests_per_minute)
        self._set_tokens(_lower(limits.tokens_per_minute, self.told_tokens) or self.tokens_per_minute)

    def wait_s(self, tokens: float, requests: float = 1.0) -> float:
        """Return how long so many requests, of `tokens` together, have to wait now; 0 where they may be sent."""
        return max(
            self.paused_until - self.refilled_at,
            _missing_s(requests, self.requests, self.requests_per_minute, self.pace),
            _missing_s(tokens, self.tokens, self.tokens_per_minute, self.pace),
            0.0,
        )

    def take(self, tokens: float) -> None:
        """Take a request of `tokens` out."""
        self.requests -= 1.0
        self.tokens -= tokens

    def correct(self, tokens: float) -> None:
        """Give back what a request took too much, or take what it took too little."""
        # Where no limit is known the level tells what was taken lately, and is never above zero.
        self.tokens = min(self.tokens + tokens, self.tokens_per_minute or 0.0)

    def heed(self, seen: RateSeen, limits: Limits) -> None:
        """Believe a provider that tells of its limits, or of less left than this bucket thinks; `limits` cap it."""
        self.told_requests = seen.requests_per_minute or self.told_requests
        self.told_tokens = seen.tokens_per_minute or self.told_tokens
        self.limit(limits)
        if seen.requests_left is not None:
            self.requests = min(self.requests, seen.requests_left)
        if seen.tokens_left is not None:
            self.tokens = min(self.tokens, seen.tokens_left)

    def slow_down(self, now: float, after_s: float | None) -> None:
        """Heed a 429: send nothing for a while, then less."""
        self.paused_until = max(self.paused_until, now + (PAUSE_S if after_s is None else after_s))
        if now - self.slowed_at > BURST_S:
            self.pace, self.slowed_at = max(0.1, self.pace * SLOWED), now

    def _set_requests(self, per_minute: float | None) -> None:
        if self.requests_per_minute is None and per_minute is not None:
            self.requests = _first_level(self.requests, per_minute)
        self.requests_per_minute = per_minute
        self.requests = min(self.requests, per_minute or 0.0)

    def _set_tokens(self, per_minute: float | None) -> None:
        if self.tokens_per_minute is None and per_minute is not None:
            self.tokens = _first_level(self.tokens, per_minute)
        self.tokens_per_minute = per_minute
        self.tokens = min(self.tokens, per_minute or 0.0)


def _refilled(level: float, per_minute: float | None, passed_s: float) -> float:
    if per_minute is None:  # below zero: what was taken in about the last minute
        return level * max(0.0, 1.0 - passed_s / MINUTE_S)
    return min(per_minute, level + passed_s * per_minute / MINUTE_S)


def _first_level(level: float, per_minute: float) -> float:
    """Return what is left of a limit that becomes known: what was sent before, and is under way, came out of it."""
    return max(0.0, per_minute + min(0.0, level))


def _missing_s(need: float, level: float, per_minute: float | None, pace: float) -> float:
    if per_minute is None:
        return 0.0
    # A request larger than the whole bucket goes when the bucket is full, or it would never go.
    return (min(need, per_minute) - level) * MINUTE_S / (per_minute * pace)


def _lower(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)
