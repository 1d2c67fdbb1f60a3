"""How a training process fails: with one sentence, the dialogues that it failed on, and exit code 1."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from trl import SFTTrainer

from mmat_dagster.training.process.stopping import Stopping
from mmat_dagster.training.process.telling import FAILED, carry_out
from mmat_dagster.training.spec import Outcome, read_outcome
from tests.learnable import HYPER, learnable, learnable_run, put_run

# Of libraries, about other libraries.
pytestmark = pytest.mark.filterwarnings("ignore")


def failure(folder: Path, **changes: Any) -> str:
    """Carry out a run that must fail, and return what its outcome says."""
    torch.set_num_threads(1)
    config = put_run(folder / "run", learnable_run(folder, **changes))
    assert carry_out(config, Stopping(), time.time()) == FAILED
    return told(read_outcome(config.parent))


def told(outcome: Outcome | None) -> str:
    assert outcome is not None
    assert outcome.state == "failed"
    return outcome.error or ""


def test_a_gpu_that_is_not_there_is_told_by_the_process_itself(tmp_path: Path) -> None:
    config = put_run(tmp_path / "run", learnable_run(tmp_path, accelerator="cuda"))
    ended = subprocess.run(
        [sys.executable, "-m", "mmat_dagster.training", "--config", str(config)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    sentence = "this run asks for a GPU (accelerator: cuda), and torch finds none on this machine"
    assert (ended.returncode, told(read_outcome(config.parent))) == (FAILED, sentence)
    assert f"error: {sentence}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_loss_that_is_no_number_is_told_with_its_dialogues(tmp_path: Path) -> None:
    hyper = replace(HYPER, learning_rate=1e30, warmup_ratio=0.0, schedule="constant")
    said = failure(tmp_path, dialogues=[learnable(tmp_path, 1), learnable(tmp_path, 2)], hyper=hyper)
    assert said.startswith("the loss is nan at step 2, with tabmwp/")
    assert "A lower learning_rate" in said


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["on a GPU", "on a CPU", "in Python"],
)
def test_too_little_memory_is_told_with_the_dialogues_and_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def allocate(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(SFTTrainer, "training_step", allocate)
    said = failure(tmp_path, dialogues=[learnable(tmp_path, 7, pictures=2)], hyper=replace(HYPER, batch_per_device=2))
    assert said.startswith("out of memory at step 1: 2 dialogues of up to ")
    assert "tokens, tabmwp/7, tabmwp/7. Lower batch_per_device" in said


def test_what_a_model_refuses_is_told_with_its_dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise ValueError("Image features and image tokens do not match")

    monkeypatch.setattr(SFTTrainer, "training_step", refuse)
    said = failure(tmp_path, dialogues=[learnable(tmp_path, 7)])
    assert said == "the model refuses tabmwp/7 at step 1: Image features and image tokens do not match"


def test_a_run_for_more_processes_than_were_started_is_told(tmp_path: Path) -> None:
    said = failure(tmp_path, world_size=2)
    assert said == "this run is meant for 2 processes, and 1 were started"


def test_a_file_that_is_no_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert carry_out(tmp_path / "run.json", Stopping(), time.time()) == FAILED
    assert "describes no training run" in told(read_outcome(tmp_path))
