"""What runs in a worker process that looks at images: models of one thread each, and a watch on who started it.

    order    Load(spec)                 ->  Loaded | Unavailable
             LookAt(spec, tasks)        ->  one Sight or Failed for each task

Imports no model and nothing heavy: a model's package is imported when the model is loaded.
"""

import hashlib
import importlib
import logging
import os
import signal
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from mmat_dagster.pixels import read_rgb
from mmat_dagster.processes import end_with_parent, forget_secrets
from mmat_dagster.tools import Failed, Sight

# Every library that models use counts its threads by one of these, when it is imported.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# Decoded images that are kept for the next model that looks at them.
KEPT_IMAGES = 8
KEPT_PIXELS = 32_000_000

Argument: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model a worker loads: a subclass of VisionModel as `module:Class`, and its keyword arguments."""

    path: str
    arguments: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """One image for a model, as a file or as bytes, the SHA-256 that its bytes must have, and what is asked of it."""

    image: Path | bytes
    sha256: str
    question: str = ""
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One decoded image for a model: upright RGB pixels, and what is asked of it."""

    image: Image.Image
    question: str = ""
    phrases: tuple[str, ...] = ()


class VisionModel(ABC):
    """A model that lives in a worker process. Its constructor loads it, and raises whatever keeps it from loading."""

    @abstractmethod
    def look(self, glances: Sequence[Glance]) -> Sequence[Sight]:
        """Return what is found in each image, in their order; what it raises fails the batch, then its images alone."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load a model."""

    spec: ModelSpec


@dataclass(frozen=True, kw_only=True)
class LookAt:
    """Look at images, all with one model that is loaded."""

    spec: ModelSpec
    tasks: tuple[Task, ...]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The model is there."""


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Why a model cannot be loaded."""

    detail: str


def serve(connection: Connection) -> None:
    """Carry out orders until the other end is closed."""
    # Ctrl-C reaches the whole group of processes: whoever started this one decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One that ignores this hands that down, and would wait at its own end for this one, which it asks to end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    forget_secrets()
    for name in THREADS:
        os.environ[name] = "1"
    desk = Desk()
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(desk.load(order.spec) if isinstance(order, Load) else desk.look(order))


@dataclass(kw_only=True)
class Desk:
    """The models of this process, and the images that it decoded last."""

    models: dict[ModelSpec, VisionModel] = field(default_factory=dict)
    images: "OrderedDict[str, Image.Image]" = field(default_factory=OrderedDict)

    def load(self, spec: ModelSpec) -> Loaded | Unavailable:
        """Load a model, unless it is."""
        try:
            self._model(spec)
        except Exception as error:
            logging.getLogger(__name__).debug("a model does not load", exc_info=True)
            return Unavailable(detail=_told(error))
        return Loaded()

    def look(self, order: LookAt) -> list[Sight | Failed]:
        """Return what a model sees, which is loaded first where it is not."""
        decoded = [self._decode(task) for task in order.tasks]
        sound = [glance for glance in decoded if isinstance(glance, Glance)]
        seen = iter(_look(self._model(order.spec), sound))
        return [next(seen) if isinstance(glance, Glance) else glance for glance in decoded]

    def _model(self, spec: ModelSpec) -> VisionModel:
        if spec not in self.models:
            module, _, name = spec.path.partition(":")
            model = getattr(importlib.import_module(module), name)(**dict(spec.arguments))
            assert isinstance(model, VisionModel)
            self.models[spec] = model
        return self.models[spec]

    def _decode(self, task: Task) -> Glance | Failed:
        try:
            image = self._pixels(task)
        except OSError as error:
            return Failed(detail=error.strerror or str(error))
        return Glance(image=image, question=task.question, phrases=task.phrases)

    def _pixels(self, task: Task) -> Image.Image:
        kept = self.images.pop(task.sha256, None)
        if kept is None:
            content = task.image if isinstance(task.image, bytes) else task.image.read_bytes()
            if hashlib.sha256(content).hexdigest() != task.sha256:
                raise OSError("the image has changed since its record was built")
            kept = read_rgb(content)
        self.images[task.sha256] = kept
        while len(self.images) > 1 and self._is_full():
            self.images.popitem(last=False)
        return kept

    def _is_full(self) -> bool:
        pixels = sum(image.width * image.height for image in self.images.values())
        return len(self.images) > KEPT_IMAGES or pixels > KEPT_PIXELS


def _look(model: VisionModel, glances: Sequence[Glance]) -> list[Sight | Failed]:
    """Look at a batch; where it fails, at each image alone, so that only the image to blame does."""
    if not glances:
        return []
    try:
        seen = list(model.look(glances))
    except Exception as error:  # noqa: BLE001  whatever a model raises, its neighbours are looked at
        if len(glances) == 1:
            return [Failed(detail=_told(error))]
        return [result for glance in glances for result in _look(model, [glance])]
    assert len(seen) == len(glances), f"{type(model).__name__} saw {len(seen)} of {len(glances)} images"
    return [*seen]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
