"""What the Dagster UI shows of a built dataset: counts, reasons, where it lies, a plot, and records to look at."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from assets.dataset_plots import draw_counts
from assets.leaks import describe_leaks
from assets.quality_plots import draw_audit
from assets.samples import describe_samples
from mmat_dagster import markdown, parts
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Built, Pipeline
from mmat_dagster.viewer.links import view_hint

PLOTS: Mapping[str, Callable[[Manifest], bytes | None]] = {"dialogue_audit": draw_audit}

VIEWED = ("rr_dialogues", "orr_dialogues", "dialogue_audit")


def describe(pipeline: Pipeline, built: Built) -> dict[str, Any]:
    """Return the metadata of one materialization."""
    manifest = built.manifest
    folder = parts.folder(manifest.dataset, manifest.source)
    metadata: dict[str, Any] = {
        "rows_in": built.rows_in,
        "rows_out": manifest.rows,
        "rejected": manifest.rejected.total(),
        "rejected_by_reason": dg.MetadataValue.md(markdown.count_table("reason", manifest.rejected)),
        **({"census": dg.MetadataValue.md(markdown.count_table("what", manifest.census))} if manifest.census else {}),
        "parts": len(manifest.parts),
        "parts_reused": built.reused_parts,
        "location": dg.MetadataValue.path(pipeline.store.locate(folder)),
        "dagster/row_count": manifest.rows,
    }
    if manifest.dataset == "source_qa":
        metadata["benchmarks"] = dg.MetadataValue.md(describe_leaks(pipeline, manifest))
    if manifest.dataset == "rationales":
        metadata["operators"] = dg.MetadataValue.md(_operators(pipeline))
    return metadata | _shown(pipeline, manifest)


def _shown(pipeline: Pipeline, manifest: Manifest) -> dict[str, Any]:
    """Return what is looked at rather than read: a plot, a few records, and how to see all of them."""
    plot = PLOTS.get(manifest.dataset, draw_counts)(manifest)
    samples = describe_samples(pipeline, manifest)
    return {
        **({"plot": dg.MetadataValue.md(markdown.picture("plot", plot, "png"))} if plot else {}),
        **({"sample": dg.MetadataValue.md(samples)} if samples else {}),
        **({"viewer": dg.MetadataValue.md(view_hint(manifest.source))} if manifest.dataset in VIEWED else {}),
    }


def _operators(pipeline: Pipeline) -> str:
    rows = "".join(f"| {name} | {operator.version} |\n" for name, operator in pipeline.operators.items())
    return f"| operator | version |\n|---|---|\n{rows}"
