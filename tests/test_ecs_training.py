"""Training as a task of ECS: started, watched, ended and gone on with, on machines that share nothing with this one."""

import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from mmat_dagster.processes import SECRETS
from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.executor import MachineNeeds, TrainingFailed, TrainingJob
from resources.ecs_training_executor import EcsTrainingExecutor, note_task
from resources.s3_store import S3Store
from resources.training_launch import MODULE
from tests import instances, remote_runs
from tests.ecs_machines import CONTAINER, LOG_GROUP, PREFIX, REGION, TAKE
from tests.processes import wait_until
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
from tests.s3_server import BUCKET, connect, objects, serving, use_s3
from tests.trained_elsewhere import assert_learned_from_both_homes_of_images, require_training, train_elsewhere

instance = instances.ephemeral

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("machines")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
    command = [sys.executable, "-W", "ignore", "-m", "tests.ecs_machines", str(port), str(folder)]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["STAND_IN"] = "told"
    with serving(command, port, folder / "moto.log", cwd=ROOT, env=environment) as address:
        connect(address).create_bucket(Bucket=BUCKET)
        yield address, folder


@pytest.fixture(autouse=True)
def cluster(machines: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    address, folder = machines
    use_s3(monkeypatch, address)
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="gpus")
    log = {"awslogs-group": LOG_GROUP, "awslogs-stream-prefix": PREFIX, "awslogs-region": REGION}
    ecs.register_task_definition(
        family="mmat-training",
        containerDefinitions=[
            {
                "name": CONTAINER,
                "image": "mmat-dagster",
                "memory": 1024,
                "logConfiguration": {"logDriver": "awslogs", "options": log},
            }
        ],
    )
    logs = boto3.client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=LOG_GROUP)
    yield
    shutil.rmtree(folder / "mmat-training", ignore_errors=True)
    for key in objects(address):
        connect(address).delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def store(tmp_path: Path) -> S3Store:
    return bucket_store(URL, tmp_path / "mirror")


def fields(**others: Any) -> dict[str, Any]:
    return {
        "cluster": "gpus",
        "task_definition": "mmat-training",
        "capacity_provider": "FARGATE",
        **STAND_IN,
        **others,
    }


def executor(**others: Any) -> EcsTrainingExecutor:
    return EcsTrainingExecutor(**fields(**others))


def place_below(folder: Path) -> Path:
    """Return where the machines train."""
    return folder / "mmat-training" / BUCKET / "mmat" / PLACE


