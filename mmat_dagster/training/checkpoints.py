"""Checkpoints: trained once, then kept whole in the store.

    training/<mixture>-<key>/                              at work; removed when the checkpoint is kept (spec.py, and
                                                           for a store that is no folder kept.py)
    <asset>/<mixture>/<student>-<key>/...                  the files of result/, metrics.jsonl, dropped.jsonl, run.json
                                      checkpoint.json      Checkpoint: written last
    <asset>/<mixture>/manifest.json                        Pointer: which of them is the current one

A checkpoint is known by its run's key: what was trained once with the same code, data and numbers is only pointed at.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.training.executor import TrainingFailed, TrainingJob
from mmat_dagster.training.kept import FILES, ListedFile, list_files, log_files, parse_listing, result_files
from mmat_dagster.training.mixtures import CheckpointName, Order
from mmat_dagster.training.spec import (
    DROPPED,
    METRICS,
    OUTCOME,
    RESULT,
    RUN,
    Metrics,
    Outcome,
    Student,
    TrainingRun,
    dump_run,
    parse_outcome,
    read_metrics,
    read_outcome,
)

TRAINING, CHECKPOINT, MANIFEST = "training", "checkpoint.json", "manifest.json"

Train = Callable[[TrainingJob], Outcome]


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
    files: tuple[ListedFile, ...]

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
    place = _Place(store, f"{TRAINING}/{order.mixture}-{run.key}")
    with store.exclusive(folder):
        found = _read_checkpoint(store, folder)
        if found is None:
            outcome = _train(place, folder, order, run, train)
            checkpoint = _publish(place, _checkpoint(place, folder, order, run, outcome))
        else:
            checkpoint = found
        _point_at(store, checkpoint)
        place.remove()
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


class _Place:
    """Where a training is at work: a folder of this machine, and of the store where that is another place."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key
        self.work = (store.mirror / key).absolute()
        uri = store.locate(key)
        self.kept = uri if "://" in uri else None

    def outcome(self) -> Outcome | None:
        """Return how the last attempt ended, here or on another machine; None where none has told."""
        here = read_outcome(self.work)
        if here is not None and here.state == "done":
            return here
        told = f"{self.key}/{OUTCOME}"
        return parse_outcome(self.store.read(told)) if self.kept and self.store.exists(told) else here

    def begin(self, run: TrainingRun) -> None:
        """Write down what is to be trained."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / RUN).write_bytes(dump_run(run))
        if self.kept:
            for name in (OUTCOME, FILES):  # of an attempt before
                self.store.delete(f"{self.key}/{name}")
            self.store.write(f"{self.key}/{RUN}", dump_run(run))

    def result(self) -> tuple[ListedFile, ...] | None:
        """Return the listing of the result, where the machine that trained has put that there, and bring its logs."""
        if not (self.kept and self.store.exists(f"{self.key}/{FILES}")):
            return None
        self.work.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, DROPPED):
            if self.store.exists(f"{self.key}/{name}"):
                (self.work / name).write_bytes(self.store.read(f"{self.key}/{name}"))
        return parse_listing(self.store.read(f"{self.key}/{FILES}"))

    def remove(self) -> None:
        """Remove what a finished training has left."""
        shutil.rmtree(self.work, ignore_errors=True)
        if self.kept:
            self.store.delete_below(self.key)


def _train(place: _Place, folder: str, order: Order, run: TrainingRun, train: Train) -> Outcome:
    """Train in the place of the training, and return the outcome of a training that is done."""
    # Done, and nobody was left to keep it: the process that asked for it has died.
    outcome = place.outcome()
    if outcome is None or outcome.state != "done":
        place.begin(run)
        outcome = train(
            TrainingJob(
                name=order.name,
                folder=str(place.work),
                kept=place.kept,
                result=place.store.locate(folder) if place.kept else None,
                accelerate=order.accelerate,
                is_preemptible=order.is_preemptible,
            )
        )
    if outcome.state == "preempted":
        raise TrainingPreempted(order.name, outcome)
    if outcome.state == "failed":
        raise TrainingFailed(outcome.error or f"the training of {order.name} failed and does not say why")
    return outcome


def _checkpoint(place: _Place, folder: str, order: Order, run: TrainingRun, outcome: Outcome) -> Checkpoint:
    files = place.result()
    if files is None and not any(result_files(place.work)):
        where = place.work / RESULT
        raise TrainingFailed(f"the training of {order.name} says that it is done, and left nothing in {where}")
    metrics = read_metrics(place.work)
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
        files=files or list_files(_kept_files(place.work)),
    )


def _kept_files(work: Path) -> list[tuple[str, Path]]:
    return [*result_files(work), *log_files(work)]


def _pace(metrics: list[Metrics]) -> float:
    """Return the tokens per second in the middle of all logged steps: the first and the last ones tell other things."""
    paces = sorted(each.tokens_per_second for each in metrics)
    return paces[len(paces) // 2] if paces else 0.0


def _publish(place: _Place, checkpoint: Checkpoint) -> Checkpoint:
    store = place.store
    if any(result_files(place.work)):
        store.put_all({f"{checkpoint.folder}/{path}": file for path, file in _kept_files(place.work)})
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
