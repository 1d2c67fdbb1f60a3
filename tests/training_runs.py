"""Training runs to be carried out by stand-ins."""

from pathlib import Path

from mmat_dagster.training.executor import TrainingJob
from mmat_dagster.training.spec import RUN, Ingredient, Shard, TrainingRun, dump_run
from mmat_dagster.training.students import STUDENTS
from tests.stand_in_training import BEHAVIOUR


def training_run(world_size: int = 1) -> TrainingRun:
    shard = Shard(path="part.parquet", rows=3, sha256="0" * 64)
    data = Ingredient(source="tabmwp", dataset="rr_dialogues", fingerprint="f", images="images", shards=(shard,))
    return TrainingRun(
        name="rr_checkpoint of tabmwp",
        mixture="tabmwp",
        student=STUDENTS["tiny"],
        format="rr",
        data=(data,),
        store_images="store",
        world_size=world_size,
    )


def job_that(behaviour: str, folder: Path) -> TrainingJob:
    """Return a job of which the stand-in makes what `behaviour` says."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).write_bytes(dump_run(training_run()))
    (folder / BEHAVIOUR).write_text(behaviour)
    return TrainingJob(name="rr_checkpoint of tabmwp", folder=str(folder))
