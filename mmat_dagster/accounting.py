"""What the teacher will cost, has cost and still owes: the commands estimate, ledger and batches."""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pandas as pd

from mmat_dagster.definitions import RESOURCES
from mmat_dagster.environment import read_environment
from mmat_dagster.estimate import Estimate, estimate
from mmat_dagster.ledger.totals import Totals, forget, read_totals
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import duration
from mmat_dagster.schema import SourceName
from mmat_dagster.sources.layout import SourceAbsent, SourceError
from mmat_dagster.spending import BatchState, Forecast, Quote
from mmat_dagster.stages.rationale import USUAL_SEARCHES
from mmat_dagster.teachers.prompted import USUAL_PRETENCE, USUAL_STEPS

COUNT = "{:,.0f}".format
USD = "{:,.2f}".format
FINE_USD = "{:,.4f}".format
# The ledger's clock, which may be a database server's, and this machine's.
CLOCK_SKEW_S = 5.0


def print_estimates(sources: Sequence[SourceName], *, is_named: bool) -> int:
    """Print calls, tokens, dollars and hours of each source; return the exit code."""
    if read_environment(os.environ).teacher == "annotations":
        print("The annotations teacher asks no model and costs nothing. Estimate a model with MMAT_TEACHER=gpt4o.")
        return 0
    failures: list[str] = []
    estimates: list[Estimate] = []
    with open_pipeline() as pipeline:
        for source in sources:
            try:
                estimates.append(estimate(pipeline, source))
            except SourceAbsent as absent:
                failures += [str(absent)] if is_named else []
            except SourceError as error:
                failures.append(f"{source}: {error}")
        if estimates:
            _print_estimates(pipeline, estimates)
    for failure in failures or ([] if estimates else ["no source folder is there"]):
        print(f"error: {failure}")
    return 1 if failures or not estimates else 0


def print_ledger() -> int:
    """Print what was paid, by model and purpose, and in all; return the exit code."""
    totals = read_totals(read_environment(os.environ).ledger)
    if totals is None or not totals.account.calls:
        print("Nothing was paid yet.")
        return 0
    print(ledger_frame(totals).to_string(index=False, na_rep="-"))
    account = totals.account
    if account.lost_calls:
        print(
            f"{account.lost_calls} calls were in flight when a process was killed: up to ${account.lost_usd:.4f} more"
        )
    return 0


def forget_refused() -> int:
    """Forget the requests that a server refused, and print how many; return the exit code."""
    count = forget(read_environment(os.environ).ledger)
    print(
        f"{count} refused requests are forgotten. Finished parts keep their rejections: remove a dataset's folder from"
    )
    print("the store to have its rejected records asked again; what was answered costs nothing.")
    return 0


def print_batches(*, wait_s: float | None = None) -> int:
    """Tend the batches and print them; with `wait_s`, look again after so many seconds until one more has ended."""
    with open_pipeline() as pipeline:
        batches = wait_for_batch(pipeline, wait_s) if wait_s else asyncio.run(pipeline.tend_batches())
    if batches:
        print(batch_frame(batches).to_string(index=False))
    else:
        print("There are no batches. Ask the teacher in batches with MMAT_MODE=batch.")
    return 0


def wait_for_batch(pipeline: Pipeline, wait_s: float) -> tuple[BatchState, ...]:
    """Look every `wait_s` seconds until one of the batches that are open now has ended, or none is; return all."""
    batches = asyncio.run(pipeline.tend_batches())
    open_ones = {batch.id for batch in batches if batch.ended_at is None}
    while open_ones and all(batch.ended_at is None for batch in batches if batch.id in open_ones):
        time.sleep(wait_s)
        batches = asyncio.run(pipeline.tend_batches())
    return batches


def refused_batch(pipeline: Pipeline, wait_s: float) -> BatchState | None:
    """Wait for a batch as `wait_for_batch` does; return one that the provider refused meanwhile, if there is one."""
    begun_at = time.time() - CLOCK_SKEW_S
    batches = wait_for_batch(pipeline, wait_s)
    return next((batch for batch in batches if batch.is_refused and (batch.ended_at or 0.0) > begun_at), None)


