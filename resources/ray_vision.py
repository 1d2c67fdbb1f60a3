"""Models that look at images as Ray actors, which all workers of a cluster share.

    worker process   VisionWorkers: batches, retries  ->  ActorWorker  ->  a VisionActor, here or on another machine

An actor counts for no CPU, so that parts, which count for one each, never wait in vain for it; larger models take the
share of a GPU that they are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from mmat_dagster.engine import EngineError
from mmat_dagster.processes import forget_secrets
from resources.local_operator import SHARED_LANE
from resources.ray_room import Room, look_around
from resources.vision_worker import THREADS, Desk, Loaded, LookAt, ModelSpec, Task, Unavailable
from resources.vision_workers import LOAD_TIMEOUT_S, Lost, Result, Worker

# An actor that dies, or whose machine is lost, is started again for as long as there is work.
RESTARTS = -1


class VisionActor:
    """Holds the models of one lane; loads each when it is first asked for."""

    def __init__(self) -> None:
        forget_secrets()
        self._desk = Desk()

    @ray.method(max_task_retries=RESTARTS)  # type: ignore[untyped-decorator]
    def stand_by(self) -> None:
        """Return; who asks while the actor is being started again waits for it."""

    def load(self, spec: ModelSpec) -> Loaded | Unavailable:
        """Load a model."""
        return self._desk.load(spec)

    def look(self, spec: ModelSpec, tasks: tuple[Task, ...]) -> Sequence[Result]:
        """Return what the model sees in each image."""
        return self._desk.look(LookAt(spec=spec, tasks=tasks))


@dataclass(kw_only=True)
class Models:
    """The actors of each lane, started by who keeps them: they end with it."""

    variables: Mapping[str, str]
    may_grow: bool | None = None
    actors: dict[str, list[Any]] = field(default_factory=dict)
    # Of each lane that had to wait for GPUs when it was started: for what, and the answers of actors that are there.
    _awaiting: dict[str, tuple[str, list[Any]]] = field(default_factory=dict)
    _on_gpus: int = 0

    def of(self, lane: str, count: int | None, gpus: float) -> list[Any]:
        """Return the actors of a lane: `count` of them, or one for each node, but no more than GPUs have room for.

        Raises EngineError where they have room for none and never will.
        """
        if lane not in self.actors:
            wished = count or sum(node["Alive"] for node in ray.nodes())
            if lane == SHARED_LANE or not gpus:
                self.actors[lane] = self._start(wished, 0.0)
            else:
                self.actors[lane] = self._start_on_gpus(lane, wished, gpus)
        return self.actors[lane]

    def awaited(self) -> str | None:
        """Return for what models wait now; None where they need not."""
        for lane, (what, coming) in [*self._awaiting.items()]:
            if ray.wait(coming, timeout=0)[0]:
                del self._awaiting[lane]
            else:
                return what
        return None

    def _start_on_gpus(self, lane: str, wished: int, gpus: float) -> list[Any]:
        room = look_around("GPU", self.may_grow)
        left = room.places(gpus) - self._on_gpus
        if not room.may_grow:
            if left <= 0:
                raise EngineError(_too_few(room, gpus))
            wished = min(wished, left)
        actors = self._start(wished, gpus)
        self._on_gpus += wished
        awaited = room.awaited(gpus)
        if awaited:
            self._awaiting[lane] = (
                f"the model of {lane} waits for {awaited}",
                [each.stand_by.remote() for each in actors],
            )
        return actors

    def _start(self, count: int, gpus: float) -> list[Any]:
        actor = ray.remote(
            num_cpus=0,
            num_gpus=gpus,
            max_restarts=RESTARTS,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {**self.variables, **dict.fromkeys(THREADS, "1")}},
        )(VisionActor)
        return [actor.remote() for _ in range(count)]


def _too_few(room: Room, gpus: float) -> str:
    if room.places(gpus):
        why = f"the Ray cluster's {sum(room.machines):g} GPUs are full with other models of this run"
    else:
        why = f"no machine of the Ray cluster has as many GPUs ({room.most})"
    return f"MMAT_RAY_GPUS is {gpus:g}: {why}, and none is started by itself. Lower it, or unset it to use CPUs"


class ActorWorker(Worker):
    """Has an actor of the cluster look."""

    def __init__(self, actor: Any) -> None:
        super().__init__()
        self._actor = actor
        self._loaded: set[ModelSpec] = set()

    def load(self, spec: ModelSpec) -> str | None:
        """Have it load a model."""
        if spec not in self._loaded:
            if not self._stands_by():
                return f"the Ray cluster had no room for it within {LOAD_TIMEOUT_S:g} s"
            told = self._answer(self._actor.load.remote(spec), LOAD_TIMEOUT_S)
            if isinstance(told, Unavailable):
                return told.detail
            self._loaded.add(spec)
        return None

    def look(self, spec: ModelSpec, tasks: tuple[Task, ...], timeout_s: float) -> Sequence[Result]:
        """Send it the images, which need not be on its machine."""
        seen: Sequence[Result] = self._answer(self._actor.look.remote(spec, tuple(map(_carried, tasks))), timeout_s)
        return seen

    def kill(self) -> None:
        """Leave the actor to the others."""

    def drop(self) -> None:
        """Forget what it knew; Ray starts it again."""
        self._loaded.clear()
        self.images.clear()

    def _stands_by(self) -> bool:
        """Wait until the actor is there: it may be started again just now, or wait for a GPU."""
        try:
            ray.get(self._actor.stand_by.remote(), timeout=LOAD_TIMEOUT_S)
        except GetTimeoutError:
            return False
        except RayActorError:
            raise Lost("its worker died") from None
        return True

    def _answer(self, coming: Any, timeout_s: float) -> Any:
        try:
            return ray.get(coming, timeout=timeout_s)
        except GetTimeoutError:
            ray.kill(self._actor, no_restart=False)
            why = f"it took longer than {timeout_s:g} s"
        except RayActorError:
            why = "its worker died"
        self.drop()
        raise Lost(why)


def hire(board: Any, count: int | None, gpus: float, lane: str, wished: int) -> Sequence[Worker]:  # noqa: ARG001
    """Return the actors of `lane`, which `board` keeps, as workers; raise EngineError where there is room for none."""
    try:
        actors = ray.get(board.models.remote(lane, count, gpus))
    except RayTaskError as error:
        raise error.cause from None
    return [ActorWorker(actor) for actor in actors]


def _carried(task: Task) -> Task:
    """Return a task with the image's bytes; one that cannot be read here is told so by who looks."""
    if isinstance(task.image, Path):
        try:
            return replace(task, image=task.image.read_bytes())
        except OSError:
            return task
    return task
