"""The training process at its borders: what it says, leaves and returns where a run cannot be carried out."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.training.spec import BadRun, TrainingRun, read_metrics, read_outcome, read_run
from tests.learnable import HYPER, learnable_run, put_run

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from peft import get_peft_model
from trl import SFTTrainer

from mmat_dagster.training.process.loading import load_student, lora_config, prepare_base
from mmat_dagster.training.process.regulariser import FrobeniusRegulariser
from mmat_dagster.training.process.stopping import Stopping
from mmat_dagster.training.process.telling import FAILED, carry_out
from mmat_dagster.training.students import STUDENTS

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = STUDENTS["tiny"]


def failure(tmp_path: Path, run: TrainingRun) -> str:
    """Return what a failed process leaves as its reason."""
    torch.set_num_threads(1)
    config = put_run(tmp_path / "run", run)
    assert carry_out(config, Stopping(), 0.0) == FAILED
    outcome = read_outcome(config.parent)
    assert outcome is not None
    assert outcome.state == "failed"
    assert outcome.error is not None
    return outcome.error


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "asks for a GPU (accelerator: cuda), and torch finds none" in failure(
        tmp_path, learnable_run(tmp_path, accelerator="cuda")
    )


def test_a_run_for_another_number_of_processes_is_told(tmp_path: Path) -> None:
    assert "meant for 2 processes, and 1 were started" in failure(tmp_path, learnable_run(tmp_path, world_size=2))


def test_data_that_has_changed_since_it_was_planned_is_told(tmp_path: Path) -> None:
    run = learnable_run(tmp_path)
    (tmp_path / "part.parquet").write_bytes(b"other")
    assert "are not those that this run was planned with" in failure(tmp_path, run)


def test_an_empty_mixture_is_told(tmp_path: Path) -> None:
    run = learnable_run(tmp_path)
    empty = replace(run, data=(replace(run.data[0], weight=0.0),))
    assert "the mixture tabmwp is empty" in failure(tmp_path, empty)


def test_a_loss_that_is_no_number_is_told_with_its_dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_number(*args: Any) -> torch.Tensor:
        return torch.tensor(float("nan"))

    monkeypatch.setattr(SFTTrainer, "training_step", no_number)
    told = failure(tmp_path, learnable_run(tmp_path, hyper=replace(HYPER, batch_per_device=2, global_batch=None)))
    assert told.startswith("the loss is nan at step 1, with tabmwp/")
    assert told.count("tabmwp/") == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def too_much(*args: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(SFTTrainer, "training_step", too_much)
    told = failure(tmp_path, learnable_run(tmp_path))
    assert told.startswith("out of memory at step 1: 1 dialogues of up to ")
    assert "tabmwp/" in told
    assert "Lower batch_per_device" in told


def test_another_error_is_not_taken_for_too_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(SFTTrainer, "training_step", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        carry_out(put_run(tmp_path / "run", learnable_run(tmp_path)), Stopping(), 0.0)
    assert read_outcome(tmp_path / "run") is None


def test_a_signal_told_twice_is_one_wish() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stopping = Stopping()
    try:
        stopping.watch()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.is_asked
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepare_base(TINY, tmp_path_factory.mktemp("bases"))


def test_the_regulariser_of_lora_is_the_norm_of_its_products(base: str) -> None:
    model = load_student(TINY, HYPER, base, None).model
    adapted = get_peft_model(model, lora_config(TINY, HYPER, model))
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    norm = FrobeniusRegulariser(adapted).norm()
    norm.backward()
    layers = [
        module for module in adapted.modules() if hasattr(module, "get_delta_weight") and hasattr(module, "lora_A")
    ]
    assert len(layers) > 5
    explicit = sum(layer.get_delta_weight("default").square().sum() for layer in layers)
    assert norm.item() == pytest.approx(float(explicit), rel=1e-5)
    first = layers[0]
    scaling, up, down = first.scaling["default"], first.lora_B["default"].weight, first.lora_A["default"].weight
    assert torch.allclose(up.grad, 2 * scaling**2 * up @ down @ down.T, rtol=1e-4, atol=1e-6)


def test_the_regulariser_of_all_weights_is_their_distance_from_where_they_were(base: str) -> None:
    hyper = replace(HYPER, method="full")
    model = load_student(TINY, hyper, base, None).model
    regulariser = FrobeniusRegulariser(model)
    assert regulariser.norm().item() == 0.0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.01)
    expected = sum(parameter.numel() for parameter in trained) * 0.01**2
    assert regulariser.norm().item() == pytest.approx(expected, rel=1e-3)


def test_the_regulariser_is_counted_once_a_step_however_it_is_accumulated(tmp_path: Path) -> None:
    # From the second step on the norm has a gradient, of about a fifth of the loss': counted twice, it would show.
    norms = {}
    for accumulation, at_once in ((1, 2), (2, 1)):
        hyper = replace(
            HYPER,
            method="full",
            learning_rate=1e-3,
            frobenius_lambda=0.5,
            batch_per_device=at_once,
            global_batch=None,
            accumulation=accumulation,
            max_steps=4,
        )
        run = learnable_run(tmp_path, hyper=hyper)
        config = put_run(tmp_path / f"by-{accumulation}", run)
        assert carry_out(config, Stopping(), 0.0) == 0
        norms[accumulation] = [each.grad_norm for each in read_metrics(config.parent)]
    assert norms[1] == pytest.approx(norms[2], rel=1e-3)


def test_a_run_that_is_not_one_is_told_by_field(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"name": "x", "learning": 1}')
    with pytest.raises(BadRun, match=r"describes no training run: mixture: Field required;.* learning: Unexpected"):
        read_run(tmp_path / "run.json")
