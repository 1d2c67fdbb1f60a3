"""The workers that look at images, each a process: handed out in batches, replaced where one dies or takes too long.

    look -> waiting -> the next free worker takes a batch of one model -> Sight | Failed
                       it dies, or takes too long: replaced, and its images are looked at once more, each alone

A thread stands before each process and speaks with it over a pipe of its own: a killed worker holds no lock that others
wait for, and takes nobody with it.
"""

import multiprocessing
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

from mmat_dagster.tools import Failed, OperatorUnavailable, Sight
from resources import vision_worker
from resources.vision_worker import KEPT_IMAGES, Load, LookAt, ModelSpec, Task, Unavailable

# A model's weights may come over a network the first time.
LOAD_TIMEOUT_S = 900.0
TRIES = 2
ENDED = "the workers that look at images were ended"

Result: TypeAlias = Sight | Failed


@dataclass(frozen=True, kw_only=True)
class Handling:
    """How a model's images are handed out: at most `batch_size` at once, `timeout_s` seconds for each."""

    spec: ModelSpec
    batch_size: int = 1
    timeout_s: float = 60.0


@dataclass(kw_only=True, eq=False)
class _Job:
    task: Task
    handling: Handling
    future: "Future[Result]" = field(default_factory=Future)
    tries: int = 0


class Lost(Exception):
    """A worker died, or took too long and was ended; the message says which."""


class Worker(ABC):
    """One process that looks at images; only its own thread speaks with it, any may end it."""

    def __init__(self) -> None:
        self.images: OrderedDict[str, None] = OrderedDict()

    @abstractmethod
    def load(self, spec: ModelSpec) -> str | None:
        """Load a model, unless it is; return why it does not load. Raises Lost."""

    @abstractmethod
    def look(self, spec: ModelSpec, tasks: tuple[Task, ...], timeout_s: float) -> Sequence[Result]:
        """Return what the model sees; raise Lost where the process died or took longer than `timeout_s`."""

    @abstractmethod
    def kill(self) -> None:
        """End the process for good."""

    @abstractmethod
    def drop(self) -> None:
        """Let go of a process that is lost; the next order goes to another one."""

    def remember(self, images: Iterable[str]) -> None:
        """Note which images the process decodes now; it keeps the last ones."""
        for image in images:
            self.images.pop(image, None)
            self.images[image] = None
        while len(self.images) > KEPT_IMAGES:
            self.images.popitem(last=False)