@contextmanager
def open_pipeline(resource_config: Mapping[str, Any] | None = None, run_id: str | None = None) -> Iterator[Pipeline]:
    """Open the deployment's pipeline outside of a run, or in another process for the run `run_id`.

    `resource_config` is what that run sets of the resources.
    """
    run = dg.DagsterRun(job_name="elsewhere", run_id=run_id) if run_id else None
    with dg.build_resources(RESOURCES, resource_config=resource_config, dagster_run=run) as resources:
        yield resources.pipeline


def ledger_frame(totals: Totals) -> pd.DataFrame:
    """Return what was paid as a table, the sum last."""
    columns = ["model", "for", "calls", "tokens in", "cached", "tokens out", "USD"]
    account = totals.account
    whole = ("in all", "", account.calls, account.prompt_tokens, account.cached_tokens, account.completion_tokens)
    rows = [*totals.lines, (*whole, account.spent_usd)]
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("calls", "tokens in", "cached", "tokens out"):
        frame[name] = frame[name].map(COUNT)
    frame["USD"] = [None if value is None or pd.isna(value) else FINE_USD(value) for value in frame["USD"]]
    return frame


def batch_frame(batches: Sequence[BatchState]) -> pd.DataFrame:
    """Return the batches as a table, the oldest first."""
    rows = [
        {
            "batch": batch.id,
            "for": batch.label,
            "state": batch.state,
            "requests": batch.requests,
            "answered": batch.answered,
            "refused": batch.refused,
            "again": batch.released,
            "since": datetime.fromtimestamp(batch.created_at, UTC).strftime("%Y-%m-%d %H:%M"),
            "detail": batch.detail[:60],
        }
        for batch in batches
    ]
    return pd.DataFrame(rows)


def _print_estimates(pipeline: Pipeline, estimates: Sequence[Estimate]) -> None:
    rows = [row for foreseen in estimates for row in _rows(pipeline, foreseen)]
    total = Forecast()
    for foreseen in estimates:
        total = total.plus(foreseen.total)
    quote = pipeline.teacher.quote(total)
    if len(estimates) > 1:
        rows.append(_row("all", sum(each.samples for each in estimates), "both", total, quote))
    print(pd.DataFrame(rows).to_string(index=False, na_rep="-"))
    _print_searches(pipeline, sum(each.samples for each in estimates))
    print(f"\ntime: with {quote.bound_by} (MMAT_CONCURRENCY, MMAT_RPM, MMAT_TPM); a batch comes within a day")
    print(
        f"supposed: {USUAL_STEPS} steps a rationale, {USUAL_PRETENCE:.0%} rewritten, replies of the usual length; "
        "what the ledger has is not paid again"
    )


def _print_searches(pipeline: Pipeline, samples: int) -> None:
    usd = pipeline.search.over(None).usd_per_search
    if usd:
        searches = USUAL_SEARCHES * samples
        print(
            f"\nweb search: about {searches:,.0f} queries for ${searches * usd:,.2f} ({USUAL_SEARCHES:.0%} of samples)"
        )


def _rows(pipeline: Pipeline, foreseen: Estimate) -> list[dict[str, object]]:
    parts = [
        _row(foreseen.source, foreseen.samples, dataset, forecast, pipeline.teacher.quote(forecast))
        for dataset, forecast in foreseen.by_dataset.items()
    ]
    return [*parts, _row(foreseen.source, foreseen.samples, "both", foreseen.total, foreseen.quote)]


def _row(source: str, samples: int, dataset: str, forecast: Forecast, quote: Quote) -> dict[str, object]:
    prices = {"USD": quote.usd, "with cache": quote.cached_usd, "as batch": quote.batch_usd}
    return {
        "source": source,
        "samples": COUNT(samples),
        "dataset": dataset,
        "calls": COUNT(forecast.calls),
        "tokens in": COUNT(forecast.prompt_tokens),
        "cached": COUNT(forecast.cached_tokens),
        "tokens out": COUNT(forecast.completion_tokens),
        **{name: None if usd is None else USD(usd) for name, usd in prices.items()},
        "time": None if quote.hours is None else duration(quote.hours * 3600),
    }
