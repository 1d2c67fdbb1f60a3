"""What Dagster shows of an audit: the share of high quality beside the paper's, aspects, findings, who judged."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from assets.metadata import describe
from assets.quality_plots import draw_audit
from mmat_dagster import markdown, paper, parts
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Built, Pipeline
from mmat_dagster.reading import ASPECTS, to_markdown
from mmat_dagster.schema import DialogueAudit
from mmat_dagster.stages.audit import CHECKS

# The worst dialogues, for a person to look at.
WORST = 5


@dataclass(kw_only=True)
class Totals:
    """Sums over an audit: scores from `high_quality` on are of high quality."""

    high_quality: float
    audited: int = 0
    high: int = 0
    score: float = 0.0
    judged: Counter[str] = field(default_factory=Counter)
    high_of: Counter[str] = field(default_factory=Counter)
    aspects: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(self, score: float, judge: str, aspects: dict[str, float | None]) -> None:
        """Count one dialogue."""
        is_high = score >= self.high_quality
        self.audited += 1
        self.high += is_high
        self.score += score
        self.judged[judge] += 1
        self.high_of[judge] += is_high
        for name, value in aspects.items():
            if value is not None:
                self.aspects[name][0] += value
                self.aspects[name][1] += 1


def describe_audit(pipeline: Pipeline, built: Built, high_quality: float) -> dict[str, Any]:
    """Return the metadata of one materialization of an audit."""
    manifest = built.manifest
    totals = _count(pipeline, manifest, high_quality)
    plot = draw_audit(manifest, high_quality)
    share = {"high_quality_share": round(totals.high / totals.audited, 4)} if totals.audited else {}
    return {
        **describe(pipeline, built),
        **share,
        "high_quality_from": high_quality,
        "high_quality_share_in_the_paper": paper.GOOD,
        **({"mean_score": round(totals.score / totals.audited, 4)} if totals.audited else {}),
        "judged": dg.MetadataValue.md(_judges(totals)),
        **({"aspects": dg.MetadataValue.md(_aspects(totals))} if totals.aspects else {}),
        "findings": dg.MetadataValue.md(_findings(manifest)),
        "worst": dg.MetadataValue.md(_worst(pipeline, manifest)),
        **({"plot": dg.MetadataValue.md(markdown.picture("plot", plot, "png"))} if plot else {}),
    }


def _count(pipeline: Pipeline, manifest: Manifest, high_quality: float) -> Totals:
    totals = Totals(high_quality=high_quality)
    for table in parts.read_tables(pipeline.store, manifest, ["score", "judge", *ASPECTS]):
        for row in table.to_pylist():
            totals.add(row.pop("score"), row.pop("judge"), row)
    return totals


def _judges(totals: Totals) -> str:
    rows = "".join(
        f"| {markdown.cell(judge)} | {count:,} | {totals.high_of[judge] / count:.1%} |\n"
        for judge, count in sorted(totals.judged.items(), key=lambda item: item[0] == CHECKS)
    )
    return f"| judged by | dialogues | of high quality |\n|---|---:|---:|\n{rows}" if rows else "none"


def _aspects(totals: Totals) -> str:
    rows = "".join(
        f"| {name.replace('_', ' ')} | {total / count:.3f} |\n" for name, (total, count) in totals.aspects.items()
    )
    return f"| aspect | mean |\n|---|---:|\n{rows}"


def _findings(manifest: Manifest) -> str:
    found = {name.removeprefix("fails "): count for name, count in manifest.census.items() if name.startswith("fails ")}
    return markdown.count_table("does not hold", found) if found else "every check holds of every dialogue"


def _worst(pipeline: Pipeline, manifest: Manifest) -> str:
    """Return the dialogues with the lowest scores below 1.0, the lowest first."""
    worst = heapq.nsmallest(WORST, _flawed(pipeline, manifest))
    wanted = {record_id for _, record_id in worst}
    if not wanted:
        return "none: every score is 1.0"
    records = parts.read_records(pipeline.store, manifest, DialogueAudit)
    found = {record.id: to_markdown(record) for record in records if record.id in wanted}
    return "\n\n".join(found[record_id] for _, record_id in worst)


def _flawed(pipeline: Pipeline, manifest: Manifest) -> Iterator[tuple[float, str]]:
    for table in parts.read_tables(pipeline.store, manifest, ["score", "id"]):
        yield from ((row["score"], row["id"]) for row in table.to_pylist() if row["score"] < 1.0)