class VisionWorkers:
    """Several workers, which start with the first image; any thread may ask for a look."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._waiting: list[_Job] = []
        self._condition = threading.Condition()
        self._is_closed = False
        self._workers = workers
        self._threads = [
            threading.Thread(target=self._tend, args=(worker,), name=f"vision-{number}", daemon=True)
            for number, worker in enumerate(self._workers)
        ]

    def look(self, task: Task, handling: Handling) -> "Future[Result]":
        """Return the coming result: an OperatorUnavailable where the model cannot be loaded."""
        job = _Job(task=task, handling=handling)
        with self._condition:
            if self._is_closed:
                job.future.set_exception(OperatorUnavailable(ENDED))
                return job.future
            self._waiting.append(job)
            self._condition.notify()
            for thread in self._threads:
                if thread.ident is None:
                    thread.start()
        return job.future

    def close(self) -> None:
        """End the workers at once; who still waits is told."""
        with self._condition:
            self._is_closed = True
            left, self._waiting = self._waiting, []
            self._condition.notify_all()
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for worker in self._workers:
            worker.drop()
        for job in left:
            job.future.set_exception(OperatorUnavailable(ENDED))

    def _tend(self, worker: Worker) -> None:
        while batch := self._next(worker):
            try:
                self._carry_out(worker, batch)
            except OperatorUnavailable as unavailable:
                _tell(unavailable, (*batch, *self._others_of(batch[0].handling.spec)))
            except Exception as error:  # noqa: BLE001  whatever it is, nobody must wait for a thread that is gone
                _tell(OperatorUnavailable(f"no worker process can be used: {error}"), batch)

    def _carry_out(self, worker: Worker, batch: Sequence[_Job]) -> None:
        try:
            results = self._results(worker, batch)
        except Lost as lost:
            self._again(batch, str(lost))
            return
        for job, result in zip(batch, results, strict=True):
            job.future.set_result(result)

    def _next(self, worker: Worker) -> list[_Job]:
        """Wait for a batch for `worker`; nothing where the workers are ended."""
        with self._condition:
            while not self._is_closed:
                # A future begins once, and may have been cancelled before.
                batch = [job for job in self._choose(worker) if job.tries or job.future.set_running_or_notify_cancel()]
                if batch:
                    worker.remember(job.task.sha256 for job in batch)
                    return batch
                if not self._waiting:
                    self._condition.wait()
        return []

    def _choose(self, worker: Worker) -> list[_Job]:
        """Take the first job, before it one whose image `worker` has decoded; and what fits into a batch with it.

        One whose image another worker has decoded comes last.
        """
        if not self._waiting:
            return []
        first = min(self._waiting, key=partial(self._distance, worker))
        batch = [first] if first.tries else self._batch(first)
        chosen = set(map(id, batch))
        self._waiting = [job for job in self._waiting if id(job) not in chosen]
        return batch

    def _distance(self, worker: Worker, job: _Job) -> int:
        if job.tries or job.task.sha256 in worker.images:
            return 0
        return 1 + any(job.task.sha256 in other.images for other in self._workers)

    def _batch(self, first: _Job) -> list[_Job]:
        alike = [job for job in self._waiting if job is not first and job.handling == first.handling and not job.tries]
        return [first, *alike[: first.handling.batch_size - 1]]

    def _others_of(self, spec: ModelSpec) -> list[_Job]:
        """Take all waiting jobs of a model that does not load: trying it again for each would keep the run for long."""
        with self._condition:
            others = [job for job in self._waiting if job.handling.spec == spec]
            self._waiting = [job for job in self._waiting if job.handling.spec != spec]
        return [job for job in others if job.tries or job.future.set_running_or_notify_cancel()]

    def _results(self, worker: Worker, batch: Sequence[_Job]) -> Sequence[Result]:
        handling = batch[0].handling
        self._load(worker, handling.spec)
        tasks = tuple(job.task for job in batch)
        return worker.look(handling.spec, tasks, handling.timeout_s * len(batch))

    def _load(self, worker: Worker, spec: ModelSpec) -> None:
        """Load the model where the worker has not; raise OperatorUnavailable where that cannot be."""
        for is_last in (False, True):
            try:
                told = worker.load(spec)
            except Lost as lost:
                if self._is_closed:
                    raise OperatorUnavailable(ENDED) from None
                if not is_last:
                    continue
                told = f"{lost} while it loads; its own words stand above"
            if told is None:
                return
            worker.drop()  # what was half imported would be in the way of another attempt
            raise OperatorUnavailable(f"{spec.path.partition(':')[2]} does not load in a worker process: {told}")

    def _again(self, batch: Sequence[_Job], why: str) -> None:
        """Have the images of a lost worker looked at once more, before all others; one that was there before fails."""
        for job in batch:
            job.tries += 1
        with self._condition:
            retried = [] if self._is_closed else [job for job in batch if job.tries < TRIES]
            self._waiting = [*retried, *self._waiting]
            self._condition.notify_all()
        for job in set(batch) - set(retried):
            if job.tries >= TRIES:
                job.future.set_result(Failed(detail=f"{why}, twice"))
            else:
                job.future.set_exception(OperatorUnavailable(ENDED))


def _tell(unavailable: OperatorUnavailable, jobs: Iterable[_Job]) -> None:
    for job in jobs:
        job.future.set_exception(OperatorUnavailable(str(unavailable)))


class ProcessWorker(Worker):
    """A process of this machine, started when it is needed."""

    def __init__(self) -> None:
        super().__init__()
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._loaded: set[ModelSpec] = set()
        self._is_ended = False
        self._changing = threading.Lock()

    def load(self, spec: ModelSpec) -> str | None:
        """Load a model by its first order."""
        if spec not in self._loaded:
            told = self._ask(Load(spec=spec), LOAD_TIMEOUT_S)
            if isinstance(told, Unavailable):
                return told.detail
            self._loaded.add(spec)
        return None

    def look(self, spec: ModelSpec, tasks: tuple[Task, ...], timeout_s: float) -> Sequence[Result]:
        """Return what the process answers."""
        seen = self._ask(LookAt(spec=spec, tasks=tasks), timeout_s)
        assert isinstance(seen, list)
        return seen

    def kill(self) -> None:
        """Kill the process, and start no other."""
        with self._changing:
            self._is_ended = True
            if self._process is not None:
                self._process.kill()

    def _ask(self, order: Load | LookAt, timeout_s: float) -> object:
        try:
            pipe = self._started()
            pipe.send(order)
            if pipe.poll(timeout_s):
                return pipe.recv()
            why = f"it took longer than {timeout_s:g} s"
        except (EOFError, OSError):
            why = "its worker died"
        self.drop()
        raise Lost(why)

    def _started(self) -> Connection:
        with self._changing:
            if self._is_ended:
                raise Lost(ENDED)
            if self._pipe is None:
                self._start()
            assert self._pipe is not None
            return self._pipe

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=vision_worker.serve, args=(theirs,), daemon=True)
        with theirs:
            process.start()
        self._pipe, self._process = ours, process

    def drop(self) -> None:
        """Kill the process; the next order starts another one."""
        with self._changing:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
            self._loaded.clear()
            self.images.clear()
        if process is not None:
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()


Hire: TypeAlias = Callable[[str, int], Sequence[Worker]]


def processes(count: int) -> Sequence[Worker]:
    """Return workers of this machine, none of them started yet."""
    return [ProcessWorker() for _ in range(count)]


def _hire_here(lane: str, count: int) -> Sequence[Worker]:  # noqa: ARG001
    return processes(count)


_open: dict[tuple[str, int], tuple[VisionWorkers, int]] = {}
_opening = threading.Lock()
_hire: Hire = _hire_here


def hire_elsewhere(hire: Hire) -> None:
    """Have this process open workers that `hire` finds for a lane, how many it wants being a wish."""
    global _hire  # noqa: PLW0603  which machine a process runs on is settled once, before anything is opened
    _hire = hire


def open_workers(lane: str, count: int) -> VisionWorkers:
    """Return this process's workers of `lane`; all who open them share them, and give them back with `close_workers`.

    Operators on one lane share processes, so that an image that several of them look at is decoded once.
    """
    with _opening:
        workers, users = _open.get((lane, count)) or (VisionWorkers(_hire(lane, count)), 0)
        _open[lane, count] = (workers, users + 1)
        return workers


def close_workers(lane: str, count: int) -> None:
    """Give the workers back; the last one who does ends them."""
    with _opening:
        workers, users = _open[lane, count]
        if users > 1:
            _open[lane, count] = (workers, users - 1)
            return
        del _open[lane, count]
    workers.close()
