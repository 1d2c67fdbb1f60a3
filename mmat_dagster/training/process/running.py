"""One training run, from its description to the finished checkpoint."""

import platform
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback

from mmat_dagster.training.process.batches import Batches
from mmat_dagster.training.process.card import render_card
from mmat_dagster.training.process.conversations import Reading, Shelf
from mmat_dagster.training.process.loading import LoadedStudent, load_student, lora_config, prepare_base
from mmat_dagster.training.process.measuring import Plan, Ruler, make_plan
from mmat_dagster.training.process.metrics import MetricsFile, draw_loss
from mmat_dagster.training.process.order import Order, order_of
from mmat_dagster.training.process.stopping import Stopping, StopWithCheckpoint
from mmat_dagster.training.process.trainer import StudentTrainer, last_checkpoint, settings
from mmat_dagster.training.spec import (
    DROPPED,
    PLAN,
    RESULT,
    BadRun,
    Outcome,
    TrainingRun,
    dump_dropped,
    read_dropped,
    read_metrics,
)

STUDENTS = "students"
# Measuring a million dialogues takes long, and the others wait.
PATIENCE = timedelta(hours=12)
TRAINED_WITH = ("torch", "transformers", "trl", "peft")

Tell = Callable[[str], None]


def train(run: TrainingRun, folder: Path, stopping: Stopping, tell: Tell, begun_at: float) -> Outcome:
    """Carry out a run, or go on with it, and return how it ended; raise BadRun and OutOfMemory.

    `folder` is the run's, `begun_at` the time at which the process was started, in seconds since the epoch.
    """
    on_cpu = _on_cpu(run)
    state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    _check_processes(run, state)
    with state.main_process_first():
        base = prepare_base(run.student, Path(run.store_images) / STUDENTS)
    checkpoint = last_checkpoint(folder)
    student = load_student(run.student, run.hyper, base, checkpoint)
    student.processor.chat_template = student.chat_template
    plan = make_plan(run, Ruler(student.processor, student.chat_template, run), folder / PLAN, state, tell)
    if state.is_main_process:
        _write_dropped(folder, plan, keep_others=checkpoint is not None)
    trainer, told = _trainer(run, folder, student, plan, checkpoint)
    trainer.add_callback(StopWithCheckpoint(stopping))
    trainer.remove_callback(PrinterCallback)
    steps = trainer.args.max_steps
    at = f", going on behind step {checkpoint.name.rpartition('-')[2]}" if checkpoint else ""
    if on_cpu and run.hyper.precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        tell("this CPU has no arithmetic for bf16, and imitates it slowly: precision fp32 is many times faster here")
    tell(f"{plan.dialogues:,} dialogues, {len(plan.dropped):,} dropped; {steps:,} steps of {run.batch}{at}")
    if stopping.is_asked and checkpoint is not None:
        return _outcome(run, folder, plan, trainer, told, begun_at)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    outcome = _outcome(run, folder, plan, trainer, told, begun_at)
    if outcome.state == "done":
        _write_result(run, folder, student, plan, trainer, outcome)
    return outcome


def _on_cpu(run: TrainingRun) -> bool:
    has_gpu = torch.cuda.is_available()
    if run.accelerator == "cuda" and not has_gpu:
        raise BadRun("this run asks for a GPU (accelerator: cuda), and torch finds none on this machine")
    return run.accelerator == "cpu" or not has_gpu


def _check_processes(run: TrainingRun, state: PartialState) -> None:
    if state.num_processes != run.world_size:
        raise BadRun(f"this run is meant for {run.world_size} processes, and {state.num_processes} were started")
    if state.num_processes == 1 and state.device.type == "cuda" and torch.cuda.device_count() > 1:
        raise BadRun(
            f"one process sees {torch.cuda.device_count()} GPUs, and trains on one: start a process for each "
            "(MMAT_TRAIN_PROCESSES), or show it one (CUDA_VISIBLE_DEVICES=0)"
        )


def _write_dropped(folder: Path, plan: Plan, *, keep_others: bool) -> None:
    planned = {each.id for each in plan.dropped}
    met = [each for each in read_dropped(folder) if each.id not in planned] if keep_others else []
    (folder / DROPPED).write_bytes(b"".join(map(dump_dropped, [*plan.dropped, *met])))


def _trainer(
    run: TrainingRun,
    folder: Path,
    student: LoadedStudent,
    plan: Plan,
    checkpoint: Path | None,
) -> tuple[StudentTrainer, MetricsFile]:
    order = order_of(run, plan)
    max_steps = run.hyper.max_steps or -(-order.places(run.hyper.epochs) // run.batch)
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    told = MetricsFile(folder, max_steps * run.batch / order.per_epoch, resumed_at)
    trainer = StudentTrainer(
        model=student.model,
        args=settings(run, folder, max_steps, on_cpu=_on_cpu(run)),
        train_dataset=Dataset.from_dict({"place": range(max_steps * run.batch)}),
        processing_class=student.processor,
        peft_config=lora_config(run.student, run.hyper, student.model) if run.hyper.method == "lora" else None,
        batches=_batches(run, folder, student, order),
        told=told,
        frobenius_lambda=run.hyper.frobenius_lambda,
    )
    if trainer.regulariser is not None and checkpoint is not None and run.hyper.method == "full":
        begun_with = load_student(run.student, run.hyper, student.base, None).model
        trainer.regulariser.rebase(dict(begun_with.named_parameters()), trainer.model)
    return trainer, told


def _batches(run: TrainingRun, folder: Path, student: LoadedStudent, order: Order) -> Batches:
    reading = Reading(format=run.format, modality=run.student.modality)
    shelf = Shelf(run.data, reading, kept=order.window_shards() + 1)
    return Batches(run, shelf, order, student.processor, student.chat_template, folder)


def _outcome(
    run: TrainingRun, folder: Path, plan: Plan, trainer: StudentTrainer, told: MetricsFile, begun_at: float
) -> Outcome:
    # Asked to end before it began: Trainer has not yet read the checkpoint's step.
    step, steps = max(trainer.state.global_step, told.resumed_at), trainer.args.max_steps
    dropped = Counter(each.reason for each in read_dropped(folder))
    metrics = read_metrics(folder)
    return Outcome(
        state="done" if step >= steps else "preempted",
        step=step,
        max_steps=steps,
        started_at_step=told.resumed_at,
        dialogues=order_of(run, plan).dialogues(step * run.batch),
        dropped=dict(sorted(dropped.items())),
        tokens=told.tokens,
        seconds=told.seconds,
        startup_s=(told.first_step_at or time.time()) - begun_at,
        final_loss=metrics[-1].loss if metrics else None,
    )


def _write_result(
    run: TrainingRun, folder: Path, student: LoadedStudent, plan: Plan, trainer: StudentTrainer, outcome: Outcome
) -> None:
    """Write the checkpoint: every process takes part, since each may hold a share of the weights."""
    result = folder / RESULT
    trainer.save_model(str(result))
    if not trainer.is_world_process_zero():
        return
    student.processor.save_pretrained(str(result))
    (result / "training_args.bin").unlink(missing_ok=True)  # a pickle, and told in run.json
    draw_loss(read_metrics(folder), f"{run.name}, {run.student.name}", result / "loss.png")
    versions = ", ".join(f"{name} {version(name)}" for name in TRAINED_WITH)
    told = f"{versions}, Python {platform.python_version()}"
    commit = getattr(student.model.config, "_commit_hash", None)
    card = render_card(run, student.base, outcome, plan.licences, told, commit)
    (result / "README.md").write_text(card, "utf-8")
