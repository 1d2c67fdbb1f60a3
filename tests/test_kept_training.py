"""What a training has done lies in the store while it goes on, and another machine goes on with it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from mmat_dagster.interfaces import StoreError
from mmat_dagster.training.checkpoints import obtain_checkpoint
from mmat_dagster.training.executor import TrainingJob
from mmat_dagster.training.kept import LOG, whole_checkpoints
from mmat_dagster.training.spec import (
    DROPPED,
    METRICS,
    OUTCOME,
    RUN,
    WHOLE,
    Outcome,
    dump_metrics,
    dump_outcome,
    read_run,
)
from resources.bucket import Bucket
from resources.kept_training import KeptTraining, keeping, open_bucket_at
from resources.training_executor import LocalTrainingExecutor
from tests import s3_server
from tests.fakes import told_metrics
from tests.processes import wait_until
from tests.remote_runs import PLACE, failure, materialize
from tests.s3_building import bucket_store
from tests.s3_server import BUCKET, Trouble, connect, objects, run_proxy
from tests.test_checkpoints import ORDER, leave_result
from tests.training_runs import job_that, training_run

s3, empty = s3_server.s3, s3_server.empty
KEPT = f"s3://{BUCKET}/mmat/training/tabmwp-1"


def kept_in(folder: Path) -> KeptTraining:
    folder.mkdir(exist_ok=True)
    return KeptTraining(open_bucket_at(KEPT), folder, 2)


def save(folder: Path, step: int, *, is_whole: bool = True) -> Path:
    """Write what a trainer writes at a step."""
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes([step]) * 1000)
    (checkpoint / "deep" / "rng_state.pth").write_bytes(b"random")
    if is_whole:
        (checkpoint / WHOLE).touch()
    (folder / METRICS).write_bytes(b"".join(dump_metrics(told_metrics(each)) for each in range(1, step + 1)))
    return checkpoint


def listed(s3: str) -> set[str]:
    return {key.removeprefix("mmat/training/tabmwp-1/") for key in objects(s3)}


def test_another_machine_brings_the_newest_checkpoint_with_its_log(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    here = kept_in(one)
    assert here.keep() is None
    save(one, 4)
    (one / "plan").mkdir()
    (one / "plan" / "1.parquet").write_bytes(b"measures")
    assert here.keep() == 4
    assert here.keep() is None
    assert kept_in(other).bring() == 4
    assert kept_in(other).bring() is None
    brought = whole_checkpoints(other)[4]
    assert (brought / "model.safetensors").read_bytes() == bytes([4]) * 1000
    assert (brought / "deep" / "rng_state.pth").read_bytes() == b"random"
    assert (other / METRICS).read_bytes() == (one / METRICS).read_bytes()
    assert (other / DROPPED).read_bytes() == b""
    assert (other / "plan" / "1.parquet").read_bytes() == b"measures"


def test_a_machine_that_is_further_keeps_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    save(one, 4)
    kept_in(one).keep()
    save(other, 6)
    further = kept_in(other)
    assert further.bring() is None
    assert further.keep() == 6


def test_only_the_newest_checkpoints_stay_in_the_store(s3: str, tmp_path: Path) -> None:
    here = kept_in(tmp_path / "one")
    for step in (2, 4, 6):
        save(tmp_path / "one", step)
        assert here.keep() == step
    names = {key.split("/")[1] for key in listed(s3) if key.startswith("checkpoints/")}
    assert names == {"checkpoint-4", "checkpoint-4.json", "checkpoint-6", "checkpoint-6.json"}


def test_what_a_kill_has_torn_is_never_taken_for_whole(s3: str, tmp_path: Path) -> None:
    one = tmp_path / "one"
    here = kept_in(one)
    save(one, 2)
    here.keep()
    save(one, 4, is_whole=False)  # the trainer was killed while it wrote
    assert here.keep() is None
    bucket = open_bucket_at(KEPT)  # the machine was killed while it uploaded
    bucket.write("checkpoints/checkpoint-6/model.safetensors", b"torn")
    assert kept_in(tmp_path / "other").bring() == 2
    assert list(whole_checkpoints(tmp_path / "other")) == [2]
    save(one, 8)
    assert kept_in(one).keep() == 8
    assert not any("checkpoint-6" in key for key in listed(s3))


def test_what_is_lost_while_it_is_brought_leaves_nothing_half(s3: str, tmp_path: Path) -> None:
    save(tmp_path / "one", 4)
    kept_in(tmp_path / "one").keep()
    open_bucket_at(KEPT).write("checkpoints/checkpoint-4/model.safetensors", b"torn")
    with pytest.raises(StoreError, match="is not the file that was put there"):
        kept_in(tmp_path / "other").bring()
    assert whole_checkpoints(tmp_path / "other") == {}
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["checkpoints"]


def test_a_checkpoint_that_the_trainer_removes_meanwhile_is_kept_whole(tmp_path: Path) -> None:
    one = tmp_path / "one"

    class Slow(Bucket):
        def put(self, key: str, path: Path) -> None:
            shutil.rmtree(one / "checkpoints", ignore_errors=True)
            super().put(key, path)

    checkpoint = save(one, 4)
    slow = Slow(KEPT, lambda: connect(os.environ["AWS_ENDPOINT_URL"]))
    assert KeptTraining(slow, one, 2).keep() == 4
    assert not checkpoint.exists()
    assert kept_in(tmp_path / "other").bring() == 4
    assert (whole_checkpoints(tmp_path / "other")[4] / "model.safetensors").stat().st_size == 1000


def test_a_service_in_trouble_keeps_all_of_it(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_proxy(s3, Trouble(share=0.2, seed=5)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        here = kept_in(tmp_path / "one")
        for step in (2, 4, 6):
            save(tmp_path / "one", step)
            assert here.keep() == step
        assert kept_in(tmp_path / "other").bring() == 6
    assert (tmp_path / "other" / METRICS).read_bytes() == (tmp_path / "one" / METRICS).read_bytes()


def test_a_store_that_is_gone_is_told_of_and_does_not_end_the_training(tmp_path: Path) -> None:
    said: list[str] = []
    save(tmp_path / "one", 2)
    missing = KeptTraining(open_bucket_at("s3://nobodys/training"), tmp_path / "one", 2)
    with pytest.raises(StoreError, match="NoSuchBucket"), keeping(missing, said.append):
        wait_until(lambda: bool(said))
    assert [line.partition(": ")[0] for line in said] == ["nothing can be kept for now"]


def test_progress_and_last_lines_lie_in_the_store(tmp_path: Path) -> None:
    one = tmp_path / "one"
    save(one, 3)
    (one / LOG).write_bytes(b"first\n" + b"x" * 70_000 + b"\nlast\n")
    kept_in(one).tell()
    bucket = open_bucket_at(KEPT)
    assert bucket.read("latest.jsonl") + b"\n" == dump_metrics(told_metrics(3))
    assert bucket.read(LOG) == b"last\n"


def finish_elsewhere(job: TrainingJob) -> Outcome:
    """Do what a machine of its own does, and leave nothing here."""
    assert job.kept is not None
    assert job.result is not None
    folder = Path(job.folder).parent / "elsewhere"
    leave_result(folder)
    bucket = open_bucket_at(job.kept)
    (folder / RUN).write_bytes(bucket.read(RUN))
    kept = KeptTraining(bucket, folder, 2)
    files = [(path.name, path) for path in sorted(folder.rglob("*")) if path.is_file()]
    kept.publish(open_bucket_at(job.result), files)
    outcome = Outcome(state="done", step=2, max_steps=2, final_loss=0.5)
    kept.end(dump_outcome(outcome))
    shutil.rmtree(folder)
    return outcome


def test_what_a_machine_of_its_own_has_put_into_the_store_becomes_the_checkpoint(s3: str, tmp_path: Path) -> None:
    store = bucket_store(f"s3://{BUCKET}/mmat", tmp_path / "mirror")
    checkpoint = obtain_checkpoint(store, ORDER, training_run(), finish_elsewhere).checkpoint
    kept = objects(s3)
    folder = f"mmat/{checkpoint.folder}"
    assert {f"{folder}/{file.path}": file.bytes for file in checkpoint.files} == {
        key: len(data) for key, data in kept.items() if key.startswith(folder) and not key.endswith("checkpoint.json")
    }
    assert (checkpoint.first_loss, checkpoint.tokens_per_second) == (1.0, 100.0)
    assert not any(key.startswith("mmat/training/") for key in kept)


def test_a_result_that_nobody_was_left_to_take_is_taken_by_the_next_machine(s3: str, tmp_path: Path) -> None:
    def finish_and_die(job: TrainingJob) -> Outcome:
        finish_elsewhere(job)
        raise KeyboardInterrupt

    def never(job: TrainingJob) -> Outcome:
        raise AssertionError("nobody should train this again")

    url = f"s3://{BUCKET}/mmat"
    with pytest.raises(KeyboardInterrupt):
        obtain_checkpoint(bucket_store(url, tmp_path / "one"), ORDER, training_run(), finish_and_die)
    trained = obtain_checkpoint(bucket_store(url, tmp_path / "other"), ORDER, training_run(), never)
    assert {file.path for file in trained.checkpoint.files} >= {"model.safetensors", RUN, METRICS}


def test_an_attempt_begins_without_the_end_of_the_one_before(tmp_path: Path) -> None:
    store = bucket_store(f"s3://{BUCKET}/mmat", tmp_path / "mirror")
    key = f"training/tabmwp-{training_run().key}"
    store.write(f"{key}/{OUTCOME}", dump_outcome(Outcome(state="failed", error="loss is nan")))

    def look(job: TrainingJob) -> Outcome:
        assert not store.exists(f"{key}/{OUTCOME}")
        assert store.read(f"{key}/{RUN}") == (Path(job.folder) / RUN).read_bytes()
        return finish_elsewhere(job)

    obtain_checkpoint(store, ORDER, training_run(), look)


def test_a_training_of_this_machine_is_kept_and_gone_on_with_when_its_mirror_is_gone(s3: str, tmp_path: Path) -> None:
    executor = LocalTrainingExecutor(module="tests.stand_in_training", packages=[])
    url, mirror = f"s3://{BUCKET}/mmat", tmp_path / "mirror"
    place = mirror / PLACE
    job_that("lose_its_machine", place)

    def kill_when_kept() -> None:
        wait_until(lambda: f"mmat/{PLACE}/checkpoints/checkpoint-3.json" in objects(s3))
        os.kill(int((place / "ready").read_text()), signal.SIGKILL)

    killing = threading.Thread(target=kill_when_kept)
    killing.start()
    with dg.DagsterInstance.ephemeral() as instance:
        told = failure(materialize(instance, bucket_store(url, mirror), executor)).description
        killing.join()
        assert "a process of it was killed (SIGKILL)" in told
        shutil.rmtree(mirror)
        job_that("lose_its_machine", place)
        result = materialize(instance, bucket_store(url, mirror), executor)
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert result.success
    assert any("goes on from the checkpoint of step 3, which was in the store" in line for line in logged)
    assert not any(key.startswith("mmat/training/") for key in objects(s3))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of libraries, about other libraries
def test_a_training_that_is_killed_with_its_machine_goes_on_elsewhere_to_the_digit(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.environ.get("MMAT_REQUIRE_TRAINING"):
        for needed in ("torch", "trl", "peft"):
            pytest.importorskip(needed)
    from mmat_dagster.training.process import trainer  # noqa: PLC0415
    from tests.learnable import HYPER, learnable_run, put_run  # noqa: PLC0415
    from tests.test_training_resume import ENVIRONMENT, assert_same, carry_out  # noqa: PLC0415

    assert trainer.WHOLE == WHOLE
    run = learnable_run(tmp_path, hyper=replace(HYPER, max_steps=40), save_every_steps=2)
    whole, killed, other = tmp_path / "whole", tmp_path / "killed", tmp_path / "other"
    config = put_run(killed, run)
    command = [sys.executable, "-m", "mmat_dagster.training", "--config", str(config)]
    with (
        subprocess.Popen(command, env=ENVIRONMENT) as process,
        keeping(KeptTraining(open_bucket_at(KEPT), killed, 2), lambda line: None),
    ):
        wait_until(lambda: max(whole_checkpoints(killed), default=0) >= 4)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: any(key.endswith(".json") for key in listed(s3)))
        process.send_signal(signal.SIGKILL)
    shutil.rmtree(killed)

    put_run(other, run)
    step = kept_in(other).bring()
    finished = carry_out(read_run(other / RUN), other)
    assert step is not None
    assert (finished.state, finished.started_at_step) == ("done", step)
    assert 2 <= step < 40
    carry_out(run, whole)
    assert_same(whole, other)
