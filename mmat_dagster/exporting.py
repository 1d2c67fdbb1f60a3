"""The command `export`: dialogues as another trainer reads them, with the settings to train on them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmat_dagster import parts
from mmat_dagster.environment import read_environment
from mmat_dagster.export import EXPORTERS
from mmat_dagster.export.dialogues import DATASETS
from mmat_dagster.export.folder import ExportRefused
from mmat_dagster.export.image_files import ImageFiles
from mmat_dagster.export.totals import Totals
from mmat_dagster.export.trainer import TRAIN, VALIDATION, Recipe, choose_student
from mmat_dagster.export.writing import DROPPED, Export, write_export
from mmat_dagster.images import PicturesOnDisk, StoredPictures
from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Manifest
from mmat_dagster.processes import terminable
from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.plan import ReleaseRefused
from mmat_dagster.schema import SourceName
from mmat_dagster.training.spec import BadRun, TrainingFormat
from resources.stores import open_store

INTERRUPTED = 130
ROW = "{:<14} {:<18} {:>10} {:>10}  {}"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for on the command line."""

    trainer: str
    form: TrainingFormat
    sources: Sequence[SourceName]
    is_named: bool
    student: str | None
    template: str | None
    out: Path
    is_replacing: bool
    checks_images: bool
    val_share: float
    release: Path | None = None


def export(order: Order) -> int:
    """Write the export and print what it holds; return the exit code. What was not finished is not left behind."""
    try:
        with terminable():
            totals = _export(order)
    except (BadRun, ExportRefused, ReleaseRefused) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{order.out} cannot be written: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted; nothing was left behind")
        return INTERRUPTED
    _print(order, totals)
    return 0


def _export(order: Order) -> Totals:
    environment = read_environment(os.environ)
    store = open_store(environment)
    trainer = EXPORTERS[order.trainer]
    recipe = Recipe(
        name=f"mmat_{order.form}",
        student=choose_student(trainer, order.student, order.template),
        form=order.form,
        has_validation=order.val_share > 0 or (order.release is not None and _holds_out(order.release, order.form)),
    )
    wanted = Export(
        trainer=trainer,
        recipe=recipe,
        store=store,
        manifests=[] if order.release else _manifests(order, store),
        images=ImageFiles(
            pictures=PicturesOnDisk(source_root=order.release, store_root=order.release)
            if order.release
            else StoredPictures(source_root=environment.sources, store=store),
            is_hashed=order.checks_images,
        ),
        val_share=order.val_share,
        release=order.release,
        sources=order.sources,
    )
    return write_export(wanted, order.out, is_replacing=order.is_replacing)


def _holds_out(release: Path, form: TrainingFormat) -> bool:
    """Say whether a release has a val set."""
    path = release / NAMES["rr" if form == "rr" else "orr", "val"]
    return path.is_file() and path.stat().st_size > 0


def _manifests(order: Order, store: Store) -> list[Manifest]:
    dataset = DATASETS[order.form]
    found = {source: parts.read_manifest(store, dataset, source) for source in order.sources}
    missing = [source for source, manifest in found.items() if manifest is None]
    if missing and (order.is_named or len(missing) == len(found)):
        named = "".join(f" --source {source}" for source in missing) if order.is_named else ""
        raise ExportRefused(
            f"{dataset} of {', '.join(missing)} is not built yet. Build it with: "
            f"python -m mmat_dagster materialize {dataset}{named}"
        )
    for source in missing:
        print(f"{source}: {dataset} is not built, passed over", file=sys.stderr)
    return [manifest for manifest in found.values() if manifest is not None]


def _print(order: Order, totals: Totals) -> None:
    print(ROW.format("source", "part", "dialogues", "images", "licence"))
    for part, dialogues, images in totals.parts:
        told = part.licence if part.is_commercial else f"{part.licence}, not for commercial use"
        print(ROW.format(part.source, part.part, f"{dialogues:,}", f"{images:,}", told))
    for (source, reason), count in sorted(totals.lost.items()):
        print(ROW.format(source, "dropped", f"{count:,}", "", reason))
    held_out = f" and {totals.dialogues(VALIDATION):,} held out" if order.val_share else ""
    print(f"{totals.dialogues(TRAIN):,} dialogues to train on{held_out}, over {totals.images:,} images, in {order.out}")
    if totals.lost:
        print(f"{order.out / DROPPED} names each that was dropped")
    print(f"Train: cd {order.out} && {EXPORTERS[order.trainer].launch}")


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1
