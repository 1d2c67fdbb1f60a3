"""An operator whose model lives in worker processes of this machine."""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.operators.looking import for_each
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.processes import cores
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from resources import vision_worker
from resources.vision_worker import ModelSpec, Task
from resources.vision_workers import Handling, VisionWorkers, close_workers, open_workers

SHARED_LANE = "processor"
# The engine's files that decide what a model gets to see and how its results are told.
LOOKED_AT_BY = ("pixels.py", "operators/findings.py", "operators/reading_order.py")


class LocalOperator(dg.ConfigurableResource[Operator], Operator):
    """Looks at images with a VisionModel; its workers start with the first image and end with the run.

    A subclass says which model that is, and which packages and source files decide what it sees.
    """

    workers: int = Field(default=0, ge=0, description="Worker processes of one thread each; 0: one per core.")
    batch_size: int = Field(default=1, gt=0, description="Images that a worker looks at at once.")
    timeout_s: float = Field(
        default=120.0, gt=0, description="A worker that takes longer for an image is replaced, and the image retried."
    )
    max_chars: int = Field(default=MAX_CHARS, gt=20, description="A longer observation is cut, and the cut marked.")

    _workers: VisionWorkers | None = PrivateAttr(default=None)

    @property
    @abstractmethod
    def model(self) -> ModelSpec:
        """Which model a worker loads."""

    @property
    @abstractmethod
    def packages(self) -> Sequence[str]:
        """The installed packages that decide what the model sees."""

    @property
    def lane(self) -> str:
        """Operators on the same lane share their worker processes."""
        return SHARED_LANE

    @property
    def version(self) -> str:
        """Packages, the model's own code and its settings."""
        return self._version

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Hand the images to the workers; other work of this event loop goes on meanwhile."""
        return await for_each(self._see, looks)

    async def _see(self, look: Look) -> Sight | Failed:
        coming = self._opened().look(_task(look), self._handling)
        # Whoever gives up takes the result from nobody.
        return await asyncio.shield(asyncio.wrap_future(coming))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Give the workers back."""
        if self._workers is not None:
            self._workers = None
            close_workers(self.lane, self._count)

    @property
    def _count(self) -> int:
        return self.workers or cores()

    @cached_property
    def _handling(self) -> Handling:
        return Handling(spec=self.model, batch_size=self.batch_size, timeout_s=self.timeout_s)

    @cached_property
    def _version(self) -> str:
        packages = " ".join(map(self._package, self.packages))
        settings = "".join(f" {name}={value}" for name, value in self.model.arguments)
        return f"{packages} code {_code(self.model.path)}{settings}"

    def _package(self, name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            needed = f"{type(self).__name__} needs the package {name}"
            raise OperatorUnavailable(f"{needed}: see docs/operators.md for the extra that brings it") from None

    def _opened(self) -> VisionWorkers:
        if self._workers is None:
            self._workers = open_workers(self.lane, self._count)
        return self._workers


def _task(look: Look) -> Task:
    return Task(image=look.image, sha256=look.sha256, question=look.question, phrases=look.phrases)


def _code(path: str) -> str:
    """Return the fingerprint of a model's own module, and of what brings images to it and puts its words in order."""
    own = find_spec(path.partition(":")[0])
    assert own is not None
    assert own.origin is not None
    files = (own.origin, vision_worker.__file__)
    return fingerprint([*(Path(file).read_text("utf-8") for file in files), code_fingerprint(*LOOKED_AT_BY)])
