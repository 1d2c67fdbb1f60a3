"""The paper's regulariser: the norm of what training has changed, and its gradient exactly once a step."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

import torch
from peft import LoraConfig, get_peft_model
from transformers import PrinterCallback, TrainerCallback

from mmat_dagster.training.process import running
from mmat_dagster.training.process.loading import load_student, prepare_base
from mmat_dagster.training.process.regulariser import FrobeniusRegulariser
from mmat_dagster.training.spec import Method, Metrics, read_metrics
from mmat_dagster.training.students import STUDENTS
from tests.learnable import HYPER, learnable, learnable_run
from tests.student_parts import Reader

LAMBDA = 0.03
Gradients = dict[str, torch.Tensor]

# Of libraries, about other libraries.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepare_base(STUDENTS["tiny"], tmp_path_factory.mktemp("bases"))


def shaken(model: Any) -> None:
    """Move what is trained away from where it began, the same way each time."""
    random = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=random)


def adapted() -> Any:
    """Return two layers of other shapes with LoRA, and a third that is trained as a whole."""
    layers = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 9), torch.nn.Linear(9, 3))
    settings = LoraConfig(r=2, lora_alpha=6, target_modules=["0", "1"], modules_to_save=["2"])
    return get_peft_model(layers, settings)


def product_norm(model: Any, before: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the norm as it is defined, with every update in full size."""
    norms = []
    for module in model.modules():
        if hasattr(module, "lora_A") and hasattr(module, "scaling"):
            update = module.scaling["default"] * module.lora_B["default"].weight @ module.lora_A["default"].weight
            norms.append(torch.linalg.matrix_norm(update) ** 2)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            norms.append(((parameter - before[name]) ** 2).sum())
    return torch.stack(norms).sum()


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def gradients_of(norm: torch.Tensor, model: Any) -> Gradients:
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(trained, torch.autograd.grad(norm, list(trained.values())), strict=True))


def test_the_norm_of_loras_update_is_that_of_the_product_in_full_size() -> None:
    model = adapted()
    before, regulariser = weights(model), FrobeniusRegulariser(model)
    assert regulariser.norm().item() == 0
    shaken(model)
    assert regulariser.norm().item() == pytest.approx(product_norm(model, before).item(), rel=1e-5)
    ours, theirs = gradients_of(regulariser.norm(), model), gradients_of(product_norm(model, before), model)
    assert any("lora_A" in name for name in ours)
    assert any("modules_to_save" in name for name in ours)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-7)


def test_the_norm_of_full_training_is_the_squared_distance_from_its_start() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 9))
    model[0].bias.requires_grad_(requires_grad=False)
    regulariser = FrobeniusRegulariser(model)
    assert regulariser.norm().item() == 0
    model[1].weight.data += 0.5
    model[0].bias.data += 100.0
    assert regulariser.norm().item() == pytest.approx(45 * 0.25)
    gradients = gradients_of(regulariser.norm(), model)
    torch.testing.assert_close(gradients["1.weight"], torch.ones(9, 5))


def test_a_resumed_run_measures_from_where_the_first_one_began() -> None:
    model = torch.nn.Linear(7, 5)
    began = weights(model)
    model.weight.data += 1.0
    regulariser = FrobeniusRegulariser(model)
    regulariser.rebase(began, model)
    assert regulariser.norm().item() == pytest.approx(35.0, rel=1e-5)


class Seen(TrainerCallback):  # type: ignore[misc]
    """Keeps the gradients of the first optimizer step."""

    def __init__(self) -> None:
        self.gradients: Gradients = {}

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        self.gradients = self.gradients or found


def steps(
    folder: Path, base: str, method: Method, accumulation: int, frobenius_lambda: float, **changes: Any
) -> tuple[Gradients, Gradients, list[Metrics]]:
    """Train; return the first step's gradient, that of the regulariser at that point, and what was logged."""
    torch.set_num_threads(1)
    folder.mkdir()
    hyper = replace(
        HYPER,
        method=method,
        lora_dropout=0.0,
        max_grad_norm=1e9,
        frobenius_lambda=frobenius_lambda,
        global_batch=2,
        batch_per_device=2 // accumulation,
        **{"max_steps": 1, **changes.pop("hyper", {})},
    )
    run = learnable_run(folder, [learnable(folder, number) for number in range(2)], hyper=hyper, **changes)
    student = load_student(run.student, hyper, base, None)
    plan = Reader(student=run.student, processor=student.processor).plan(run, folder)
    trainer, _ = running._trainer(run, folder, student, plan, None)
    trainer.remove_callback(PrinterCallback)
    before = weights(trainer.model)
    shaken(trainer.model)
    expected = gradients_of(product_norm(trainer.model, before), trainer.model)
    seen = Seen()
    trainer.add_callback(seen)
    trainer.train()
    return seen.gradients, expected, read_metrics(folder)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_has_lambda_times_the_regularisers_gradient_once(
    tmp_path: Path, base: str, method: Method, accumulation: int
) -> None:
    with_it, expected, (told,) = steps(tmp_path / "with", base, method, accumulation, LAMBDA)
    without, _, (bare,) = steps(tmp_path / "without", base, method, accumulation, 0.0)
    assert with_it.keys() == expected.keys()
    for name, gradient in with_it.items():
        torch.testing.assert_close(gradient - without[name], LAMBDA * expected[name], rtol=1e-3, atol=1e-5)
    assert max(each.abs().max().item() for each in expected.values()) > 1e-2
    assert told.loss == pytest.approx(bare.loss, abs=1e-3)
    assert told.regulariser is not None
    assert bare.regulariser is None


def test_the_loss_of_several_steps_is_told_without_the_regulariser(tmp_path: Path, base: str) -> None:
    hyper = {"max_steps": 4, "learning_rate": 0.1, "warmup_ratio": 0.0, "schedule": "constant"}
    *_, each_step = steps(tmp_path / "each", base, "lora", 2, 10.0, hyper=hyper)
    *_, (at_once,) = steps(tmp_path / "once", base, "lora", 2, 10.0, hyper=hyper, log_every_steps=4)
    assert at_once.loss == pytest.approx(sum(each.loss for each in each_step) / 4, rel=1e-3)
    assert at_once.regulariser == pytest.approx(sum(each.regulariser or 0.0 for each in each_step) / 4, rel=1e-3)
    assert len({each.regulariser for each in each_step}) == 4
