"""Parts of a stage as Ray tasks, and what a driver and its workers tell each other through a board.

    driver   carry_out(orders)  ->  a task for each, a bounded number at once; again elsewhere where a node is lost
    worker   make_part(order)   ->  the pipeline, opened once in each process, makes it and tells the board meanwhile

This file imports Ray, and is imported where Ray is used.
"""

import importlib
import json
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmat_dagster.engine import EngineError, PartOrder
from mmat_dagster.parts import Part
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import Progress
from mmat_dagster.spending import Spending
from resources import ray_vision, vision_workers
from resources.ray_news import Audience, Follower, News, Report
from resources.ray_room import Room, look_around
from resources.ray_token import shows_token

TELL_EVERY_S = 1.0
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
    """How parts are handed out; `variables` are set in each worker's environment.

    `may_grow` says whether machines may join the cluster; None where it tells by itself.
    """

    cpus: float
    at_once: int | None
    lost_workers: int
    end_s: float
    may_grow: bool | None
    variables: Mapping[str, str]


class Board:
    """Keeps the last report of each attempt, and the actors with models, for the time that a driver is there."""

    def __init__(self, variables: Mapping[str, str], may_grow: bool | None) -> None:
        self._reports: dict[str, Report] = {}
        self._goes_on = True
        self._models = ray_vision.Models(variables=variables, may_grow=may_grow)

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

    def news(self) -> News:
        """Return what a driver should know."""
        return News(reports=[*self._reports.values()], awaited=self._models.awaited())

    def models(self, lane: str, count: int | None, gpus: float) -> list[Any]:
        """Return the actors of a lane; the first who asks has them started."""
        return self._models.of(lane, count, gpus)


def carry_out(
    orders: Sequence[PartOrder], recipe: Recipe, hands: Hands, audience: Audience
) -> Mapping[int, Part | None]:
    """Have the parts made, and return them by index; the audience's `spent` grows by what they cost."""
    room = _room(hands)
    board = _board(hands)
    _begin(board)
    begin = _task(hands)
    waiting, made = deque(orders), dict[int, Part | None]()
    running: dict[Future[Part | None], PartOrder] = {}
    follower = Follower(audience, room.awaited(hands.cpus))

    def look() -> None:
        follower.hear(_wait_for(board.news.remote()))

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


def _begin(board: Any) -> None:
    """Have the board begin; raise EngineError where it cannot be started on the run's machine."""
    try:
        _wait_for(board.begin.remote())
    except RayActorError as error:
        # A process that shows a token also wants to be shown one.
        token = "; where it asks for no token, unset RAY_AUTH_MODE" if shows_token(os.environ) else ""
        last = str(error).strip().splitlines()[-1].strip()
        raise EngineError(f"the Ray cluster starts no worker for this run{token}. It says: {last}") from error


def _room(hands: Hands) -> Room:
    """Return the room for parts; raise EngineError where there is none and never will be."""
    room = look_around("CPU", hands.may_grow)
    if not room.places(hands.cpus) and not room.may_grow:
        raise EngineError(
            f"no machine of the Ray cluster has the {hands.cpus:g} CPUs of a part ({room.most}), and none is started "
            "by itself: add one, or lower cpus_per_part"
        )
    return room


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
        _boards[key] = actor.remote(hands.variables, hands.may_grow)
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
