"""A run of a small asset that obtains a checkpoint by an executor, here or in a process of its own.

python -m tests.remote_runs HOME STORE MIRROR EXECUTOR      EXECUTOR: the name of a function here, a colon, JSON
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.interrupts import setup_interrupt_handlers

from mmat_dagster.interfaces import Store
from mmat_dagster.training.checkpoints import TRAINING, TrainingPreempted, obtain_checkpoint
from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed
from resources.ecs_training_executor import EcsTrainingExecutor
from resources.ray_training_executor import RayTrainingExecutor
from tests.s3_building import bucket_store
from tests.test_checkpoints import ORDER
from tests.training_runs import training_run

ROOT = Path(__file__).resolve().parents[1]
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


def terminate(run: "subprocess.Popen[bytes]", home: Path) -> tuple[dg.DagsterRunStatus, list[str]]:
    """End a run as Dagster's own launcher does, and return its status and what it has logged."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (made,) = instance.get_runs()
        instance.report_run_canceling(made)
        run.send_signal(signal.SIGINT)
        run.wait(120)
        (made,) = instance.get_runs()
        return made.status, [entry.user_message for entry in instance.all_logs(made.run_id)]


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for two minutes at most."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def main() -> None:
    home, store, mirror, executor = sys.argv[1:]
    name, _, fields = executor.partition(":")
    setup_interrupt_handlers()  # as `dagster api execute_run` does, which Dagster ends with SIGTERM
    with dg.DagsterInstance.from_config(home) as instance:
        materialize(instance, bucket_store(store, Path(mirror)), EXECUTORS[name](**json.loads(fields)))


if __name__ == "__main__":
    main()
