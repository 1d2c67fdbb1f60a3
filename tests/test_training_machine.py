"""What a machine of its own runs: it brings what a run names, starts the training, and keeps its keys from it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmat_dagster.processes import SECRETS
from mmat_dagster.records import to_table
from mmat_dagster.schema import Dialogue, ImageRef
from mmat_dagster.training.spec import RUN, Ingredient, Outcome, Shard, TrainingRun, read_outcome
from mmat_dagster.training.students import STUDENTS
from resources.training_data import bring_data
from tests.learnable import learnable
from tests.s3_server import BUCKET, connect, run_s3, use_s3
from tests.stand_in_training import ENVIRONMENT
from tests.training_runs import job_that, training_run

ROOT = Path(__file__).resolve().parents[1]


def run_machine(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore", "-m", "resources.training_machine", "--config", str(folder / RUN)]
    return subprocess.run(
        [*command, "--module", "tests.stand_in_training"],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_that_all_machines_share_is_worked_in_without_a_key(tmp_path: Path) -> None:
    job_that("finish", tmp_path)
    ended = run_machine(tmp_path, **dict.fromkeys(SECRETS, "secret"))
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "done at step 4"), ended.stderr
    assert read_outcome(tmp_path) == Outcome(state="done", step=4, max_steps=4, final_loss=1.25)
    assert not set(SECRETS) & set((tmp_path / ENVIRONMENT).read_text().split("\n"))


def test_a_training_that_the_kernel_kills_on_a_machine_that_lives_has_failed(tmp_path: Path) -> None:
    job_that("be_killed", tmp_path)
    ended = run_machine(tmp_path)
    assert ended.returncode == 1
    assert "failed at step 0: a process of it was killed (SIGKILL), as the kernel does when memory runs" in ended.stdout


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_s3(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    use_s3(monkeypatch, s3)
    return s3


def shelved(folder: Path, address: str) -> TrainingRun:
    """Put two dialogues and their images into the bucket: one lies beside its source, the other in the store."""
    beside, stored = learnable(folder, 1), learnable(folder, 2)
    (image,) = stored.images
    stored = replace(stored, images=(replace(image, home="store", path=f"images/{image.path}"),))
    lost = ImageRef(home="store", path="images/lost.png", sha256="0" * 64, width=1, height=1)
    outside = replace(lost, path="../outside.png")
    part = folder / "part.parquet"
    pq.write_table(to_table([beside, stored, replace(stored, images=(lost, outside))], Dialogue), part)
    client = connect(address)
    client.upload_file(str(part), BUCKET, "mmat/rr_dialogues/tabmwp/part.parquet")
    client.upload_file(
        str(folder / "images" / beside.images[0].path), BUCKET, f"sources/tabmwp/{beside.images[0].path}"
    )
    client.upload_file(str(folder / "images" / image.path), BUCKET, f"mmat/images/{image.path}")
    shard = Shard(
        path=f"s3://{BUCKET}/mmat/rr_dialogues/tabmwp/part.parquet",
        rows=3,
        sha256=hashlib.sha256(part.read_bytes()).hexdigest(),
    )
    data = Ingredient(
        source="tabmwp",
        dataset="rr_dialogues",
        fingerprint="f",
        images=f"s3://{BUCKET}/sources/tabmwp",
        shards=(shard,),
    )
    return replace(training_run(), data=(data,), store_images=f"s3://{BUCKET}/mmat")


def test_what_a_run_names_by_uri_is_brought_and_named_by_path(bucket: str, tmp_path: Path) -> None:
    run = shelved(tmp_path, bucket)
    said: list[str] = []

    def scratch(url: str) -> Path:
        return tmp_path / "scratch" / url.removeprefix("s3://")

    here = bring_data(run, scratch, said.append)
    (data,) = here.data
    assert Path(here.store_images) == tmp_path / "scratch" / BUCKET / "mmat"
    assert Path(data.shards[0].path).read_bytes() == (tmp_path / "part.parquet").read_bytes()
    assert [path.name for path in Path(data.images).iterdir()] == ["1-0.png"]
    assert [path.name for path in (Path(here.store_images) / "images").iterdir()] == ["2-0.png"]
    assert said == [
        f"1 images of tabmwp were brought from s3://{BUCKET}/mmat",
        f"1 images of tabmwp were brought from s3://{BUCKET}/sources/tabmwp",
    ]
    assert here.key == run.key
    assert bring_data(here, scratch, said.append) == here  # which has nothing left to bring
    again: list[str] = []
    bring_data(run, scratch, again.append)
    assert again == []


def test_a_student_of_text_has_no_images_brought(bucket: str, tmp_path: Path) -> None:
    run = replace(shelved(tmp_path, bucket), student=STUDENTS["smollm2"])
    said: list[str] = []
    bring_data(run, lambda url: tmp_path / "scratch" / url.removeprefix("s3://"), said.append)
    assert said == []
