"""Parts of a stage as Ray tasks, and what a driver and its workers tell each other through a board.

    driver   carry_out(orders)  ->  a task for each, a bounded number at once; again elsewhere where a node is lost
    worker   make_part(order)   ->  the pipeline, opened once in each process, makes it and tells the board meanwhile

This file imports Ray, and is imported where Ray is used.
"""

import importlib
import json
import logging
import os
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmat_dagster.engine import EngineError, PartOrder, Watch
from mmat_dagster.parts import Part
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import Progress
from mmat_dagster.spending import Spending, total
from resources import ray_vision, vision_workers

TELL_EVERY_S = 1.0
# A part's way is the store: Ray itself carries orders and reports.
OBJECTS_BYTES = 100 << 20
NAMESPACE = "mmat_dagster"
LOOPBACK = "127.0.0.1"
# More parts than there are CPUs wait at the cluster, so that none of them is ever without one.
WAITING_PARTS = 2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a worker opens its pipeline, and what that must share with the driver's."""

    path: str
    resource_config: str
    run_id: str
    shares: str
    model_workers: int | None
    gpus_per_model: float


@dataclass(frozen=True, kw_only=True)
class Hands:
    """How parts are handed out; `variables` are set in each worker's environment."""

    cpus: float
    at_once: int | None
    lost_workers: int
    end_s: float
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far one attempt at a part is, and what it has spent by now, by who was asked."""

    index: int
    progress: Progress | None = None
    spendings: Mapping[str, Spending] = field(default_factory=dict)


class Board:
    """Keeps the last report of each attempt, and the actors with models, for the time that a driver is there."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._reports: dict[str, Report] = {}
        self._goes_on = True
        self._models = ray_vision.Models(variables=variables)

    def begin(self) -> None:
        """Forget the reports of parts that are made."""
        self._reports.clear()
        self._goes_on = True

    def end(self) -> None:
        """Have all who report end."""
        self._goes_on = False

    def tell(self, attempt: str, report: Report) -> bool:
        """Take a report, and say whether to go on."""
        self._reports[attempt] = report
        return self._goes_on

    def reports(self) -> list[Report]:
        """Return the last report of each attempt, in the order in which they began."""
        return [*self._reports.values()]

    def models(self, lane: str, count: int | None, gpus: float) -> list[Any]:
        """Return the actors of a lane; the first who asks has them started."""
        return self._models.of(lane, count, gpus)


def connect(address: str | None) -> None:
    """Join the cluster at `address`, or start Ray on this machine; raise EngineError where that cannot be."""
    if ray.is_initialized():
        return
    settings: dict[str, Any] = {"address": address}
    if address is None:
        # It would tell its makers how it is used.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Without `local` it would join whatever cluster somebody has started on this machine.
        settings = {
            "address": "local",
            "_node_ip_address": LOOPBACK,
            "include_dashboard": False,
            "object_store_memory": OBJECTS_BYTES,
        }
    heeds = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(f"the Ray cluster {address or 'of this machine'} cannot be reached: {error}") from error
    finally:
        # Ray would end the process at once, and Dagster has a run clean up.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heeds)


def carry_out(
    orders: Sequence[PartOrder], recipe: Recipe, hands: Hands, watch: Watch, spent: dict[str, Spending]
) -> Mapping[int, Part | None]:
    """Have the parts made, and return them by index; `spent` grows by what they cost."""
    board = _board(hands)
    _wait_for(board.begin.remote())
    begin = _task(hands)
    before = dict(spent)
    waiting, made = deque(orders), dict[int, Part | None]()
    running: dict[Future[Part | None], PartOrder] = {}

    def look() -> None:
        reports = _wait_for(board.reports.remote())
        spent.update(_with(before, reports))
        watch(_latest(reports))

    try:
        while waiting or running:
            while waiting and len(running) < (hands.at_once or _places(hands)):
                order = waiting.popleft()
                running[begin.remote(recipe, order, board).future()] = order
            done, _ = wait(running, TELL_EVERY_S, FIRST_COMPLETED)
            for each in done:
                made[running.pop(each).index] = _result(each)
            look()
    except BaseException:
        _end(board, running, hands.end_s)
        with suppress(RayError):
            look()
        raise
    return made


class _Ended(Exception):
    """A part is not made, since its run is ending."""


def make_part(recipe: Recipe, order: PartOrder, board: Any) -> Part | None:
    """Make one part in a worker; None where some of its replies are pending."""
    line = _Line(board, order.index)
    if not line.tell():
        raise _Ended
    pipeline = _pipeline(recipe, board)
    line.spent = partial(_since, pipeline, pipeline.spendings)
    try:
        return pipeline.make_part(order, line.listen)
    except KeyboardInterrupt:
        raise _Ended from None
    finally:
        with suppress(RayActorError):  # the part is there, whoever hears of it
            line.tell()


