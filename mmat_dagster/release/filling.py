"""A batch with its images: the rows whose images are there, with their bytes, a bounded amount at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from mmat_dagster.release.columns import Column, pc
from mmat_dagster.release.lines import bounds
from mmat_dagster.release.pictures import ImageLost, Picture, PictureReader
from mmat_dagster.schema import ImageRef, SourceName

# So many bytes of images are held at once, one row's aside.
CHUNK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Rows with the pictures of each, and where each of these lies now."""

    rows: pa.Table
    pictures: list[list[Picture]]
    refs: list[list[ImageRef]]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A row whose images are not what they were."""

    id: str
    detail: str


def fill(batch: pa.Table, source: SourceName, reader: PictureReader) -> Iterator[Filled | Missing]:
    """Yield the rows of a batch with their pictures, in order, and those whose pictures are not there."""
    start, held, pictures = 0, 0, list[list[Picture]]()
    refs = _refs(batch)
    reader.pictures.bring(ref for row in refs for ref in row)
    for number, wanted in enumerate(refs):
        try:
            found = [reader.read(source, ref) for ref in wanted]
        except ImageLost as lost:
            if pictures:
                yield Filled(rows=batch.slice(start, len(pictures)), pictures=pictures, refs=refs[start:number])
            yield Missing(id=batch["id"][number].as_py(), detail=str(lost))
            start, held, pictures = number + 1, 0, []
            continue
        pictures.append(found)
        held += sum(len(picture.data) for picture in found)
        if held >= CHUNK_BYTES:
            yield Filled(rows=batch.slice(start, len(pictures)), pictures=pictures, refs=refs[start : number + 1])
            start, held, pictures = number + 1, 0, []
    if pictures:
        yield Filled(rows=batch.slice(start, len(pictures)), pictures=pictures, refs=refs[start:])


def image_column(pictures: list[list[Picture]], *, embeds: bool) -> Column:
    """Return the images of rows as `datasets` knows them; without their bytes, by their place in the release."""
    flat = [picture for row in pictures for picture in row]
    data = pa.array([picture.data if embeds else None for picture in flat], pa.binary())
    paths = pa.array([picture.name if embeds else picture.path for picture in flat], pa.string())
    ends = [0]
    for row in pictures:
        ends.append(ends[-1] + len(row))
    structs = pa.StructArray.from_arrays([data, paths], ["bytes", "path"])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)


def _refs(batch: pa.Table) -> list[list[ImageRef]]:
    flat = pc.list_flatten(batch["images"])
    columns: Any = (pc.struct_field(flat, name).to_pylist() for name in ("home", "path", "sha256", "width", "height"))
    refs = [
        ImageRef(home=home, path=path, sha256=sha256, width=width, height=height)
        for home, path, sha256, width, height in zip(*columns, strict=True)
    ]
    ends = bounds(batch["images"])
    return [refs[start:stop] for start, stop in pairwise(ends)]
