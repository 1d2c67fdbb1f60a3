"""Checkpoints: trained once, then kept whole in the store.

    training/<mixture>-<key>/                              at work; removed when the checkpoint is kept (see spec.py)
    <asset>/<mixture>/<student>-<key>/...                  the files of result/, metrics.jsonl, dropped.jsonl, run.json
                                      checkpoint.json      Checkpoint: written last
    <asset>/<mixture>/manifest.json                        Pointer: which of them is the current one

A checkpoint is known by its run's key: what was trained once with the same code, data and numbers is only pointed at.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mmat_dagster.filebook import sha256_of
from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.training.executor import TrainingFailed, TrainingJob
from mmat_dagster.training.mixtures import CheckpointName, Order
from mmat_dagster.training.spec import (
    DROPPED,
    METRICS,
    RESULT,
    RUN,
    Metrics,
    Outcome,
    Student,
    TrainingRun,
    dump_run,
    read_metrics,
    read_outcome,
)

TRAINING, CHECKPOINT, MANIFEST = "training", "checkpoint.json", "manifest.json"

Train = Callable[[TrainingJob], Outcome]


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """One file of a checkpoint, by its path below the checkpoint's folder."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A finished checkpoint; `data` holds the datasets' fingerprints and `weights` their weights, by source.

    `folder` is its key prefix in the store.
    """

    checkpoint: CheckpointName
    mixture: str
    student: Student
    key: str
    folder: str
    data: Mapping[str, str]
    weights: Mapping[str, float]
    outcome: Outcome
    first_loss: float | None
    tokens_per_second: float
    memory_gb: float
    files: tuple[CheckpointFile, ...]

    @property
    def fingerprint(self) -> str:
        """What the checkpoint holds: equal for equal files."""
        return fingerprint(part for file in self.files for part in (file.path, file.sha256))


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """The current checkpoint of a mixture."""

    student: str
    key: str
    folder: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A checkpoint that is current now; `is_reused` says that an earlier run had trained it."""

    checkpoint: Checkpoint
    is_reused: bool


class TrainingPreempted(Exception):
    """A training was ended from outside; it goes on from its last checkpoint when it is asked for again."""

    def __init__(self, name: str, outcome: Outcome) -> None:
        at = f"step {outcome.step}" + (f" of {outcome.max_steps}" if outcome.max_steps else "")
        super().__init__(
            f"The training of {name} was stopped from outside at {at}. Materialize it again: it goes on from there."
        )
        self.outcome = outcome


_CHECKPOINT = TypeAdapter(Checkpoint)
_POINTER = TypeAdapter(Pointer)


def obtain_checkpoint(store: Store, order: Order, run: TrainingRun, train: Train) -> Trained:
    """Return the checkpoint that `run` leads to, trained by `train` unless it is there, and make it the current one.

    Raises TrainingPreempted, TrainingFailed and StoreError.
    """
    folder = f"{order.checkpoint}/{order.mixture}/{run.student.name}-{run.key}"
    work = (store.mirror / TRAINING / f"{order.mixture}-{run.key}").absolute()
    with store.exclusive(folder):
        found = _read_checkpoint(store, folder)
        if found is None:
            outcome = _train(work, order, run, train)
            checkpoint = _publish(store, work, _checkpoint(work, folder, order, run, outcome))
        else:
            checkpoint = found
        _point_at(store, checkpoint)
        shutil.rmtree(work, ignore_errors=True)
    return Trained(checkpoint=checkpoint, is_reused=found is not None)


def read_current(store: Store, checkpoint: CheckpointName, mixture: str) -> Checkpoint | None:
    """Return the current checkpoint of a mixture, or None where none was ever finished."""
    key = f"{checkpoint}/{mixture}/{MANIFEST}"
    if not store.exists(key):
        return None
    return _read_checkpoint(store, _POINTER.validate_json(store.read(key)).folder)


