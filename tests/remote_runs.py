"""A run of a small asset that obtains a checkpoint by an executor, here or in a process of its own.

python -m tests.remote_runs HOME STORE MIRROR EXECUTOR      EXECUTOR: the name of a function here, a colon, JSON
"""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.interrupts import setup_interrupt_handlers

from mmat_dagster.interfaces import Store
from mmat_dagster.training.checkpoints import TRAINING, TrainingPreempted, obtain_checkpoint
from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed
from mmat_dagster.training.spec import OUTCOME, Outcome, parse_outcome
from resources.ecs_training_executor import EcsTrainingExecutor
from resources.ray_training_executor import RayTrainingExecutor
from tests.processes import wait_until
from tests.s3_building import bucket_store
from tests.s3_server import BUCKET, objects
from tests.stand_in_training import BEHAVIOUR, READY
from tests.test_checkpoints import ORDER
from tests.training_runs import training_run

ROOT = Path(__file__).resolve().parents[1]
URL = f"s3://{BUCKET}/mmat"
# How an executor has a training played that only looks like one.
STAND_IN: dict[str, Any] = {
    "python": sys.executable,
    "module": "tests.stand_in_training",
    "look_every_s": 1,
    "termination_timeout_s": 20.0,
}
EXECUTORS: dict[str, Any] = {"ecs": EcsTrainingExecutor, "ray": RayTrainingExecutor}
# Where a training of training_run works, below its store.
PLACE = f"{TRAINING}/tabmwp-{training_run().key}"


def make_asset(store: Store, *, is_preemptible: bool = False) -> dg.AssetsDefinition:
    """Return an asset that is a checkpoint in `store`; what fails, fails the run with what is told of it."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["tabmwp"]))
    def rr_checkpoint(
        context: dg.AssetExecutionContext, training: dg.ResourceParam[TrainingExecutor[dg.AssetExecutionContext]]
    ) -> dg.MaterializeResult[None]:
        try:
            trained = obtain_checkpoint(store, ORDER, training_run(), partial(training.train, context))
        except TrainingPreempted as stopped:
            if context.op_execution_context.retry_number == 0 and is_preemptible:
                raise dg.RetryRequested(max_retries=1) from stopped
            raise dg.Failure(str(stopped), {"step": stopped.outcome.step}, allow_retries=False) from stopped
        except TrainingFailed as failed:
            raise dg.Failure(str(failed), allow_retries=False) from failed
        return dg.MaterializeResult(metadata={"steps": trained.checkpoint.outcome.step})

    return rr_checkpoint


def materialize(
    instance: dg.DagsterInstance, store: Store, executor: Any, *, is_preemptible: bool = False
) -> dg.ExecuteInProcessResult:
    """Run the asset in this process."""
    return dg.materialize(
        [make_asset(store, is_preemptible=is_preemptible)],
        instance=instance,
        partition_key="tabmwp",
        resources={"training": executor},
        raise_on_error=False,
    )


def failure(result: dg.ExecuteInProcessResult) -> Any:
    """Return what is told of a run that has failed."""
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told is not None, failed.step_failure_data.error_display_string
    return told


def start(home: Path, store: str, mirror: Path, executor: str) -> "subprocess.Popen[bytes]":
    """Start a run in a process of its own, as a run launcher does; its instance is that of `home`."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with (home / "run.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.remote_runs", str(home), store, str(mirror), executor],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )


def start_waiting(home: Path, store: str, mirror: Path, executor: str, place: Path) -> "subprocess.Popen[bytes]":
    """Start a run whose training waits to be ended in the folder `place`, and return when it is at work."""
    behave(place, "wait_to_be_ended")
    run = start(home, store, mirror, executor)
    wait_until(lambda: (place / READY).exists() or run.poll() is not None)
    assert run.poll() is None, (home / "run.log").read_text()
    return run


def assert_ends_with_its_checkpoint(run: "subprocess.Popen[bytes]", home: Path, s3: str) -> None:
    """Terminate a run whose training waits to be ended; that is to write its checkpoint first, and to say so."""
    status, logged = terminate(run, home)
    assert status == dg.DagsterRunStatus.CANCELED, (home / "run.log").read_text()
    assert any("was ended at step 7; a training begun again goes on from there" in line for line in logged)
    outcome = parse_outcome(objects(s3)[f"mmat/{PLACE}/{OUTCOME}"])
    assert outcome == Outcome(state="preempted", step=7, max_steps=9)


def behave(place: Path, behaviour: str) -> None:
    """Have the next training in the folder `place` do what `behaviour` says."""
    place.mkdir(parents=True, exist_ok=True)
    (place / BEHAVIOUR).write_text(behaviour)


def terminate(run: "subprocess.Popen[bytes]", home: Path) -> tuple[dg.DagsterRunStatus, list[str]]:
    """End a run as Dagster's own launcher does, and return its status and what it has logged."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (made,) = instance.get_runs()
        instance.report_run_canceling(made)
        run.send_signal(signal.SIGINT)
        run.wait(120)
        (made,) = instance.get_runs()
        return made.status, [entry.user_message for entry in instance.all_logs(made.run_id)]


def main() -> None:
    home, store, mirror, executor = sys.argv[1:]
    name, _, fields = executor.partition(":")
    setup_interrupt_handlers()  # as `dagster api execute_run` does, which Dagster ends with SIGTERM
    with dg.DagsterInstance.from_config(home) as instance:
        materialize(instance, bucket_store(store, Path(mirror)), EXECUTORS[name](**json.loads(fields)))


if __name__ == "__main__":
    main()