def test_a_task_trains_and_its_checkpoint_is_in_the_store(
    instance: dg.DagsterInstance, store: S3Store, machines: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = machines
    for name in SECRETS:
        monkeypatch.setenv(name, "very-secret")
    behave(place_below(folder), "finish")
    result = materialize(instance, store, executor(tell_every_s=0.1))
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["steps"].value == 4
    checkpoint = read_current(store, "rr_checkpoint", "tabmwp")
    assert checkpoint is not None
    assert [file.path for file in checkpoint.files] == ["adapter_model.safetensors", "metrics.jsonl", "run.json"]
    assert store.read(f"{checkpoint.folder}/adapter_model.safetensors") == b"weights"
    assert not any(key.startswith("mmat/training/") for key in objects(address))
    ecs = boto3.client("ecs")
    (task,) = ecs.describe_tasks(cluster="gpus", tasks=ecs.list_tasks(cluster="gpus")["taskArns"])["tasks"]
    assert "secret" not in json.dumps(task["overrides"])
    (observed,) = instance.fetch_observations(dg.AssetKey("rr_checkpoint"), limit=9).records
    assert observed.asset_observation is not None
    assert observed.asset_observation.metadata["step"].value == 4


def test_a_task_that_fails_is_told_with_its_last_lines(
    instance: dg.DagsterInstance, store: S3Store, machines: tuple[str, Path]
) -> None:
    behave(place_below(machines[1]), "fail")
    told = failure(materialize(instance, store, executor(tail_lines=3))).description
    assert told.startswith("The training of rr_checkpoint of tabmwp failed: its process ended with exit code 1")
    assert f"The last lines of {URL}/{PLACE}/training.log:" in told
    assert told.endswith("\nline 98\nline 99\nValueError: the tokenizer knows no <image>")


@pytest.mark.long
def test_a_machine_that_cannot_begin_is_told_with_its_last_lines_in_cloudwatch(
    instance: dg.DagsterInstance, store: S3Store
) -> None:
    class Broken(EcsTrainingExecutor):
        def command(self, job: TrainingJob, run: str) -> list[str]:
            return [sys.executable, "-c", "print('no such GPU'); raise SystemExit(3)"]

    told = failure(materialize(instance, store, Broken(**fields()))).description
    assert "its task ended with exit code 3 (EssentialContainerExited)" in told
    assert told.endswith("The last lines of the job:\nno such GPU")


def test_a_cluster_that_is_not_there_or_has_no_room_is_told(instance: dg.DagsterInstance, store: S3Store) -> None:
    told = failure(materialize(instance, store, executor(cluster="nowhere"))).description
    assert told.startswith("ECS cannot be used: An error occurred (ClusterNotFoundException)")
    with pytest.raises(TrainingFailed, match="ECS placed no task: RESOURCE:GPU"):
        note_task({"tasks": [], "failures": [{"reason": "RESOURCE:GPU"}, {"reason": "RESOURCE:GPU"}]}, [])


@pytest.mark.long
def test_a_task_taken_back_is_preempted_and_goes_on_from_its_last_checkpoint(
    instance: dg.DagsterInstance, store: S3Store, machines: tuple[str, Path]
) -> None:
    address, folder = machines
    place = place_below(folder)
    behave(place, "lose_its_machine")

    def take_when_kept() -> None:
        wait_until(lambda: f"mmat/{PLACE}/checkpoints/checkpoint-3.json" in objects(address))
        wait_until(lambda: f"mmat/{PLACE}/latest.jsonl" in objects(address))
        (folder / TAKE).touch()
        wait_until(lambda: not (folder / TAKE).exists())
        shutil.rmtree(place)  # another machine has another disk
        behave(place, "lose_its_machine")

    taking = threading.Thread(target=take_when_kept)
    taking.start()
    result = materialize(instance, store, executor(), is_preemptible=True)
    taking.join()
    assert result.success
    retried = [event for event in result.all_events if event.is_step_up_for_retry]
    assert "stopped from outside at step 3" in str(retried[0].event_specific_data)
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["steps"].value == 4
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("going on from the checkpoint of step 3" in line for line in logged)


@pytest.mark.long
def test_a_terminated_run_stops_its_task_which_writes_its_checkpoint_first(
    store: S3Store, machines: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = machines
    home = tmp_path / "home"
    run = remote_runs.start_waiting(home, URL, tmp_path / "mirror", f"ecs:{json.dumps(fields())}", place_below(folder))
    assert_ends_with_its_checkpoint(run, home, address)


@pytest.mark.long
def test_a_task_whose_run_was_killed_is_ended_with_its_checkpoint_by_the_next_run(
    instance: dg.DagsterInstance, store: S3Store, machines: tuple[str, Path], tmp_path: Path
) -> None:
    place = place_below(machines[1])
    executed = f"ecs:{json.dumps(fields())}"
    run = remote_runs.start_waiting(tmp_path / "home", URL, tmp_path / "killed", executed, place)
    run.kill()
    run.wait()
    behave(place, "finish")  # which the task at work has read past
    result = materialize(instance, store, executor())
    assert result.success
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("was still being trained for a run that is gone; that was ended first" in line for line in logged)
    tasks = boto3.client("ecs").list_tasks(cluster="gpus", desiredStatus="STOPPED")["taskArns"]
    ended = boto3.client("ecs").describe_tasks(cluster="gpus", tasks=tasks[-2:])["tasks"]
    assert [(task["stopCode"], task["containers"][0]["exitCode"]) for task in ended] == [
        ("UserInitiated", 75),
        ("EssentialContainerExited", 0),
    ]


@pytest.mark.long
def test_a_student_is_trained_by_a_task_that_shares_no_folder_with_this_machine(
    machines: tuple[str, Path], tmp_path: Path
) -> None:
    require_training()
    sources = write_sources(tmp_path / "sources")
    for path in sources.rglob("*"):
        if path.is_file():
            key = f"sources/{path.relative_to(sources).as_posix()}"
            connect(machines[0]).upload_file(str(path), BUCKET, key)
    really = executor(module=MODULE, sources=f"s3://{BUCKET}/sources")
    checkpoint = train_elsewhere(URL, sources, tmp_path / "mirror", really)
    assert_learned_from_both_homes_of_images(checkpoint)


def test_what_a_task_is_asked_for() -> None:
    job = TrainingJob(name="x", folder="/x", kept=f"{URL}/training/x", result=f"{URL}/rr/x")
    asked = executor(gpus=8, spot_capacity_provider="spot", subnets=["one"], security_groups=["two"])
    task = asked.task(job, asked.command(job, f"{URL}/training/x/run.json"))
    (container,) = task["overrides"]["containerOverrides"]
    assert container["resourceRequirements"] == [{"type": "GPU", "value": "8"}]
    assert container["command"][1:7] == [
        "-m",
        "resources.training_machine",
        "--config",
        f"{URL}/training/x/run.json",
        "--result",
        f"{URL}/rr/x",
    ]
    assert task["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"
    assert task["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE", "weight": 1}]
    spot = asked.task(replace(job, is_preemptible=True, needs=MachineNeeds(gpus=1, cpus=4, memory_gb=16)), [])
    assert spot["capacityProviderStrategy"] == [{"capacityProvider": "spot", "weight": 1}]
    (container,) = spot["overrides"]["containerOverrides"]
    assert (container["cpu"], container["memory"]) == (4096, 16384)
    assert container["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert spot["startedBy"] == task["startedBy"]
