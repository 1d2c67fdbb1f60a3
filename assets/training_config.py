"""What a run may ask of a training; whatever it leaves out is as the student is usually trained."""

from dataclasses import fields, replace
from typing import Literal

from pydantic import Field

from assets.build import BuildConfig
from mmat_dagster.training.mixtures import SAVE_EVERY_STEPS, CheckpointName, Order
from mmat_dagster.training.spec import HyperParameters, Student
from mmat_dagster.training.students import defaults_of, find_student

# Dagster's config has no choice that may be null.
USUAL: Literal["usual"] = "usual"


class TrainingConfig(BuildConfig):
    """How a student is trained; null and `usual` leave it as it is for the student: the paper's, for most."""

    student: str | None = Field(
        default=None, description="tiny, smollm2, a folder, or a hub's org/model@revision; null: the deployment's."
    )
    weights: dict[str, float] = Field(
        default={}, description="By source: 0.5 takes half of its dialogues, 2 all of them twice, 0 none."
    )
    accelerate: str | None = Field(
        default=None, description="An accelerate config for several GPUs: a file, or TRL's fsdp2, zero2, zero3, ..."
    )
    save_every_steps: int = Field(default=SAVE_EVERY_STEPS, description="Steps between checkpoints to resume from.")
    retries: int = Field(default=0, ge=0, description="How often a run goes on by itself after a pre-emption.")
    is_preemptible: bool = Field(
        default=False, description="Train where machines are cheaper and are taken back (spot); see retries."
    )
    method: Literal["usual", "lora", "full"] = Field(default=USUAL, description="lora, or full for all weights.")
    epochs: float | None = Field(default=None, description="Times that every dialogue is learned from.")
    max_steps: int | None = Field(default=None, description="Optimizer steps at most, for a first look.")
    learning_rate: float | None = Field(default=None, description="AdamW's, at its highest.")
    weight_decay: float | None = Field(default=None, description="AdamW's.")
    schedule: Literal["usual", "cosine", "linear", "constant", "constant_with_warmup"] = Field(
        default=USUAL, description="How the learning rate goes."
    )
    warmup_ratio: float | None = Field(default=None, description="The share of steps over which it rises first.")
    max_grad_norm: float | None = Field(default=None, description="Longer gradients are cut to this norm.")
    max_length: int | None = Field(default=None, description="Dialogues of more tokens are left out.")
    precision: Literal["usual", "bf16", "fp16", "fp32"] = Field(default=USUAL, description="What is calculated in.")
    batch_per_device: int | None = Field(default=None, description="Dialogues at once in one process.")
    accumulation: int | None = Field(default=None, description="Such batches in one optimizer step.")
    global_batch: int | None = Field(
        default=None, description="Dialogues in one optimizer step on any number of processes; sets accumulation."
    )
    seed: int | None = Field(default=None, description="Of the dialogues' order, and of LoRA's first weights.")
    lora_rank: int | None = Field(default=None, description="LoRA's rank.")
    lora_alpha: int | None = Field(default=None, description="LoRA's scale, times its rank.")
    lora_dropout: float | None = Field(default=None, description="LoRA's dropout.")
    trains_vision: bool | None = Field(default=None, description="Train the vision tower too.")
    frobenius_lambda: float | None = Field(default=None, description="Weight of the paper's regulariser.")
    gradient_checkpointing: bool | None = Field(default=None, description="Save memory, at a third of the speed.")
    liger: bool | None = Field(default=None, description="Use Liger's kernels where they are installed.")

    def order(self, checkpoint: CheckpointName, mixture: str, usual: Student) -> Order:
        """Return what is asked for; raise BadRun where there is no such student."""
        student = find_student(self.student) if self.student else usual
        return Order(
            checkpoint=checkpoint,
            mixture=mixture,
            student=student,
            hyper=self._hyper(defaults_of(student)),
            weights=self.weights,
            accelerate=self.accelerate,
            save_every_steps=self.save_every_steps,
            is_preemptible=self.is_preemptible,
        )

    def _hyper(self, usual: HyperParameters) -> HyperParameters:
        named = {each.name: getattr(self, each.name, None) for each in fields(usual)}
        return replace(usual, **{name: value for name, value in named.items() if value not in (None, USUAL)})
