"""Parts of a stage as Ray tasks, and what a driver and its workers tell each other through a board.

    driver   carry_out(orders)  ->  a task for each, a bounded number at once; again elsewhere where a node is lost
    worker   make_part(order)   ->  the pipeline, opened once in each process, makes it and tells the board meanwhile

This file imports Ray, and is imported where Ray is used.
"""

import importlib
import json
import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
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
        self._models = ray_vision.Models(variables=variables)

    def begin(self) -> None:
        """Forget the reports of parts that are made."""
        self._reports.clear()

    def tell(self, attempt: str, report: Report) -> None:
        """Take a report."""
        self._reports[attempt] = report

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
    try:
        ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(f"the Ray cluster {address or 'of this machine'} cannot be reached: {error}") from error


def carry_out(
    orders: Sequence[PartOrder], recipe: Recipe, hands: Hands, watch: Watch, spent: dict[str, Spending]
) -> Mapping[int, Part | None]:
    """Have the parts made, and return them by index; `spent` grows by what they cost."""
    board = _board(hands)
    ray.get(board.begin.remote())
    begin = _task(hands)
    before = dict(spent)
    waiting, made = deque(orders), dict[int, Part | None]()
    running: dict[Any, PartOrder] = {}

    def look() -> None:
        reports = ray.get(board.reports.remote())
        spent.update(_with(before, reports))
        watch(_latest(reports))

    try:
        while waiting or running:
            while waiting and len(running) < (hands.at_once or _places(hands)):
                order = waiting.popleft()
                running[begin.remote(recipe, order, board)] = order
            ready, _ = ray.wait([*running], timeout=TELL_EVERY_S)
            for each in ready:
                made[running.pop(each).index] = _result(each)
            look()
    except BaseException:
        _end([*running], hands.end_s)
        with suppress(RayError):
            look()
        raise
    return made


def make_part(recipe: Recipe, order: PartOrder, board: Any) -> Part | None:
    """Make one part in a worker; None where some of its replies are pending."""
    pipeline = _pipeline(recipe, board)
    attempt, before, told_at = uuid.uuid4().hex, pipeline.spendings, time.monotonic()
    last: Progress | None = None

    def report() -> Any:
        spendings = {name: spent.since(before.get(name, Spending())) for name, spent in pipeline.spendings.items()}
        return board.tell.remote(attempt, Report(index=order.index, progress=last, spendings=spendings))

    def listen(progress: Progress) -> None:
        nonlocal last, told_at
        last = progress
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            report()

    try:
        return pipeline.make_part(order, listen)
    finally:
        with suppress(RayActorError):  # the part is there, whoever hears of it
            ray.get(report())


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


def _result(coming: Any) -> Part | None:
    try:
        part: Part | None = ray.get(coming)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise EngineError(f"a worker was lost too often: {type(error).__name__}: {_first_line(error)}") from error
    return part


def _first_line(error: RayError) -> str:
    return str(error).strip().partition("\n")[0]


def _end(running: list[Any], end_s: float) -> None:
    """Interrupt what is under way, as Ctrl-C does, and wait until it has put away what was paid."""
    for each in running:
        ray.cancel(each, force=False)
    if running:
        ray.wait(running, num_returns=len(running), timeout=end_s)
    for each in running:
        with suppress(RayError, TaskCancelledError):
            ray.get(each, timeout=0)


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
