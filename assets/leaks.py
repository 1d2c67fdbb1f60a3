"""What samples and evaluation benchmarks share: the check, and the report by benchmark."""

from collections.abc import Iterator
from typing import get_args

import dagster as dg

from assets.verdicts import NAMED, Verdict, judge
from mmat_dagster import parts
from mmat_dagster.decontamination.index import BenchmarkCounts
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import LeakEvidence, SourceName

EVIDENCE: tuple[LeakEvidence, ...] = get_args(LeakEvidence)
UNGUARDED = "Compared with no benchmark: MMAT_BENCHMARKS names no folder."


def check_leaks(context: dg.AssetCheckExecutionContext, pipeline: Pipeline) -> dg.AssetCheckResult:
    """Return whether no sample of the run's sources gives a benchmark away; a warning where none is known."""
    if pipeline.settings.benchmarks is None:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=UNGUARDED)

    def check(source: SourceName) -> Verdict | None:
        manifest = parts.read_manifest(pipeline.store, "source_qa", source)
        if manifest is None:
            return None
        report = {f"benchmarks of {source}": dg.MetadataValue.md(describe_leaks(pipeline, manifest))}
        leaking = list(_leaking(pipeline, manifest))
        first = dict.fromkeys(leaking[:NAMED], "")
        return Verdict(checked=manifest.rows, failed=len(leaking), first=first, report=report)

    return judge(context, check)


def describe_leaks(pipeline: Pipeline, manifest: Manifest) -> str:
    """Return a table by benchmark: how many samples share what with it, those that were dropped included."""
    index = pipeline.source_parts(manifest.source).benchmark_index()
    if index is None:
        return UNGUARDED
    rows = (_row(benchmark, counts, manifest) for benchmark, counts in sorted(index.counts.items()))
    head = " | ".join(["benchmark", "items", "images", *EVIDENCE, "not to be compared"])
    return "\n".join([f"| {head} |", "|---" * (len(EVIDENCE) + 4) + "|", *rows])


def _row(benchmark: str, counts: BenchmarkCounts, manifest: Manifest) -> str:
    shared = [f"{manifest.census[f'leak: {benchmark}, {evidence}']:,}" for evidence in EVIDENCE]
    return f"| {' | '.join([benchmark, f'{counts.items:,}', f'{counts.images:,}', *shared, _unfit(counts)])} |"


def _unfit(counts: BenchmarkCounts) -> str:
    """Return what of a benchmark nothing can be compared with."""
    unfit = {
        "images missing": counts.missing_images,
        "images unreadable": counts.unreadable_images,
        "questions too short": counts.short_questions,
        "files broken": len(counts.problems),
    }
    return ", ".join(f"{count:,} {what}" for what, count in unfit.items() if count) or "nothing"


def _leaking(pipeline: Pipeline, manifest: Manifest) -> Iterator[str]:
    for table in parts.read_tables(pipeline.store, manifest):
        for row in table.select(["id", "leaks"]).to_pylist():
            if any(leak["evidence"] != "template question" for leak in row["leaks"]):
                yield row["id"]
