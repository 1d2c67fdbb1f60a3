"""A training runs in a process of its own: it is watched, ends as it says, and keeps its work when it is ended."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mmat_dagster.processes import SECRETS
from mmat_dagster.training.executor import TrainingExecutor, TrainingFailed, TrainingJob
from mmat_dagster.training.spec import (
    METRICS,
    OUTCOME,
    HyperParameters,
    Outcome,
    dump_metrics,
    dump_outcome,
    read_last_metrics,
    read_outcome,
)
from resources import training_reports
from resources.training_executor import LocalTrainingExecutor
from resources.training_process import LOG, MARK, TrainingLog, run_process
from resources.training_reports import total_steps
from tests import instances
from tests.fakes import told_metrics
from tests.processes import is_alive, wait_until
from tests.stand_in_training import COMMAND, ENVIRONMENT, READY
from tests.training_runs import job_that, training_run

instance = instances.ephemeral

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = "tests.stand_in_training"


def executor(**fields: Any) -> LocalTrainingExecutor:
    return LocalTrainingExecutor(**{"module": STAND_IN, "packages": [], "termination_timeout_s": 20.0, **fields})


def run(instance: dg.DagsterInstance, job: TrainingJob, **fields: Any) -> Outcome | Exception:
    """Let an asset train the job, and return what comes of it."""
    came: list[Outcome | Exception] = []

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["tabmwp"]))
    def rr_checkpoint(
        context: dg.AssetExecutionContext, training: dg.ResourceParam[TrainingExecutor[dg.AssetExecutionContext]]
    ) -> dg.MaterializeResult[None]:
        try:
            came.append(training.train(context, job))
        except TrainingFailed as failed:
            came.append(failed)
        return dg.MaterializeResult()

    dg.materialize(
        [rr_checkpoint], instance=instance, partition_key="tabmwp", resources={"training": executor(**fields)}
    )
    return came[0]


def failure(instance: dg.DagsterInstance, job: TrainingJob, **fields: Any) -> str:
    came = run(instance, job, **fields)
    assert isinstance(came, TrainingFailed)
    return str(came)


def observed(instance: dg.DagsterInstance) -> list[dg.AssetObservation]:
    records = instance.fetch_observations(dg.AssetKey("rr_checkpoint"), limit=100).records
    return [record.asset_observation for record in reversed(records) if record.asset_observation]


def test_a_training_is_observed_while_it_runs(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    def go_on_when_the_first_step_is_told() -> None:
        wait_until(lambda: bool(observed(instance)))
        (tmp_path / READY).unlink()

    watching = threading.Thread(target=go_on_when_the_first_step_is_told)
    watching.start()
    outcome = run(instance, job_that("slowly", tmp_path), tell_every_s=0.1)
    watching.join()
    assert outcome == Outcome(state="done", step=4, max_steps=4, final_loss=1.25)
    first, *_, last = observed(instance)
    assert (first.partition, first.metadata["step"].value, first.metadata["loss"].value) == ("tabmwp", 1, 5.0)
    assert (last.metadata["step"].value, last.metadata["loss"].value) == (4, 1.25)
    assert {"learning_rate", "tokens_per_second", "memory_gb"} <= set(last.metadata)


def test_a_person_at_a_terminal_sees_how_far_a_training_is(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = tmp_path / "terminal"
    monkeypatch.setattr(training_reports, "open_terminal", lambda: terminal.open("w"))
    run(instance, job_that("finish", tmp_path / "work"), tell_every_s=0.01)
    assert "rr_checkpoint of tabmwp: 100%" in terminal.read_text()
    assert "loss=1.2500, tokens/s=123" in terminal.read_text()


def test_steps_to_come_are_told_from_those_that_were_taken() -> None:
    run = replace(training_run(), hyper=HyperParameters(epochs=3.0))
    assert total_steps(run, replace(told_metrics(10), epoch=0.5)) == 60
    assert total_steps(replace(run, hyper=HyperParameters(max_steps=7)), told_metrics(1)) == 7
    assert total_steps(run, replace(told_metrics(4), epoch=0.0)) == 4


def test_the_last_metrics_are_found_at_the_end_of_a_long_log(tmp_path: Path) -> None:
    assert read_last_metrics(tmp_path) is None
    log = b"".join(dump_metrics(told_metrics(step)) for step in range(1, 200))
    (tmp_path / METRICS).write_bytes(log + b'{"step": 200, "los')
    assert read_last_metrics(tmp_path) == told_metrics(199)
    (tmp_path / METRICS).write_bytes(b'{"step": 1')
    assert read_last_metrics(tmp_path) is None


def test_the_lines_of_the_process_are_kept_and_shown(
    instance: dg.DagsterInstance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(instance, job_that("finish", tmp_path))
    assert (tmp_path / LOG).read_text() == "step 1\nstep 2\nstep 3\nstep 4\n"
    assert "step 4\n" in capsys.readouterr().err


def test_a_failure_shows_the_last_lines_of_stdout_and_stderr(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("of an attempt before\n")
    told = failure(instance, job_that("fail", tmp_path), tail_lines=3)
    assert told.startswith("The training of rr_checkpoint of tabmwp failed: its process ended with exit code 1")
    assert told.endswith("\nline 98\nline 99\nValueError: the tokenizer knows no <image>")
    assert "of an attempt before" not in told + failure(instance, job_that("say_nothing", tmp_path))


def test_the_reason_that_the_process_gives_comes_first(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    told = failure(instance, job_that("fail_with_reason", tmp_path))
    assert "failed: more than half of the dialogues were dropped: 7 missing image\n\nThe last lines" in told


def test_a_process_that_lacks_memory_is_told_how_to_take_less(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert "batch_per_device 1" in failure(instance, job_that("run_out_of_memory", tmp_path))


def test_a_process_that_is_killed_is_told_as_such(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    told = failure(instance, job_that("be_killed", tmp_path))
    assert "killed (SIGKILL), as the kernel does when memory runs out" in told


def test_a_process_that_says_nothing_is_not_done_whatever_was_said_before(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    job = job_that("say_nothing", tmp_path)
    (tmp_path / OUTCOME).write_bytes(dump_outcome(Outcome(state="done", step=9, max_steps=9)))
    assert "left no outcome.json" in failure(instance, job)


def test_exit_code_75_means_preempted(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert run(instance, job_that("be_preempted", tmp_path)) == Outcome(state="preempted", step=3)


def test_a_secret_of_the_environment_reaches_the_process_and_no_command_line(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", *SECRETS):
        monkeypatch.setenv(name, "hf_secret")
    run(instance, job_that("finish", tmp_path))
    told = (tmp_path / ENVIRONMENT).read_text().split("\n")
    assert "HF_TOKEN" in told  # what weights are fetched with
    assert not set(SECRETS) & set(told)
    command = (tmp_path / COMMAND).read_bytes().split(b"\0")[:-1]
    assert b"hf_secret" not in b" ".join(command)
    assert command[-2:] == [b"--config", str(tmp_path / "run.json").encode()]


def test_what_is_not_installed_is_told_before_anything_is_started(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    told = failure(instance, job_that("finish", tmp_path), packages=["json", "no_such_package"])
    assert told == "no_such_package is not installed, and training needs it. Run: pip install -e '.[train]'"
    assert not (tmp_path / LOG).exists()


def test_several_processes_are_launched_by_torchrun() -> None:
    job = TrainingJob(name="x", folder="/work/x")
    command = executor(processes=4).command(job)
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4"]
    assert command[6:] == ["-m", STAND_IN, "--config", "/work/x/run.json"]
    assert executor(processes=4).world_size == 4


def test_an_accelerate_config_is_a_file_or_one_of_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = tmp_path / "trl" / "accelerate_configs"
    configs.mkdir(parents=True)
    (tmp_path / "trl" / "__init__.py").write_text("raise ImportError('nobody is to import this')")
    for name in ("fsdp2", "zero2"):
        (configs / f"{name}.yaml").touch()
    monkeypatch.delitem(sys.modules, "trl", raising=False)  # another test may have imported it
    monkeypatch.syspath_prepend(tmp_path)
    command = executor(processes=2).command(TrainingJob(name="x", folder="/x", accelerate="zero2"))
    assert command[2:6] == [
        "accelerate.commands.launch",
        "--config_file",
        str(configs / "zero2.yaml"),
        "--num_processes",
    ]
    assert command[6:] == ["2", "--module", STAND_IN, "--config", "/x/run.json"]
    mine = tmp_path / "mine.yaml"
    mine.touch()
    assert str(mine) in executor().command(TrainingJob(name="x", folder="/x", accelerate=str(mine)))
    with pytest.raises(TrainingFailed, match=r"'zero9': that is no file, and none of TRL's .*\(fsdp2, zero2\)"):
        executor().command(TrainingJob(name="x", folder="/x", accelerate="zero9"))


def require_torch() -> None:
    """Skip where torchrun is not there; torch itself is not imported, which takes longer than the test."""
    if importlib.util.find_spec("torch") is None and "MMAT_REQUIRE_TRAINING" not in os.environ:
        pytest.skip("needs torch")


def test_two_processes_train_together(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    require_torch()
    outcome = run(instance, job_that("train_together", tmp_path), processes=2)
    assert isinstance(outcome, Outcome), outcome
    assert outcome.state == "done"
    ranks = [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)]
    assert ranks == ["0 of 2, 1 threads", "1 of 2, 1 threads"]


@pytest.mark.long
def test_one_of_two_that_is_killed_takes_the_other_with_it(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    require_torch()
    told = failure(instance, job_that("be_killed_together", tmp_path), processes=2, termination_timeout_s=1.0)
    assert "killed (SIGKILL)" in told
    assert not is_alive(int((tmp_path / READY).read_text()))


@pytest.mark.long
def test_two_processes_that_are_ended_write_their_checkpoint_first(tmp_path: Path) -> None:
    require_torch()
    job = job_that("wait_to_be_ended", tmp_path)
    interrupt_when_ready(executor(processes=2).command(job), tmp_path, 20.0)
    assert read_outcome(tmp_path) == Outcome(state="preempted", step=7, max_steps=9)


def start_orphan(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, MARK: str(folder)}
    command = [sys.executable, "-m", STAND_IN, "--config", str(folder / "run.json")]
    return subprocess.Popen(command, env=environment, start_new_session=True, cwd=ROOT)


def test_what_trains_for_a_run_that_is_gone_writes_its_checkpoint_first(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    job_that("wait_to_be_ended", tmp_path)
    orphan = start_orphan(tmp_path)
    wait_until((tmp_path / READY).exists)
    reaping = threading.Thread(target=orphan.wait)
    reaping.start()
    outcome = run(instance, job_that("finish", tmp_path))
    reaping.join()
    assert orphan.returncode == 75
    assert isinstance(outcome, Outcome)
    assert outcome.state == "done"


RUN_OF_ITS_OWN = """
import dagster as dg
from dagster._utils.interrupts import setup_interrupt_handlers
from mmat_dagster.processes import SECRETS
from mmat_dagster.training.executor import TrainingJob
from resources.training_executor import LocalTrainingExecutor

