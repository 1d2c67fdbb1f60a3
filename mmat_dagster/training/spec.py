"""A training run as plain data: what the training process is told, and what it tells at its end.

    <folder>/run.json           TrainingRun: written before the process starts
             plan/              what each dialogue measures in the student's tokens; a cache
             checkpoints/       to resume from: model, optimizer, schedule, random states
             metrics.jsonl      one Metrics a logged step
             dropped.jsonl      one Dropped a dialogue that was not learned from
             outcome.json       Outcome: written last
             result/            the finished checkpoint: adapter or model, processor, template, README.md, loss.png

Hyper-parameters default to the paper's (MMAT-1M, arXiv 2507.21924, training section). What the paper does not name has
the default of ms-swift, the trainer it used: rank, alpha, dropout, warm-up, schedule, betas, gradient clipping.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.schema import SourceName

Described = TypeVar("Described")

# RR and ORR, and the control that both are compared with: the question, and nothing but the answer.
TrainingFormat = Literal["rr", "orr", "answer"]
Method = Literal["lora", "full"]
Precision = Literal["bf16", "fp16", "fp32"]
Modality = Literal["vision", "text"]
StudentKind = Literal["tiny", "smollm2", "pretrained"]
Schedule = Literal["cosine", "linear", "constant", "constant_with_warmup"]
DropReason = Literal[
    "longer than max_length",
    "no answer to learn",
    "more images than the student takes",
    "nothing tells a text student what the image shows",
    "refused by the student's processor",
    "missing image",
    "unreadable image",
    "image changed",
    "pixels are not finite",
]
State = Literal["done", "preempted", "failed"]

RUN, METRICS, DROPPED, OUTCOME = "run.json", "metrics.jsonl", "dropped.jsonl", "outcome.json"
CHECKPOINTS, PLAN, RESULT = "checkpoints", "plan", "result"
# The code that decides what a run learns.
CODE = (
    "pixels.py",
    "training/control.py",
    *(
        f"training/process/{name}.py"
        for name in (
            "batches",
            "conversations",
            "loading",
            "measuring",
            "order",
            "pictures",
            "regulariser",
            "smollm2",
            "templates",
            "tiny",
            "trainer",
        )
    ),
    "training/process/templates/*.jinja",
)
# Lies in a checkpoint to resume from when all of it is there; process/trainer.py writes it.
WHOLE = "whole"
# sysexits.h's EX_TEMPFAIL: what was begun is kept, try again.
PREEMPTED = 75
# No line of metrics.jsonl is longer.
LINE_BYTES = 4096

_STRICT = ConfigDict(extra="forbid", strict=True)


class BadRun(ValueError):
    """A training run cannot be carried out as it is described."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """A model to be trained: a hub's `model` at `revision`, a local folder, or one of the two that need no network.

    `chat_template` is a Jinja file with `{% generation %}` marks, where neither the model's own nor TRL's serves.
    """

    __pydantic_config__ = _STRICT

    name: str
    kind: StudentKind = "pretrained"
    model: str | None = None
    revision: str | None = None
    modality: Modality = "vision"
    chat_template: str | None = None
    max_images: int | None = None


@dataclass(frozen=True, kw_only=True)
class HyperParameters:
    """How a student is trained.

    `global_batch` dialogues make an optimizer step on any number of processes: accumulation is solved from it. Without
    it a step takes `batch_per_device * accumulation * world size`. `frobenius_lambda` weighs the paper's regulariser,
    the sum over all trained matrices of the squared Frobenius norm of their update. `weight_decay` is AdamW's.
    """

    __pydantic_config__ = _STRICT

    method: Method = "lora"
    epochs: float = 1.0
    max_steps: int | None = None
    learning_rate: float = 4e-5
    weight_decay: float = 0.1
    schedule: Schedule = "cosine"
    warmup_ratio: float = 0.05
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    max_grad_norm: float = 1.0
    max_length: int = 16384
    precision: Precision = "bf16"
    batch_per_device: int = 1
    accumulation: int = 1
    global_batch: int | None = None
    seed: int = 42
    lora_rank: int = 8
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    trains_vision: bool = False
    frobenius_lambda: float = 0.0
    gradient_checkpointing: bool = True
    liger: bool = True


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Parquet part of dialogues, by path or URI; `sha256` is that of the file."""

    __pydantic_config__ = _STRICT

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """The dialogues of one source in a mixture: `weight` 0.5 takes half of them, 2.0 all of them twice an epoch.

    `fingerprint` is the dataset's, `images` the folder that image paths of the source are relative to.
    """

    __pydantic_config__ = _STRICT

    source: SourceName
    dataset: Literal["rr_dialogues", "orr_dialogues"]
    fingerprint: str
    weight: float = 1.0
    images: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """All that a training process is told. `store_images` is the folder of images that lie in the store."""

    __pydantic_config__ = _STRICT

    name: str
    mixture: str
    student: Student
    format: TrainingFormat
    data: tuple[Ingredient, ...]
    store_images: str
    hyper: HyperParameters = field(default_factory=HyperParameters)
    world_size: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    save_every_steps: int = 200
    keep_checkpoints: int = 2
    log_every_steps: int = 1
    loader_workers: int = 0
    # More than this share of dropped dialogues stops a run: then it is not the dialogues that are wrong.
    max_dropped: float = 0.5

    @property
    def accumulation(self) -> int:
        """Micro-batches of one process in one optimizer step."""
        hyper = self.hyper
        if hyper.global_batch is None:
            return hyper.accumulation
        at_once = hyper.batch_per_device * self.world_size
        if hyper.global_batch % at_once:
            raise BadRun(
                f"a global batch of {hyper.global_batch} cannot be made of {self.world_size} processes with "
                f"{hyper.batch_per_device} dialogues each: it must be a multiple of {at_once}"
            )
        return hyper.global_batch // at_once

    @property
    def batch(self) -> int:
        """Dialogues in one optimizer step."""
        return self.hyper.batch_per_device * self.accumulation * self.world_size

    @property
    def key(self) -> str:
        """Return what decides the trained weights: code, student, data in its order, hyper-parameters, global batch."""
        data = [f"{item.source} {item.dataset} {item.fingerprint} {item.weight}" for item in self.data]
        decided = {each.name: getattr(self.hyper, each.name) for each in fields(self.hyper)}
        for name in ("batch_per_device", "accumulation", "global_batch", "gradient_checkpointing", "liger"):
            del decided[name]
        return fingerprint(
            [
                code_fingerprint(*CODE),
                _STUDENT.dump_json(self.student).decode(),
                self.format,
                *data,
                repr(sorted(decided.items())),
                str(self.batch),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What one logged step says; `tokens` since the run's beginning, padding not counted; memory is the peak so far.

    `loss` is the mean negative log-likelihood of an assistant token in nats, the regulariser not included.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float | None = None
    token_accuracy: float | None = None
    regulariser: float | None = None
    tokens: int
    tokens_per_second: float
    memory_gb: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A dialogue that was not learned from, and why."""

    id: str
    source: SourceName
    reason: DropReason
    detail: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training process ended: after `step` of `max_steps`; `error` tells why it failed, for a person.

    `dialogues` counts the different ones in the order up to `step`, `dropped` those that were left out of it.
    `started_at_step` is where it had resumed; `startup_s` passed between its start and its first step.
    """

    state: State
    step: int = 0
    max_steps: int = 0
    started_at_step: int = 0
    dialogues: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    startup_s: float = 0.0
    final_loss: float | None = None
    error: str | None = None


_STUDENT = TypeAdapter(Student)
_RUN = TypeAdapter(TrainingRun)
_METRICS = TypeAdapter(Metrics)
_DROPPED = TypeAdapter(Dropped)
_OUTCOME = TypeAdapter(Outcome)


def dump_run(run: TrainingRun) -> bytes:
    """Return a run as indented JSON."""
    return _RUN.dump_json(run, indent=1)


def read_run(path: Path) -> TrainingRun:
    """Return the run that a file describes; raise BadRun where it describes none."""
    run = read_description(path, _RUN, "no training run")
    check_run(run)
    return run


def read_description(path: Path, described: TypeAdapter[Described], otherwise: str) -> Described:
    """Return what a file describes; raise BadRun where it cannot be read, or describes `otherwise`."""
    try:
        return described.validate_json(path.read_bytes())
    except OSError as error:
        raise BadRun(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadRun(f"{path} describes {otherwise}: {told}") from error


def check_run(run: TrainingRun) -> None:
    """Raise BadRun where a run's numbers cannot be meant."""
    hyper = run.hyper
    above_zero = {
        "epochs": hyper.epochs,
        "max_steps": hyper.max_steps,
        "learning_rate": hyper.learning_rate,
        "max_length": hyper.max_length,
        "batch_per_device": hyper.batch_per_device,
        "accumulation": hyper.accumulation,
        "global_batch": hyper.global_batch,
        "lora_rank": hyper.lora_rank,
        "lora_alpha": hyper.lora_alpha,
        "max_grad_norm": hyper.max_grad_norm,
        "world_size": run.world_size,
        "save_every_steps": run.save_every_steps,
        "log_every_steps": run.log_every_steps,
    }
    not_below_zero = {
        "weight_decay": hyper.weight_decay,
        "frobenius_lambda": hyper.frobenius_lambda,
        "seed": hyper.seed,
        "loader_workers": run.loader_workers,
        **{f"the weight of {item.source}": item.weight for item in run.data},
    }
    below_one = {
        "warmup_ratio": hyper.warmup_ratio,
        "lora_dropout": hyper.lora_dropout,
        "adam_beta1": hyper.adam_beta1,
        "adam_beta2": hyper.adam_beta2,
    }
    _require(above_zero, lambda value: value > 0, "a number above 0")
    _require(not_below_zero, lambda value: value >= 0, "a number, and not below 0")
    _require(below_one, lambda value: 0 <= value < 1, "a number from 0 to below 1")
    _require({"max_dropped": run.max_dropped}, lambda value: 0 <= value <= 1, "a share, from 0 to 1")
    if run.keep_checkpoints < 2:
        raise BadRun("keep_checkpoints must be at least 2: while the last one is being written, the one before counts")
    if not any(item.weight > 0 and item.shards for item in run.data):
        raise BadRun(f"the mixture {run.mixture} is empty: no source of it has dialogues and a weight above 0")
    _ = run.accumulation


def _require(numbers: Mapping[str, float | None], holds: Callable[[float], bool], told: str) -> None:
    """Raise BadRun where one of `numbers` that is set is not as `told`."""
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and holds(value)):
            raise BadRun(f"{name} is {value}; it must be {told}")


def read_metrics(folder: Path) -> list[Metrics]:
    """Return what has been logged below a run's folder so far; a line that is being written is left for later."""
    path = folder / METRICS
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [_METRICS.validate_json(line) for line in lines if line]


def last_metrics_line(folder: Path) -> bytes:
    """Return the last line of metrics.jsonl below a run's folder, however long the log is; empty before the first step.

    A line that is being written is left for later.
    """
    path = folder / METRICS
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LINE_BYTES))
        lines = file.read().split(b"\n")[:-1]
    return lines[-1] if lines else b""


