"""What teacher, judge and search have cost, and will cost, as the Dagster UI shows it."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mmat_dagster.estimate import Estimate
from mmat_dagster.progress import duration
from mmat_dagster.spending import Quote, Spending

MODELS = ("teacher", "judge")


def spent_usd(who: str) -> str:
    """Return the metadata entry that says what asking `who` has cost."""
    return f"{who}_spent_usd"


def describe_spending(before: Mapping[str, Spending], after: Mapping[str, Spending]) -> dict[str, Any]:
    """Return as metadata what teacher, judge and search cost between two counts; nothing for what costs nothing."""
    asked = (_describe_model(who, before[who], after[who]) for who in MODELS if who in after)
    metadata = {name: value for each in asked for name, value in each.items()}
    return metadata | (_describe_search(before["search"], after["search"]) if "search" in after else {})


def _describe_search(before: Spending, after: Spending) -> dict[str, Any]:
    return {
        "search_queries_paid": after.calls - before.calls,
        "search_results_reused": after.reused - before.reused,
        "search_refused": after.refused - before.refused,
        "search_retries": after.retries - before.retries,
        "search_rate_limited": after.limited - before.limited,
        spent_usd("search"): round((after.spent_usd or 0.0) - (before.spent_usd or 0.0), 6),
    }


def _describe_model(who: str, before: Spending, after: Spending) -> dict[str, Any]:
    prompt = after.prompt_tokens - before.prompt_tokens
    cached = after.cached_tokens - before.cached_tokens
    metadata: dict[str, Any] = {
        f"{who}_calls_paid": after.calls - before.calls,
        f"{who}_replies_reused": after.reused - before.reused,
        f"{who}_prompt_tokens": prompt,
        f"{who}_cached_share": round(cached / prompt, 4) if prompt else 0.0,
        f"{who}_completion_tokens": after.completion_tokens - before.completion_tokens,
        f"{who}_retries": after.retries - before.retries,
        f"{who}_rate_limited": after.limited - before.limited,
        f"{who}_repaired": after.repaired - before.repaired,
    }
    if after.spent_usd is not None:
        metadata[spent_usd(who)] = round(after.spent_usd - (before.spent_usd or 0.0), 6)
    if after.lost_calls:
        metadata[f"{who}_calls_lost_in_flight"] = after.lost_calls
        metadata[f"{who}_lost_usd_at_most"] = round(after.lost_usd or 0.0, 6)
    return metadata


def describe_estimate(foreseen: Estimate) -> dict[str, Any]:
    """Return an estimate as metadata."""
    quote = foreseen.quote
    rows = "".join(
        f"| {dataset} | {each.calls:,.0f} | {each.prompt_tokens:,.0f} | {each.cached_tokens:,.0f} | "
        f"{each.completion_tokens:,.0f} |\n"
        for dataset, each in foreseen.by_dataset.items()
    )
    table = f"| dataset | calls | tokens in | of these cached | tokens out |\n|---|---:|---:|---:|---:|\n{rows}"
    prices = {
        "estimated_usd": quote.usd,
        "estimated_usd_with_prompt_cache": quote.cached_usd,
        "estimated_usd_as_batches": quote.batch_usd,
        "estimated_hours": quote.hours,
    }
    return {
        "estimated_calls": round(foreseen.total.calls),
        "estimated_tokens": round(foreseen.total.prompt_tokens + foreseen.total.completion_tokens),
        **{name: round(value, 4) for name, value in prices.items() if value is not None},
        "estimate": dg.MetadataValue.md(table),
    }


def foretold(foreseen: Estimate) -> str:
    """Return an estimate as one line."""
    total = foreseen.total
    return (
        f"{foreseen.samples:,} samples of {foreseen.source} will take about {total.calls:,.0f} calls, "
        f"{total.prompt_tokens / 1e6:,.2f} M tokens in, {total.completion_tokens / 1e6:,.2f} M out: "
        f"{priced(foreseen.quote)} (less what the ledger has already)"
    )


def priced(quote: Quote) -> str:
    """Return a quote in words."""
    hours = f", {duration(quote.hours * 3600)} with {quote.bound_by}" if quote.hours is not None else ""
    if quote.usd is None or quote.cached_usd is None or quote.batch_usd is None:
        return f"price not known{hours}"
    return (
        f"${quote.usd:,.2f} at list price, ${quote.cached_usd:,.2f} with prompt caching, ${quote.batch_usd:,.2f} as "
        f"batches{hours}"
    )
