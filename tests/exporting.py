"""Stores of dialogues to export: the sample corpus, taken through the pipeline, and dialogues made by hand."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from mmat_dagster import parts
from mmat_dagster.corpus import write_corpus
from mmat_dagster.export import EXPORTERS
from mmat_dagster.export.dialogues import DATASETS
from mmat_dagster.export.image_files import ImageFiles
from mmat_dagster.export.trainer import Recipe, choose_student
from mmat_dagster.export.writing import Export
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.interfaces import Reply
from mmat_dagster.parts import Manifest
from mmat_dagster.pipeline import Pipeline, Settings
from mmat_dagster.progress import Progress
from mmat_dagster.schema import (
    Dialogue,
    ImageRef,
    OrrDialogue,
    Rejection,
    Sample,
    SourceName,
    Step,
    Transcript,
    Turn,
)
from mmat_dagster.tools import Look, Operator, Sight
from mmat_dagster.training.spec import TrainingFormat
from resources.store import LocalStore
from tests.builders import render_dialogue
from tests.dialogues import TRANSCRIPT
from tests.fakes import ScriptedTeacher, ToldOperator, ToldRetriever
from tests.written_parts import write_part

SOURCES: tuple[SourceName, ...] = get_args(SourceName)


class TirelessOcr(ToldOperator):
    """Reads the same in every image."""

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight]:
        return [Sight(text="sand | $2; gravel | $3") for _ in looks]


class CallingTeacher(ScriptedTeacher):
    """Has every image read, then knows the answer."""

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        if not turns:
            return Reply(step=Step(thought="I read what is printed.", operators=("ocr",), signal="continue"))
        return Reply(step=Step(thought=f"It is {sample.answers[0]}.", signal="end"))


def build_corpus(folder: Path, records: int = 3) -> Path:
    """Draw the sample corpus below `folder`/sources and build RR and ORR of all sources in `folder`/store."""
    write_corpus(folder / "sources", records=records)
    work = Pipeline(
        sources=folder / "sources",
        store=LocalStore(root=str(folder / "store")),
        teacher=CallingTeacher(),
        operators={"ocr": TirelessOcr()},
        search=ToldRetriever(),
        settings=Settings(part_rows=2),
    )
    for source in SOURCES:
        list(work.build("orr_dialogues", source, ignore))
    return folder


def ignore(progress: Progress) -> None:
    """Report to nobody."""


def read(folder: Path, form: TrainingFormat) -> list[Dialogue | OrrDialogue]:
    """Return the dialogues that a format is made of, in order."""
    store = LocalStore(root=str(folder / "store"))
    record: type[Dialogue | OrrDialogue] = Dialogue if form == "rr" else OrrDialogue
    found = (parts.read_manifest(store, DATASETS[form], source) for source in SOURCES)
    return [dialogue for each in found if each for dialogue in parts.read_records(store, each, record)]


def make_dialogue(sample: Sample, transcript: Transcript | None = None) -> Dialogue:
    """Return the RR dialogue of a sample, about as many images as it has."""
    said = transcript or replace(TRANSCRIPT, image_count=len(sample.images))
    return render_dialogue(sample, said, "Reason step by step.")


def write_image(folder: Path, name: str, sha256: str, data: bytes = b"pixels") -> ImageRef:
    """Write the file of an image of TabMWP, and return where it lies; nobody decodes it."""
    path = folder / "sources" / "tabmwp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return ImageRef(home="source", path=name, sha256=sha256, width=2, height=1)


def put(folder: Path, *dialogues: Dialogue) -> Path:
    """Write RR dialogues of TabMWP to the store below `folder`, as one part, and return `folder`."""
    store = LocalStore(root=str(folder / "store"))
    part = write_part(store, "rr_dialogues/tabmwp/part-00000-key", dialogues, Dialogue)
    parts.publish(store, Manifest(dataset="rr_dialogues", source="tabmwp", key="key", parts=(part,)))
    return folder


def make_export(
    folder: Path,
    trainer: str = "ms-swift",
    form: TrainingFormat = "rr",
    *,
    val_share: float = 0.0,
    is_hashed: bool = False,
) -> Export:
    """Return the export of all that the store below `folder` holds."""
    store = LocalStore(root=str(folder / "store"))
    found = (parts.read_manifest(store, DATASETS[form], source) for source in SOURCES)
    student = choose_student(EXPORTERS[trainer], None, None)
    pictures = PicturesOnDisk(source_root=folder / "sources", store_root=folder / "store")
    return Export(
        trainer=EXPORTERS[trainer],
        recipe=Recipe(name=f"mmat_{form}", student=student, form=form, has_validation=val_share > 0),
        store=store,
        manifests=[manifest for manifest in found if manifest],
        images=ImageFiles(pictures=pictures, is_hashed=is_hashed),
        val_share=val_share,
    )


def rows(folder: Path, name: str = "train.jsonl") -> list[dict[str, Any]]:
    """Return the rows of a file of an export."""
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def losses(folder: Path) -> list[tuple[str, str]]:
    """Return the dialogues that an export has dropped, with the reasons."""
    return [(row["id"], row["reason"]) for row in rows(folder, "dropped.jsonl")]
