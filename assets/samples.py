"""The records of a dataset that the Dagster UI shows: telling ones, readable, each with its picture."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast, get_args

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps

from mmat_dagster import markdown, parts, wire
from mmat_dagster.datasets import RECORDS
from mmat_dagster.images import FORMATS
from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Manifest, Part
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.reading import Shown, to_markdown
from mmat_dagster.records import from_table
from mmat_dagster.schema import Dialogue, OrrDialogue, Rationale, Sample

# Both are stored in Dagster's event log, so they are small.
PICTURE_SIDE_PX, PICTURE_QUALITY = 420, 80
SAMPLES = 2
# So many records are looked at for telling ones: the first of a part, and of its reflected ones.
CANDIDATES = 60
# A dialogue of about so many characters is read in a minute.
PLEASANT_CHARS = 900


def describe_samples(pipeline: Pipeline, manifest: Manifest) -> str | None:
    """Return a few records of a dataset as Markdown, or None where it holds none that a person could read."""
    chosen = choose(pipeline.store, manifest)
    shown = [f"{_picture(pipeline, _sample(each))}\n\n{to_markdown(each)}" for each in chosen]
    return "\n\n---\n\n".join(shown) if shown else None


def choose(store: Store, manifest: Manifest) -> list[Shown]:
    """Return the most telling of a part's first records: one with a reflection where there is one, one without."""
    part = _part(manifest)
    if part is None or RECORDS[manifest.dataset] not in get_args(Shown):
        return []
    (table,) = parts.read_tables(store, replace(manifest, parts=(part,)))
    groups = _groups(table)
    best = [min(records, key=_tedium) for group in groups if (records := _records(group, manifest))]
    rest = [each for each in _records(groups[-1], manifest) if each not in best]
    return [*best, *sorted(rest, key=_tedium)][:SAMPLES]


def _part(manifest: Manifest) -> Part | None:
    """Return the first part that holds a reflection, or else the first that holds anything."""
    filled = [part for part in manifest.parts if part.rows]
    reflected = (part for part in filled if part.census.keys() & {"general reflection", "math reflection"})
    return next(reflected, next(iter(filled), None))


def _groups(table: pa.Table) -> list[pa.Table]:
    """Return candidates: those with a reflection first, where the records of `table` may have one."""
    if "reflection" not in table.column_names:
        return [table.slice(0, CANDIDATES)]
    is_plain = pc.is_in(table.column("reflection"), pa.array(["none"]))
    return [table.filter(pc.invert(is_plain)).slice(0, CANDIDATES), table.filter(is_plain).slice(0, CANDIDATES)]


def _records(table: pa.Table, manifest: Manifest) -> Sequence[Shown]:
    return cast("Sequence[Shown]", from_table(table, RECORDS[manifest.dataset]))


def _tedium(record: Shown) -> tuple[int, int]:
    """Return how little a record tells: few different tools first, then how far it is from a pleasant length."""
    return -len({*_tools(record)}), abs(PLEASANT_CHARS - len(to_markdown(record)))


def _tools(record: Shown) -> Iterator[str]:
    if isinstance(record, Rationale | Dialogue):
        turns = record.turns if isinstance(record, Rationale) else record.transcript.turns
        yield from (item.tool for turn in turns for item in turn.observations)
    if isinstance(record, OrrDialogue):
        yield from (call.tool for call in wire.parse_orr(record.messages).calls)


def _sample(record: Shown) -> Sample:
    return record if isinstance(record, Sample) else record.sample


def _picture(pipeline: Pipeline, sample: Sample) -> str:
    shown = sample.images[0]
    try:
        with Image.open(pipeline.pictures.locate(sample.source, shown), formats=FORMATS) as image:
            image.thumbnail((PICTURE_SIDE_PX, PICTURE_SIDE_PX))
            small = ImageOps.exif_transpose(image).convert("RGB")
    except OSError as error:  # moved since the sample was built: no reason to lose what was built from it
        return markdown.literal(f"(the picture {shown.path} cannot be shown: {error})")
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=PICTURE_QUALITY)
    return markdown.picture(sample.id, buffer.getvalue(), "jpeg")
