"""A plan into a folder: every dialogue once in Parquet and once in JSON Lines, counted on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import chain, zip_longest
from pathlib import Path
from typing import IO

import orjson
import pyarrow as pa

from mmat_dagster.parts import Manifest
from mmat_dagster.release.audits import Scores, read_scores
from mmat_dagster.release.columns import Column, pc
from mmat_dagster.release.filling import Filled, Missing, fill, image_column
from mmat_dagster.release.lines import NAMES, LineWriter
from mmat_dagster.release.pictures import ImageFolder, PictureReader
from mmat_dagster.release.plan import DATASETS, FORMS, SIDES, Form, Plan, ReleaseRefused, Side, SourceData
from mmat_dagster.release.rows import LossReason, read_batches, read_columns, select
from mmat_dagster.release.shards import SCHEMA, Shard, ShardWriter
from mmat_dagster.release.statistics import Statistics
from mmat_dagster.schema import SourceName
from mmat_dagster.splits import ImageGroups

DROPPED = "dropped.jsonl"

Report = Callable[[SourceName, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A dialogue that is not released, and why; one line of dropped.jsonl."""

    id: str
    source: SourceName
    dataset: str
    reason: LossReason
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written: the shards by form and side, what their rows take in memory, and what was counted."""

    shards: dict[tuple[Form, Side], tuple[Shard, ...]]
    arrow_bytes: dict[tuple[Form, Side], int]
    statistics: Statistics


def write_rows(plan: Plan, root: Path, report: Report) -> Written:
    """Write the Parquet shards, the JSON Lines and the images of a plan below `root`; return what was written.

    Raises ReleaseRefused where nothing is left, and where the dialogues are being rebuilt meanwhile.
    """
    groups = tie_images(plan)
    with _opened(plan, root, groups) as writing:
        for data in plan.data:
            writing.write_source(data, report)
        written = writing.finish()
    if not written.statistics.dialogues("rr", "train"):
        raise ReleaseRefused(f"no dialogue is left to train on: {_told(written.statistics) or 'there were none'}")
    return written


def tie_images(plan: Plan) -> ImageGroups:
    """Return which images are shown together in any dialogue."""
    groups = ImageGroups()
    for manifest in chain.from_iterable(data.dialogues.values() for data in plan.data):
        for keys in _several(plan, manifest):
            groups.tie(keys)
    return groups


def _several(plan: Plan, manifest: Manifest) -> Iterator[list[str]]:
    for table in read_columns(plan.store, manifest, ["images.list.element.sha256"]):
        images: Column = table["images"].filter(pc.greater(pc.list_value_length(table["images"]), 1))
        yield from ([image["sha256"] for image in row] for row in images.to_pylist())


@dataclass(kw_only=True)
class _Writing:
    """The files of a release while they are written."""

    plan: Plan
    groups: ImageGroups
    shards: dict[tuple[Form, Side], ShardWriter]
    lines: dict[tuple[Form, Side], LineWriter]
    dropped: IO[bytes]
    reader: PictureReader
    folder: ImageFolder
    statistics: Statistics = field(default_factory=Statistics)

    def write_source(self, data: SourceData, report: Report) -> None:
        """Write one source, its RR and its ORR dialogues side by side, since they show the same images."""
        scores = read_scores(self.plan.store, data.audit)
        self.statistics.judges.update(scores.judges)
        total = sum(manifest.rows for manifest in data.dialogues.values())
        done = 0
        batches = (read_batches(self.plan.store, data.dialogues.get(form)) for form in FORMS)
        for pair in zip_longest(*batches):
            for form, batch in zip(FORMS, pair, strict=True):
                if batch is not None:
                    self._write_batch(form, data.source, batch, scores)
                    done += len(batch)
            report(data.source, done, total)

    def finish(self) -> Written:
        """Close all files."""
        for lines in self.lines.values():
            lines.finish()
        shards = {place: tuple(writer.finish()) for place, writer in self.shards.items()}
        sizes = {place: writer.arrow_bytes for place, writer in self.shards.items()}
        return Written(shards=shards, arrow_bytes=sizes, statistics=self.statistics)

    def abandon(self) -> None:
        """Close what is open."""
        for shards in self.shards.values():
            shards.abandon()
        for lines in self.lines.values():
            lines.abandon()

    def _write_batch(self, form: Form, source: SourceName, batch: pa.Table, scores: Scores) -> None:
        rows, losses = select(batch, scores, self.plan.choices)
        for loss in losses:
            for record in loss.ids:
                self._drop(form, source, record, loss.reason)
        for filled in fill(rows, source, self.reader):
            if isinstance(filled, Missing):
                self._drop(form, source, filled.id, "missing or changed image", filled.detail)
            else:
                self._write_filled(form, source, filled)

    def _write_filled(self, form: Form, source: SourceName, filled: Filled) -> None:
        paths = self._place(source, filled)
        column = image_column(filled.pictures, embeds=self.plan.choices.embeds_images)
        rows = filled.rows
        self.statistics.count_images(source, rows, filled.refs)
        if form == "rr":
            self.statistics.count_reasoning(rows, self.plan.choices.good_score)
        rows = rows.set_column(rows.schema.get_field_index("images"), "images", column)
        for side, chosen in self._sides(rows, filled).items():
            if chosen:
                part = rows if len(chosen) == len(rows) else rows.take(chosen)
                self.statistics.count(form, side, source, part)
                self.shards[form, side].write(part.select(SCHEMA.names).cast(SCHEMA))
                self.lines[form, side].write(part, [paths[number] for number in chosen])

    def _place(self, source: SourceName, filled: Filled) -> list[list[str]]:
        """Return the paths of each row's images, having put the images there."""
        if not self.plan.choices.copies_images:
            return [[str(self.reader.locate(source, ref)) for ref in row] for row in filled.refs]
        for row, refs in zip(filled.pictures, filled.refs, strict=True):
            for picture, ref in zip(row, refs, strict=True):
                if not self.folder.holds(picture):
                    self.folder.place(picture, self.reader.locate(source, ref))
        return [[picture.path for picture in row] for row in filled.pictures]

    def _sides(self, rows: pa.Table, filled: Filled) -> dict[Side, list[int]]:
        """Return the numbers of the rows on each side; one without images goes by its id."""
        sides: dict[Side, list[int]] = {"train": [], "val": []}
        for number, refs in enumerate(filled.refs):
            key = refs[0].sha256 if refs else sha256(rows["id"][number].as_py().encode()).hexdigest()
            sides["val" if self.groups.is_held_out(key, self.plan.choices.val_share) else "train"].append(number)
        return sides

    def _drop(self, form: Form, source: SourceName, record: str, reason: LossReason, detail: str = "") -> None:
        lost = Lost(id=record, source=source, dataset=DATASETS[form], reason=reason, detail=detail)
        self.dropped.write(orjson.dumps(asdict(lost)) + b"\n")
        self.statistics.lose(source, form, reason, 1)


@contextmanager
def _opened(plan: Plan, root: Path, groups: ImageGroups) -> Iterator[_Writing]:
    with (root / DROPPED).open("wb") as dropped:
        writing = _Writing(
            plan=plan,
            groups=groups,
            shards={
                (form, side): ShardWriter(root=root, stem=f"data/{form}/{side}", shard_bytes=plan.choices.shard_bytes)
                for form in FORMS
                for side in SIDES
            },
            lines={place: LineWriter(path=root / name) for place, name in NAMES.items()},  # type: ignore[misc]
            dropped=dropped,
            reader=PictureReader(pictures=plan.pictures),
            folder=ImageFolder(root=root),
        )
        try:
            yield writing
        except BaseException:
            writing.abandon()
            raise


def _told(statistics: Statistics) -> str:
    return ", ".join(
        f"{count:,} {reason} ({source}, {form})" for (source, form, reason), count in statistics.lost.items()
    )