class _Line:
    """What one attempt at a part tells the board, and hears from it."""

    def __init__(self, board: Any, index: int) -> None:
        self.spent: Callable[[], Mapping[str, Spending]] = dict
        self._board, self._index = board, index
        self._progress: Progress | None = None
        self._attempt, self._told_at = uuid.uuid4().hex, time.monotonic()
        self._answer: Future[bool] | None = None
        self._is_over = False

    def listen(self, progress: Progress) -> None:
        """Tell now and then how far it is; where the answer was to end, end it once, as Ctrl-C does.

        Ray's own way to interrupt a task may hit another one of this process, while that puts away what was paid.
        """
        self._progress = progress
        if not self._goes_on() and not self._is_over:
            self._is_over = True
            raise KeyboardInterrupt
        if self._answer is None and time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._answer = self._report()

    def tell(self) -> bool:
        """Tell, and return whether to go on."""
        return self._report().result()

    def _goes_on(self) -> bool:
        """Look at the last answer, if there is one; a board that is gone gives none."""
        if self._answer is None or not self._answer.done():
            return True
        answer, self._answer = self._answer, None
        return answer.exception() is not None or answer.result()

    def _report(self) -> "Future[bool]":
        report = Report(index=self._index, progress=self._progress, spendings=self.spent())
        answer: Future[bool] = self._board.tell.remote(self._attempt, report).future()
        return answer


def _since(pipeline: Pipeline, before: Mapping[str, Spending]) -> Mapping[str, Spending]:
    """Return what a pipeline has spent since `before`."""
    return {name: spent.since(before.get(name, Spending())) for name, spent in pipeline.spendings.items()}


_boards: dict[str, Any] = {}


def _board(hands: Hands) -> Any:
    """Return this driver's board, which runs on its machine and ends with it."""
    key = json.dumps([ray.get_runtime_context().get_job_id(), sorted(hands.variables.items())])
    if key not in _boards:
        here = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=here, runtime_env=_runtime(hands))(Board)
        _boards[key] = actor.remote(hands.variables)
    return _boards[key]


def _task(hands: Hands) -> Any:
    return ray.remote(
        num_cpus=hands.cpus,
        max_retries=hands.lost_workers,
        scheduling_strategy="SPREAD",
        runtime_env=_runtime(hands),
    )(make_part)


def _runtime(hands: Hands) -> dict[str, Any]:
    return {"env_vars": dict(hands.variables)}


def _places(hands: Hands) -> int:
    """Return how many parts the cluster may have by now; machines may join it at any time."""
    return max(1, int(ray.cluster_resources().get("CPU", 1.0) / hands.cpus)) + WAITING_PARTS


def _wait_for(coming: Any) -> Any:
    """Return what an actor answers; a signal ends the waiting as it ends Python's own, which it does not in Ray's."""
    return coming.future().result()


def _result(coming: "Future[Part | None]") -> Part | None:
    try:
        return coming.result()
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise EngineError(f"a worker was lost too often: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: RayError) -> str:
    return str(error).strip().partition("\n")[0]


def _end(board: Any, running: "Iterable[Future[Part | None]]", end_s: float) -> None:
    """Have what is under way end, and wait until it has put away what was paid."""
    with suppress(RayError):
        _wait_for(board.end.remote())
    wait(running, end_s)


def _latest(reports: Sequence[Report]) -> list[Progress]:
    """Return how far each part is, as its last attempt has told."""
    last = {report.index: report.progress for report in reports if report.progress is not None}
    return [*last.values()]


def _with(before: Mapping[str, Spending], reports: Sequence[Report]) -> dict[str, Spending]:
    """Add to what was spent before what all attempts have, lost ones too."""
    names = dict.fromkeys([*before, *(name for report in reports for name in report.spendings)])
    spent = (before, *(report.spendings for report in reports))
    return {name: total(each[name] for each in spent if name in each) for name in names}


@dataclass(kw_only=True)
class _Opened:
    """The pipeline of this worker process; it stays open until the process ends."""

    recipe: Recipe
    pipeline: Pipeline
    context: AbstractContextManager[Pipeline]


_opened: list[_Opened] = []


def _pipeline(recipe: Recipe, board: Any) -> Pipeline:
    """Return this process's pipeline; raise EngineError where it shares not with the driver's what it must."""
    found = next((each.pipeline for each in _opened if each.recipe == recipe), None)
    if found is not None:
        return found
    vision_workers.hire_elsewhere(partial(ray_vision.hire, board, recipe.model_workers, recipe.gpus_per_model))
    module, _, name = recipe.path.partition(":")
    context = getattr(importlib.import_module(module), name)(json.loads(recipe.resource_config), recipe.run_id)
    pipeline: Pipeline = context.__enter__()
    shares = pipeline.engine.shares if pipeline.engine is not None else "nothing: MMAT_ENGINE is not ray there"
    if shares != recipe.shares:
        raise EngineError(f"a worker on {ray.util.get_node_ip_address()} shares {shares}; the run has {recipe.shares}")
    _opened.append(_Opened(recipe=recipe, pipeline=pipeline, context=context))
    return pipeline
