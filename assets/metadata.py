"""What the Dagster UI shows of a built dataset: counts, reasons, where it lies, and one record to look at."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import dagster as dg
from PIL import Image, ImageOps

from assets.leaks import describe_leaks
from mmat_dagster import parts
from mmat_dagster.datasets import RECORDS
from mmat_dagster.images import FORMATS
from mmat_dagster.pipeline import Built, Pipeline
from mmat_dagster.reading import to_markdown
from mmat_dagster.schema import Sample

# A sample's picture is stored in Dagster's event log, so it is small.
PICTURE_SIDE_PX = 360


def describe(pipeline: Pipeline, built: Built) -> dict[str, Any]:
    """Return the metadata of one materialization."""
    manifest = built.manifest
    folder = parts.folder(manifest.dataset, manifest.source)
    metadata: dict[str, Any] = {
        "rows_in": built.rows_in,
        "rows_out": manifest.rows,
        "rejected": manifest.rejected.total(),
        "rejected_by_reason": dg.MetadataValue.md(count_table("reason", manifest.rejected)),
        **({"census": dg.MetadataValue.md(count_table("what", manifest.census))} if manifest.census else {}),
        "parts": len(manifest.parts),
        "parts_reused": built.reused_parts,
        "location": dg.MetadataValue.path(pipeline.store.locate(folder)),
        "dagster/row_count": manifest.rows,
    }
    if manifest.dataset == "source_qa":
        metadata["benchmarks"] = dg.MetadataValue.md(describe_leaks(pipeline, manifest))
    if manifest.dataset == "rationales":
        metadata["operators"] = dg.MetadataValue.md(_operators(pipeline))
    example = next(iter(parts.read_records(pipeline.store, manifest, RECORDS[manifest.dataset])), None)
    if example is not None:
        sample = example if isinstance(example, Sample) else example.sample
        metadata["sample"] = dg.MetadataValue.md(f"{_picture(pipeline, sample)}\n\n{to_markdown(example)}")
    return metadata


def _operators(pipeline: Pipeline) -> str:
    rows = "".join(f"| {name} | {operator.version} |\n" for name, operator in pipeline.operators.items())
    return f"| operator | version |\n|---|---|\n{rows}"


def count_table(title: str, counts: Mapping[str, int]) -> str:
    """Return counts as a Markdown table."""
    rows = "".join(f"| {name} | {count:,} |\n" for name, count in sorted(counts.items()))
    return f"| {title} | count |\n|---|---:|\n{rows}" if rows else "none"


def _picture(pipeline: Pipeline, sample: Sample) -> str:
    path = pipeline.pictures.locate(sample.source, sample.images[0])
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.thumbnail((PICTURE_SIDE_PX, PICTURE_SIDE_PX))
            small = ImageOps.exif_transpose(image).convert("RGB")
    except OSError as error:  # moved since the sample was built: no reason to lose what was built from it
        return f"(the picture {path} cannot be shown: {error})"
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"![{sample.id}](data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})"
