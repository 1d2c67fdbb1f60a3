"""A training that was ended and gone on with is the same to the digit as one that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster.training.spec import (
    METRICS,
    PREEMPTED,
    RESULT,
    Method,
    Outcome,
    TrainingRun,
    read_metrics,
    read_outcome,
)
from tests.learnable import HYPER, learnable_run, put_run

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from safetensors.torch import load_file

from mmat_dagster.training.process.running import train
from mmat_dagster.training.process.stopping import Stopping
from mmat_dagster.training.process.trainer import WHOLE, last_checkpoint

# Of libraries, about other libraries.
pytestmark = pytest.mark.filterwarnings("ignore")

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
PATIENCE_S = 120


class AskedAt(Stopping):
    """Is asked to end once metrics.jsonl holds a step."""

    def __init__(self, folder: Path, step: int) -> None:
        self._folder, self._step = folder, step

    @property
    def is_asked(self) -> bool:  # type: ignore[override]
        return any(metrics.step >= self._step for metrics in read_metrics(self._folder))


class Never(Stopping):
    """Is never asked to end."""


def carry_out(run: TrainingRun, folder: Path, stopping: Stopping | None = None) -> Outcome:
    put_run(folder, run)
    torch.set_num_threads(1)
    return train(run, folder, stopping or Never(), lambda line: None, time.time())


def losses(folder: Path) -> list[tuple[int, float, float, float | None]]:
    return [(each.step, each.loss, each.learning_rate, each.grad_norm) for each in read_metrics(folder)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / RESULT).glob("*model.safetensors")
    loaded: dict[str, torch.Tensor] = load_file(file)
    return loaded


def assert_same(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_resumed_training_equals_an_undisturbed_one_to_the_digit(tmp_path: Path, method: Method) -> None:
    rate = 1e-2 if method == "lora" else 1e-3
    run = learnable_run(tmp_path, hyper=replace(HYPER, method=method, learning_rate=rate, frobenius_lambda=1e-3))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert carry_out(run, whole).state == "done"

    stopped = carry_out(run, broken, AskedAt(broken, 3))
    assert (stopped.state, stopped.step, stopped.max_steps) == ("preempted", 4, 6)
    assert not (broken / RESULT).exists()
    finished = carry_out(run, broken)
    assert (finished.state, finished.started_at_step, finished.step) == ("done", 4, 6)

    assert_same(whole, broken)
    assert losses(whole)[-1][1] < losses(whole)[0][1]
    assert finished.tokens == read_metrics(whole)[-1].tokens


def test_what_was_logged_behind_the_last_checkpoint_is_done_again(tmp_path: Path) -> None:
    run = learnable_run(tmp_path, save_every_steps=2)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    carry_out(run, whole)
    carry_out(run, killed, AskedAt(killed, 3))
    latest = last_checkpoint(killed)
    assert latest is not None
    (latest / WHOLE).unlink()  # as a kill leaves it that hits while a checkpoint is written
    (latest / "optimizer.pt").write_bytes(b"torn")
    assert carry_out(run, killed).started_at_step == 2
    assert_same(whole, killed)


def test_who_is_asked_to_end_before_going_on_stays_where_the_checkpoint_is(tmp_path: Path) -> None:
    run = learnable_run(tmp_path)
    folder = tmp_path / "run"
    carry_out(run, folder, AskedAt(folder, 3))
    again = carry_out(run, folder, AskedAt(folder, 1))
    assert (again.state, again.step, again.started_at_step) == ("preempted", 4, 4)


def test_sigterm_ends_a_training_with_a_checkpoint_and_an_exit_code_of_its_own(tmp_path: Path) -> None:
    run = learnable_run(tmp_path, hyper=replace(HYPER, max_steps=200))
    config = put_run(tmp_path / "run", run)
    process = start([sys.executable, "-m", "mmat_dagster.training", "--config", str(config)])
    wait_for_step(config.parent, 2, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == PREEMPTED, said
    outcome = read_outcome(config.parent)
    checkpoint = last_checkpoint(config.parent)
    assert outcome is not None
    assert checkpoint is not None
    assert (outcome.state, checkpoint.name) == ("preempted", f"checkpoint-{outcome.step}")
    assert 2 <= outcome.step < 200
    assert len(read_metrics(config.parent)) == outcome.step


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    hyper = replace(HYPER, lora_dropout=0.0, max_steps=4)
    one, two = tmp_path / "one", tmp_path / "two"
    config = put_run(two, learnable_run(tmp_path, hyper=hyper, world_size=2))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    process = start([*launcher, "-m", "mmat_dagster.training", "--config", str(config)])
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    # Second, so that the two have made the student's base.
    carry_out(learnable_run(tmp_path, hyper=hyper), one)
    assert [each.loss for each in read_metrics(two)] == pytest.approx(
        [each.loss for each in read_metrics(one)], rel=1e-4
    )
    ours, theirs = weights(one), weights(two)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5) for name in ours)
    assert (two / METRICS).read_bytes().count(b"\n") == 4


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, start_new_session=True
    )


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any(metrics.step >= step for metrics in read_metrics(folder)):
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[0])
