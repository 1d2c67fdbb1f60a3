"""What calls will cost and how long they will take, before the first one is made."""

from dataclasses import dataclass

from mmat_dagster.chat.models import Prices
from mmat_dagster.spending import Forecast, Quote

# OpenAI keeps prefixes from 1,024 tokens on, in steps of 128.
LEAST_CACHED, CACHED_STEP = 1024, 128
# How long a reply takes where nothing else bounds the pace; GPT-4o with an image, a few hundred tokens.
USUAL_REPLY_S = 8.0
HOUR_S, HOUR_MIN = 3600.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What bounds how fast a model may be asked."""

    requests_per_minute: float | None
    tokens_per_minute: float | None
    concurrency: int


def cacheable(tokens: float) -> float:
    """Return how many of `tokens` at the start of a prompt a provider's cache holds."""
    return 0.0 if tokens < LEAST_CACHED else tokens // CACHED_STEP * CACHED_STEP


def quote(forecast: Forecast, prices: Prices | None, pace: Pace) -> Quote:
    """Return what the forecast calls cost and how long they take."""
    hours, bound_by = max(_bounds(forecast, pace))
    if prices is None:
        return Quote(hours=hours, bound_by=bound_by)
    prompt, cached, completion = (
        round(tokens) for tokens in (forecast.prompt_tokens, forecast.cached_tokens, forecast.completion_tokens)
    )
    return Quote(
        usd=prices.cost(prompt, 0, completion),
        cached_usd=prices.cost(prompt, cached, completion),
        batch_usd=prices.cost(prompt, 0, completion, batch=True),
        hours=hours,
        bound_by=bound_by,
    )


def _bounds(forecast: Forecast, pace: Pace) -> list[tuple[float, str]]:
    """Return each bound as hours and what it is."""
    tokens = forecast.prompt_tokens + forecast.completion_tokens
    bounds = [
        (
            forecast.calls * USUAL_REPLY_S / pace.concurrency / HOUR_S,
            f"{pace.concurrency} requests at once, {USUAL_REPLY_S:g} s each",
        )
    ]
    if pace.requests_per_minute is not None:
        bounds.append((forecast.calls / pace.requests_per_minute / HOUR_MIN, f"{pace.requests_per_minute:,g} RPM"))
    if pace.tokens_per_minute is not None:
        bounds.append((tokens / pace.tokens_per_minute / HOUR_MIN, f"{pace.tokens_per_minute:,g} TPM"))
    return bounds