def bring_checkpoint(store: Store, checkpoint: Checkpoint) -> Path:
    """Return the checkpoint's folder on this machine, with all of its files; raise StoreError where one is lost."""
    names = [f"{checkpoint.folder}/{file.path}" for file in checkpoint.files]
    store.bring(names)
    try:
        for name in names:
            store.fetch(name)
    except FileNotFoundError as error:
        raise StoreError(f"the checkpoint {store.locate(checkpoint.folder)} is not whole: {error}") from error
    return (store.mirror / checkpoint.folder).absolute()


def _read_checkpoint(store: Store, folder: str) -> Checkpoint | None:
    key = f"{folder}/{CHECKPOINT}"
    return _CHECKPOINT.validate_json(store.read(key)) if store.exists(key) else None


def _train(work: Path, order: Order, run: TrainingRun, train: Train) -> Outcome:
    """Train in the folder `work`, and return the outcome of a training that is done."""
    work.mkdir(parents=True, exist_ok=True)
    # Done, and nobody was left to keep it: the process that asked for it has died.
    outcome = read_outcome(work)
    if outcome is None or outcome.state != "done":
        (work / RUN).write_bytes(dump_run(run))
        outcome = train(TrainingJob(name=order.name, folder=str(work), accelerate=order.accelerate))
    if outcome.state == "preempted":
        raise TrainingPreempted(order.name, outcome)
    if outcome.state == "failed":
        raise TrainingFailed(outcome.error or f"the training of {order.name} failed and does not say why")
    if not any(_results(work)):
        raise TrainingFailed(f"the training of {order.name} says that it is done, and left nothing in {work / RESULT}")
    return outcome


def _results(work: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a finished training that are kept, each with its path in the checkpoint."""
    result = work / RESULT
    yield from ((path.relative_to(result).as_posix(), path) for path in sorted(result.rglob("*")) if path.is_file())


def _logs(work: Path) -> Iterator[tuple[str, Path]]:
    yield from ((name, work / name) for name in (METRICS, DROPPED, RUN) if (work / name).exists())


def _checkpoint(work: Path, folder: str, order: Order, run: TrainingRun, outcome: Outcome) -> Checkpoint:
    metrics = read_metrics(work)
    return Checkpoint(
        checkpoint=order.checkpoint,
        mixture=order.mixture,
        student=run.student,
        key=run.key,
        folder=folder,
        data={item.source: item.fingerprint for item in run.data},
        weights={item.source: item.weight for item in run.data},
        outcome=outcome,
        first_loss=metrics[0].loss if metrics else None,
        tokens_per_second=_pace(metrics),
        memory_gb=max((each.memory_gb for each in metrics), default=0.0),
        files=tuple(
            CheckpointFile(path=path, bytes=file.stat().st_size, sha256=sha256_of(file))
            for path, file in (*_results(work), *_logs(work))
        ),
    )


def _pace(metrics: list[Metrics]) -> float:
    """Return the tokens per second in the middle of all logged steps: the first and the last ones tell other things."""
    paces = sorted(each.tokens_per_second for each in metrics)
    return paces[len(paces) // 2] if paces else 0.0


def _publish(store: Store, work: Path, checkpoint: Checkpoint) -> Checkpoint:
    store.put_all({f"{checkpoint.folder}/{path}": file for path, file in (*_results(work), *_logs(work))})
    store.write(f"{checkpoint.folder}/{CHECKPOINT}", _CHECKPOINT.dump_json(checkpoint, indent=1))
    return checkpoint


def _point_at(store: Store, checkpoint: Checkpoint) -> None:
    pointer = Pointer(
        student=checkpoint.student.name,
        key=checkpoint.key,
        folder=checkpoint.folder,
        fingerprint=checkpoint.fingerprint,
    )
    key = f"{checkpoint.checkpoint}/{checkpoint.mixture}/{MANIFEST}"
    told = _POINTER.dump_json(pointer, indent=1)
    if not (store.exists(key) and store.read(key) == told):
        store.write(key, told)