@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["tabmwp"]))
def rr_checkpoint(context: dg.AssetExecutionContext, training: LocalTrainingExecutor) -> None:
    training.train(context, TrainingJob(name="rr_checkpoint of tabmwp", folder={folder!r}))

setup_interrupt_handlers()  # as `dagster api execute_run` does, which the UI ends with SIGTERM
training = LocalTrainingExecutor(module={module!r}, packages=[], termination_timeout_s=20)
with dg.DagsterInstance.ephemeral() as instance:
    dg.materialize([rr_checkpoint], instance=instance, partition_key="tabmwp", resources={{"training": training}})
"""


def start_run(folder: Path) -> subprocess.Popen[str]:
    """Start a Dagster run in a process of its own and return it when its training is at work."""
    script = RUN_OF_ITS_OWN.format(folder=str(folder), module=STAND_IN)
    run = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: (folder / READY).exists() or run.poll() is not None)
    assert run.poll() is None, run.communicate()[1]
    return run


def test_a_terminated_run_lets_the_training_write_its_checkpoint(tmp_path: Path) -> None:
    job_that("wait_to_be_ended", tmp_path)
    run = start_run(tmp_path)
    run.send_signal(signal.SIGTERM)
    _, told = run.communicate(timeout=60)
    assert run.returncode != 0
    assert "DagsterExecutionInterruptedError" in told
    assert read_outcome(tmp_path) == Outcome(state="preempted", step=7, max_steps=9)
    assert "was ended at step 7; a training begun again goes on from there" in told
    assert "checkpoint written" in (tmp_path / LOG).read_text()


class Impatient(BaseException):
    """Somebody ends the run, from whatever is under way."""


def interrupt_when_ready(command: Sequence[str], folder: Path, timeout_s: float) -> None:
    """Run the process of a folder, and end it when it is ready."""

    def watch() -> None:
        if (folder / READY).exists():
            raise Impatient

    with pytest.raises(Impatient):
        run_process(command, os.environ, TrainingLog(folder), watch, timeout_s)


def test_a_training_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    interrupt_when_ready(executor().command(job_that("heed_nobody", tmp_path)), tmp_path, 0.3)
    assert not is_alive(int((tmp_path / READY).read_text()))


def test_a_launcher_that_ends_before_its_process_is_not_the_end(tmp_path: Path) -> None:
    job = job_that("wait_to_be_ended", tmp_path)
    launcher = f"import subprocess; subprocess.Popen({executor().command(job)!r}).wait()"
    interrupt_when_ready([sys.executable, "-c", launcher], tmp_path, 20.0)
    assert read_outcome(tmp_path) == Outcome(state="preempted", step=7, max_steps=9)
