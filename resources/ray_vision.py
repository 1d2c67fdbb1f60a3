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
from ray.exceptions import GetTimeoutError, RayActorError

from mmat_dagster.processes import forget_secrets
from resources.local_operator import SHARED_LANE
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
    actors: dict[str, list[Any]] = field(default_factory=dict)

    def of(self, lane: str, count: int | None, gpus: float) -> list[Any]:
        """Return the actors of a lane: `count` of them, or one for each node."""
        if lane not in self.actors:
            actor = ray.remote(
                num_cpus=0,
                num_gpus=0 if lane == SHARED_LANE else gpus,
                max_restarts=RESTARTS,
                scheduling_strategy="SPREAD",
                runtime_env={"env_vars": {**self.variables, **dict.fromkeys(THREADS, "1")}},
            )(VisionActor)
            nodes = sum(node["Alive"] for node in ray.nodes())
            self.actors[lane] = [actor.remote() for _ in range(count or nodes)]
        return self.actors[lane]


class ActorWorker(Worker):
    """Has an actor of the cluster look."""

    def __init__(self, actor: Any) -> None:
        super().__init__()
        self._actor = actor
        self._loaded: set[ModelSpec] = set()

    def load(self, spec: ModelSpec) -> str | None:
        """Have it load a model."""
        if spec not in self._loaded:
            self._answer(self._actor.stand_by.remote(), LOAD_TIMEOUT_S)
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
    """Return the actors of `lane`, which `board` keeps, as workers."""
    return [ActorWorker(actor) for actor in ray.get(board.models.remote(lane, count, gpus))]


def _carried(task: Task) -> Task:
    """Return a task with the image's bytes; one that cannot be read here is told so by who looks."""
    if isinstance(task.image, Path):
        try:
            return replace(task, image=task.image.read_bytes())
        except OSError:
            return task
    return task
