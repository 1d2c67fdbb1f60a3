"""Dialogues to a trainer's rows, part by part: the split, the files, and what is counted on the way.

train.jsonl, val.jsonl   the rows
dropped.jsonl            one Lost a dialogue that is in neither
export.json              what the export was made from, and its counts
README.md                the same for a person, and how to train
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson

from mmat_dagster import parts
from mmat_dagster.datasets import RECORDS
from mmat_dagster.export.dialogues import (
    Exportable,
    Lost,
    NotExportable,
    check_messages,
    messages_of,
    of_release,
    of_store,
)
from mmat_dagster.export.folder import SUMMARY, ExportRefused, whole_folder
from mmat_dagster.export.image_files import ImageFiles
from mmat_dagster.export.readme import render_readme
from mmat_dagster.export.totals import Totals
from mmat_dagster.export.trainer import TRAIN, VALIDATION, Recipe, Trainer
from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Manifest
from mmat_dagster.release.reading import read_released
from mmat_dagster.schema import Message, SourceName
from mmat_dagster.splits import is_held_out

DROPPED, README = "dropped.jsonl", "README.md"
WITHOUT_IMAGES = ".without-images"


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is exported for a trainer: the dialogues of `manifests`, or those that `sources` have in a `release`.

    `val_share` of the images are held out; a release has held out its own.
    """

    trainer: Trainer
    recipe: Recipe
    store: Store
    manifests: Sequence[Manifest]
    images: ImageFiles
    val_share: float = 0.0
    release: Path | None = None
    sources: Sequence[SourceName] = ()


def write_export(export: Export, out: Path, *, is_replacing: bool = False) -> Totals:
    """Write the folder `out`, whole or not at all, and return what was counted.

    Raises ExportRefused where `out` must not be written, where nothing is left to train on or held out, and where the
    dialogues are being rebuilt meanwhile.
    """
    with whole_folder(out, is_replacing=is_replacing) as folder:
        totals = _write_rows(export, folder)
        if not totals.dialogues(TRAIN):
            raise ExportRefused(f"no dialogue is left to train on: {totals.told_losses() or 'there were none'}")
        if export.val_share and not totals.dialogues(VALIDATION):
            raise ExportRefused(f"no dialogue is held out: there are too few for a share of {export.val_share:.2%}")
        for name, text in _texts(export, totals).items():
            (folder / name).write_text(text, "utf-8")
    return totals


def _write_rows(export: Export, folder: Path) -> Totals:
    totals = Totals()
    sides = (TRAIN, *([VALIDATION] if export.recipe.has_validation else []))
    with ExitStack() as opened:
        names = (DROPPED, *sides, *(f"{side}{WITHOUT_IMAGES}" for side in sides))
        files = {name: opened.enter_context((folder / name).open("wb")) for name in names}
        for dialogue in _read(export):
            _write_row(export, dialogue, files, totals)
    for side in sides:
        _append(folder / side, folder / f"{side}{WITHOUT_IMAGES}")
    return totals


def _append(rows: Path, more: Path) -> None:
    """Move rows without images behind the others, since `datasets` takes the type of `images` from a file's first rows.

    Where 10 MB of rows without any come first, it takes it for null, and fails at the first path.
    """
    with rows.open("ab") as file, more.open("rb") as last:
        shutil.copyfileobj(last, file)
    more.unlink()


def _read(export: Export) -> Iterator[Exportable]:
    if export.release is not None:
        released = read_released(export.release, "rr" if export.recipe.form == "rr" else "orr")
        yield from (of_release(dialogue) for dialogue in released if dialogue.source in export.sources)
    for manifest in export.manifests:
        try:
            yield from map(of_store, parts.read_records(export.store, manifest, RECORDS[manifest.dataset]))
        except FileNotFoundError as error:
            raise ExportRefused(
                f"{manifest.dataset} of {manifest.source} was rebuilt meanwhile ({error.filename} is gone). Try again"
            ) from error


def _write_row(export: Export, dialogue: Exportable, files: Mapping[str, IO[bytes]], totals: Totals) -> None:
    try:
        messages, images = _fit(export, dialogue)
        side = _side(dialogue, export.val_share)
    except NotExportable as reason:
        lost = Lost(id=dialogue.id, source=dialogue.source, reason=reason.reason, detail=reason.detail)
        files[DROPPED].write(orjson.dumps(asdict(lost)) + b"\n")
        totals.lost[dialogue.source, reason.reason] += 1
        return
    row = {"id": dialogue.id, "messages": [asdict(message) for message in messages], "images": images}
    files[side if images else f"{side}{WITHOUT_IMAGES}"].write(orjson.dumps(row) + b"\n")
    totals.count(side, dialogue, messages)


def _fit(export: Export, dialogue: Exportable) -> tuple[tuple[Message, ...], list[str]]:
    messages = messages_of(dialogue, export.recipe.form)
    check_messages(messages, len(dialogue.images))
    return messages, [export.images.find(dialogue.source, image) for image in dialogue.images]


def _side(dialogue: Exportable, share: float) -> str:
    """Return the file of a dialogue, so that no image is in both; one without images goes by its id."""
    if dialogue.is_held_out is not None:
        return VALIDATION if dialogue.is_held_out else TRAIN
    keys = [image.sha256 for image in dialogue.images] or [hashlib.sha256(dialogue.id.encode()).hexdigest()]
    sides = {is_held_out(key, share) for key in keys}
    if len(sides) > 1:
        raise NotExportable("images on both sides of the split", f"{len(keys)} images")
    return VALIDATION if sides == {True} else TRAIN


def _texts(export: Export, totals: Totals) -> dict[str, str]:
    return {
        **export.trainer.render(export.recipe),
        README: render_readme(export.trainer, export.recipe, totals, export.val_share),
        SUMMARY: orjson.dumps(_summary(export, totals), option=orjson.OPT_INDENT_2).decode() + "\n",
    }


def _summary(export: Export, totals: Totals) -> dict[str, object]:
    return {
        "trainer": export.trainer.name,
        "format": export.recipe.form,
        "model": export.recipe.student.model,
        "val_share": export.val_share,
        **({"release": export.release.name} if export.release else {}),
        "data": {manifest.source: f"{manifest.dataset} {manifest.fingerprint}" for manifest in export.manifests},
        "dialogues": {side: totals.dialogues(side) for side in (TRAIN, VALIDATION)},
        "images": totals.images,
        "dropped": [
            {"source": source, "reason": reason, "count": count} for (source, reason), count in totals.lost.items()
        ],
    }
