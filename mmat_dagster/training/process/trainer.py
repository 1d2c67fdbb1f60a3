"""TRL's SFTTrainer with what it lacks: the paper's regulariser, checkpoints known to be whole, and named culprits."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTConfig, SFTTrainer

from mmat_dagster.training.process.batches import PLACES, Batches
from mmat_dagster.training.process.metrics import MetricsFile
from mmat_dagster.training.process.regulariser import FrobeniusRegulariser
from mmat_dagster.training.spec import CHECKPOINTS, BadRun, TrainingRun

# Written into a checkpoint when all of it is there: what a kill has torn is not resumed from.
WHOLE = "whole"


class OutOfMemory(Exception):
    """The device's memory does not hold a step."""


class StudentTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains one student."""

    def __init__(self, *, batches: Batches, told: MetricsFile, frobenius_lambda: float, **arguments: Any) -> None:
        super().__init__(data_collator=batches, **arguments)
        self.add_callback(told)
        self._batches = batches
        self._told = told
        self._lambda = frobenius_lambda
        if frobenius_lambda and (self.is_fsdp_enabled or _shards_weights(self.args)):
            raise BadRun("frobenius_lambda needs whole weights in every process: take ZeRO-2 or plain data parallelism")
        self.regulariser = FrobeniusRegulariser(self.model) if frobenius_lambda else None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return the loss of a batch, the regulariser included."""
        inputs = {**inputs}
        inputs.pop(PLACES)
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.regulariser is None:
            return loss
        penalty = self._lambda * self.regulariser.norm()
        self._told.note_penalty(penalty.item())
        # As for TRL's own auxiliary loss: with `num_items_in_batch` accumulation is left to the loss.
        return loss + penalty / (self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        """Do a step; what goes wrong is told with the dialogues that it went wrong with."""
        places = inputs[PLACES]
        try:
            loss: torch.Tensor = super().training_step(model, inputs, *rest)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory(self._out_of_memory(places, inputs)) from error
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise OutOfMemory(self._out_of_memory(places, inputs)) from error
            raise
        except ValueError as error:
            at = f"{self._names(places)} at step {self.state.global_step + 1}"
            raise BadRun(f"the model refuses {at}: {error}") from error
        if not torch.isfinite(loss):
            raise BadRun(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}, with {self._names(places)}. "
                "A lower learning_rate or precision bf16 instead of fp16 is the usual remedy."
            )
        return loss

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            (folder / WHOLE).touch()

    def _out_of_memory(self, places: torch.Tensor, inputs: dict[str, Any]) -> str:
        rows, longest = inputs["input_ids"].shape
        return (
            f"out of memory at step {self.state.global_step + 1}: {rows} dialogues of up to {longest:,} tokens, "
            f"{self._names(places)}. Lower batch_per_device (global_batch keeps the optimizer's step as it is), switch "
            "gradient_checkpointing on, lower max_length, or train on more processes."
        )

    def _names(self, places: torch.Tensor) -> str:
        return ", ".join(self._batches.name(int(place)) for place in places)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint below a run's folder; None where a run begins anew."""
    found = [mark.parent for mark in (folder / CHECKPOINTS).glob(f"{PREFIX_CHECKPOINT_DIR}-*/{WHOLE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def settings(run: TrainingRun, folder: Path, max_steps: int, *, on_cpu: bool) -> SFTConfig:
    """Return TRL's settings for a run."""
    hyper = run.hyper
    return SFTConfig(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=max_steps,
        per_device_train_batch_size=hyper.batch_per_device,
        gradient_accumulation_steps=run.accumulation,
        learning_rate=hyper.learning_rate,
        lr_scheduler_type=hyper.schedule,
        warmup_steps=hyper.warmup_ratio,
        weight_decay=hyper.weight_decay,
        adam_beta1=hyper.adam_beta1,
        adam_beta2=hyper.adam_beta2,
        max_grad_norm=hyper.max_grad_norm,
        bf16=hyper.precision == "bf16",
        fp16=hyper.precision == "fp16",
        gradient_checkpointing=hyper.gradient_checkpointing,
        seed=hyper.seed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and run.world_size > 1 else None,
        # Places stand in the order that they are learned from, and batches measure themselves.
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        remove_unused_columns=False,
        dataloader_num_workers=run.loader_workers,
        dataloader_persistent_workers=run.loader_workers > 0,
        dataloader_pin_memory=not on_cpu,
        save_strategy="steps",
        save_steps=run.save_every_steps,
        save_total_limit=run.keep_checkpoints,
        logging_steps=run.log_every_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_liger_kernel=hyper.liger and not on_cpu and _has_liger(),
    )


def _shards_weights(args: SFTConfig) -> bool:
    return args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3


def _has_liger() -> bool:
    return find_spec("liger_kernel") is not None