def read_last_metrics(folder: Path) -> Metrics | None:
    """Return what was logged last below a run's folder; None before the first step."""
    line = last_metrics_line(folder)
    return parse_metrics(line) if line else None


def read_outcome(folder: Path) -> Outcome | None:
    """Return how the process of a run's folder ended; None where it has told nothing."""
    path = folder / OUTCOME
    return parse_outcome(path.read_bytes()) if path.exists() else None


def parse_outcome(data: bytes) -> Outcome:
    """Return the outcome that JSON tells."""
    return _OUTCOME.validate_json(data)


def parse_metrics(line: bytes) -> Metrics:
    """Return what one line of metrics.jsonl tells."""
    return _METRICS.validate_json(line)


def dump_metrics(metrics: Metrics) -> bytes:
    """Return one line of metrics.jsonl."""
    return _METRICS.dump_json(metrics) + b"\n"


def dump_dropped(dropped: Dropped) -> bytes:
    """Return one line of dropped.jsonl."""
    return _DROPPED.dump_json(dropped) + b"\n"


def read_dropped(folder: Path) -> list[Dropped]:
    """Return the dialogues that were not learned from, each once; a line that is being written is left for later."""
    path = folder / DROPPED
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return list(dict.fromkeys(_DROPPED.validate_json(line) for line in lines if line))


def dump_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as JSON."""
    return _OUTCOME.dump_json(outcome, indent=1)
