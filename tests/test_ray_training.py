"""Training as a job of a Ray cluster: started, watched, ended and gone on with."""

import gc
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.executor import MachineNeeds, TrainingJob
from resources.ray_training_executor import RayTrainingExecutor
from resources.s3_store import S3Store
from resources.store import LocalStore
from resources.training_launch import MODULE
from tests import instances, remote_runs
from tests.processes import wait_until
from tests.ray_jobs import run_ray
from tests.remote_runs import (
    PLACE,
    STAND_IN,
    URL,
    assert_ends_with_its_checkpoint,
    behave,
    failure,
    materialize,
)
from tests.s3_building import bucket_store, write_sources
from tests.s3_server import BUCKET, CREDENTIALS, connect, objects, run_s3, use_s3
from tests.trained_elsewhere import assert_learned_from_both_homes_of_images, require_training, train_elsewhere

instance = instances.ephemeral

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "the-t0ken-of-the-cluster"
TRAINS = """
import json, sys, dagster as dg
from resources.ray_training_executor import RayTrainingExecutor
from resources.store import LocalStore
from tests.remote_runs import failure, materialize
with dg.DagsterInstance.ephemeral() as instance:
    result = materialize(instance, LocalStore(root=sys.argv[2]), RayTrainingExecutor(**json.loads(sys.argv[1])))
    print("trained" if result.success else failure(result).description)
"""
# Ray's own, of what its client is made of.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def require_ray() -> None:
    if importlib.util.find_spec("ray") is None and not os.environ.get("MMAT_REQUIRE_RAY"):
        pytest.skip("needs ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Yield the addresses of S3 and of the job server, and the folder of the cluster's machine."""
    require_ray()
    folder = tmp_path_factory.mktemp("machine")
    with run_s3(folder) as s3:
        variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": s3, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        with run_ray(ROOT, {**variables, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}) as jobs:
            yield s3, jobs, folder


@pytest.fixture
def folder(cluster: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    s3, _, folder = cluster
    use_s3(monkeypatch, s3)
    yield folder / "mmat-training" / BUCKET / "mmat" / PLACE
    shutil.rmtree(folder / "mmat-training", ignore_errors=True)
    for key in objects(s3):
        connect(s3).delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture(autouse=True)
def _left_by_the_log_reader() -> Iterator[None]:
    """Take away the event loop that dagster-ray's reader of lines leaves open, a thread's own."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def store(tmp_path: Path) -> S3Store:
    return bucket_store(URL, tmp_path / "mirror")


def fields(jobs: str, **others: Any) -> dict[str, Any]:
    return {"address": jobs, **STAND_IN, **others}


@pytest.mark.long
def test_a_job_trains_and_its_checkpoint_is_in_the_store(
    instance: dg.DagsterInstance, store: S3Store, cluster: tuple[str, str, Path], folder: Path
) -> None:
    behave(folder, "finish")
    result = materialize(instance, store, RayTrainingExecutor(**fields(cluster[1], cpus=1.0)))
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["steps"].value == 4
    checkpoint = read_current(store, "rr_checkpoint", "tabmwp")
    assert checkpoint is not None
    assert store.read(f"{checkpoint.folder}/adapter_model.safetensors") == b"weights"
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "done at step 4" in logged
    assert not folder.exists()


@pytest.mark.long
def test_a_job_that_fails_is_told_with_its_last_lines(
    instance: dg.DagsterInstance, store: S3Store, cluster: tuple[str, str, Path], folder: Path
) -> None:
    behave(folder, "fail")
    told = failure(materialize(instance, store, RayTrainingExecutor(**fields(cluster[1], tail_lines=3)))).description
    assert told.startswith("The training of rr_checkpoint of tabmwp failed: its process ended with exit code 1")
    assert told.endswith("\nline 98\nline 99\nValueError: the tokenizer knows no <image>")


@pytest.mark.long
def test_a_job_that_cannot_begin_is_told_with_its_last_lines(
    instance: dg.DagsterInstance, store: S3Store, cluster: tuple[str, str, Path], folder: Path
) -> None:
    told = failure(materialize(instance, store, RayTrainingExecutor(**fields(cluster[1], python="/no/python"))))
    assert "its job ended with exit code 127 (FAILED)" in told.description
    assert "/no/python: not found" in told.description


@pytest.mark.long
def test_a_job_that_is_killed_is_preempted_and_goes_on_from_its_last_checkpoint(
    instance: dg.DagsterInstance, store: S3Store, cluster: tuple[str, str, Path], folder: Path
) -> None:
    s3, jobs, _ = cluster
    behave(folder, "lose_its_machine")

    def kill_when_kept() -> None:
        wait_until(lambda: f"mmat/{PLACE}/checkpoints/checkpoint-3.json" in objects(s3))
        wait_until(lambda: f"mmat/{PLACE}/latest.jsonl" in objects(s3))
        (process,) = of_job(f"{URL}/{PLACE}/run.json")
        trains = int((folder / "ready").read_text())
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{trains}").exists())  # nobody keeps it any more
        shutil.rmtree(folder)  # another machine has another disk
        behave(folder, "lose_its_machine")

    killing = threading.Thread(target=kill_when_kept)
    killing.start()
    result = materialize(instance, store, RayTrainingExecutor(**fields(jobs)), is_preemptible=True)
    killing.join()
    assert result.success
    retried = [event for event in result.all_events if event.is_step_up_for_retry]
    assert "stopped from outside at step 3" in str(retried[0].event_specific_data)
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "going on from the checkpoint of step 3" in logged


def of_job(run: str) -> Iterator[int]:
    """Yield the processes that are told to carry out `run`, and no shell that has started them."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if run.encode() in (place / "cmdline").read_bytes().split(b"\0"):
                yield int(place.name)


@pytest.mark.long
def test_a_terminated_run_stops_its_job_which_writes_its_checkpoint_first(
    store: S3Store, cluster: tuple[str, str, Path], folder: Path, tmp_path: Path
) -> None:
    s3, jobs, _ = cluster
    home = tmp_path / "home"
    run = remote_runs.start_waiting(home, URL, tmp_path / "mirror", f"ray:{json.dumps(fields(jobs))}", folder)
    assert_ends_with_its_checkpoint(run, home, s3)


@pytest.mark.long
def test_a_student_is_trained_by_a_job_that_finds_the_sources_at_the_same_path(
    cluster: tuple[str, str, Path], folder: Path, tmp_path: Path
) -> None:
    require_training()
    really = RayTrainingExecutor(**fields(cluster[1], module=MODULE))
    checkpoint = train_elsewhere(URL, write_sources(tmp_path / "sources"), tmp_path / "mirror", really)
    assert_learned_from_both_homes_of_images(checkpoint)


def test_what_a_job_is_asked_for() -> None:
    executor = RayTrainingExecutor(**fields("http://head:8265", gpus=8, memory_gb=64.0))
    job = TrainingJob(name="x", folder="/x y", needs=MachineNeeds(cpus=2))
    asked = executor.submission(job, executor.command(job, "/x y/run.json"), "one")
    assert (asked["entrypoint_num_gpus"], asked["entrypoint_num_cpus"], asked["entrypoint_memory"]) == (
        8.0,
        2,
        64 << 30,
    )
    assert "--config '/x y/run.json' --processes 1" in asked["entrypoint"]
    assert asked["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "50"}


def test_a_job_server_that_is_not_there_is_told(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    require_ray()
    nobody = RayTrainingExecutor(**fields("http://127.0.0.1:9"))
    told = failure(materialize(instance, LocalStore(root=str(tmp_path)), nobody)).description
    assert told.startswith("Ray cannot be used: Failed to connect to Ray at address: http://127.0.0.1:9")


@pytest.mark.long
def test_a_job_server_that_asks_for_a_token_is_shown_it_and_refuses_another_in_one_sentence(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_ray()
    wants = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    variables = {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    with run_ray(ROOT, {**variables, **wants}) as jobs:
        for shown, told in (
            ({}, f"Ray cannot be used: the job server {jobs} asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH"),
            (wants | {"RAY_AUTH_TOKEN": "c4nary"}, f"Ray cannot be used: the job server {jobs} refuses the token"),
            (wants, "trained"),
        ):
            done = train_in_a_process(tmp_path, jobs, {**variables, **shown})
            assert told in done.stdout, done.stdout + done.stderr
            assert "Traceback" not in done.stdout
            assert TOKEN not in done.stdout + done.stderr


def train_in_a_process(folder: Path, jobs: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Have a job train in a process that Ray has not been imported into, since it reads its token when it is."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAINS, json.dumps(fields(jobs)), str(folder / "store")],
        cwd=ROOT,
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nobody_imports_ray_who_does_not_use_it() -> None:
    script = (
        "import sys, resources.training_executors;"
        "print([name for name in ('ray', 'dagster_ray', 'boto3', 'dagster_aws') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert told.stdout == "[]\n"


@dataclass(frozen=True, kw_only=True)
class ToldJob:
    """What Ray tells of one job that has ended."""

    status: str = "FAILED"
    driver_exit_code: int | None = None
    error_type: str | None = None
    message: str = "told\nat length"


class ToldJobs:
    """A job server that knows of one job, whose lines are gone."""

    def __init__(self, job: ToldJob) -> None:
        self.job = job

    def get_job_info(self, submission: str) -> ToldJob:
        return self.job

    def get_job_logs(self, submission: str) -> str:
        raise RuntimeError("the machine is gone")


@pytest.mark.parametrize(
    ("job", "is_lost"),
    [
        (ToldJob(driver_exit_code=137), True),
        (ToldJob(error_type="JobErrorType.JOB_SUPERVISOR_ACTOR_DIED"), True),
        (ToldJob(status="STOPPED"), True),
        (ToldJob(driver_exit_code=1), False),
        (ToldJob(error_type="JobErrorType.JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"), False),
        (ToldJob(error_type="JobErrorType.RUNTIME_ENV_SETUP_FAILURE"), False),
    ],
)
def test_a_job_whose_machine_is_gone_is_lost_and_one_that_never_began_is_not(job: ToldJob, is_lost: bool) -> None:
    ending = RayTrainingExecutor(**fields("http://head:8265")).ending(ToldJobs(job), "one")
    assert (ending.is_lost, ending.tail) == (is_lost, "")
    assert ending.why.endswith(": told")
