"""Operators to serve, images to send, and a real HTTP server on loopback for any ASGI application."""

import asyncio
import hashlib
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from mmat_dagster.pixels import read_rgb
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight
from tests.loopback import Served, Server


class Measuring(Operator):
    """Decodes images as models' workers do, tells their size and what it was asked, and keeps the looks."""

    name: ClassVar[str] = "measure"
    purpose: ClassVar[str] = "tells how large the image is"

    def __init__(self, version: str = "measure 1") -> None:
        self.told_version = version
        self.looks: list[Look] = []

    @property
    def version(self) -> str:
        return self.told_version

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        self.looks += looks
        return [self._measure(look) for look in looks]

    def _measure(self, look: Look) -> Sight | Failed:
        try:
            image = read_rgb(look.image)
        except OSError as error:
            return Failed(detail=str(error))
        asked = " ".join((look.question, *look.phrases)).strip()
        return Sight(text=f"{image.width}x{image.height} {asked}".strip(), details={"size": [*image.size]})


class Waiting(Operator):
    """Looks until it is let go; counts who is looked at, at most at once, and who gave up."""

    name: ClassVar[str] = "wait"
    purpose: ClassVar[str] = "waits"
    version = "wait 1"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.looking = self.most = self.cancelled = 0

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        self.looking += 1
        self.most = max(self.most, self.looking)
        self.begun.release()
        try:
            while not self.go.is_set():  # noqa: ASYNC110  the event is a thread's
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.looking -= 1
        return [Sight(text="waited")] * len(looks)


class Speaking(Operator):
    """Returns or raises what it was given."""

    name: ClassVar[str] = "speak"
    purpose: ClassVar[str] = "says what it was told to say"
    version = "speak 1"

    def __init__(self, said: Sight | Failed | Exception) -> None:
        self.said = said

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        if isinstance(self.said, Exception):
            raise self.said
        return [self.said] * len(looks)


class Unversioned(Speaking):
    """Cannot even tell its version."""

    @property
    def version(self) -> str:  # type: ignore[override]
        raise OperatorUnavailable("the model is not installed")


def picture(width: int = 40, height: int = 30, kind: str = "PNG", mode: str = "RGB", color: str = "white") -> bytes:
    """Return the bytes of a plain image."""
    content = io.BytesIO()
    Image.new(mode, (width, height), color).save(content, kind)
    return content.getvalue()


def look_at(image: bytes, question: str = "", phrases: tuple[str, ...] = ()) -> Look:
    """Return a look at an image, its hash being right."""
    return Look(image=image, sha256=hashlib.sha256(image).hexdigest(), question=question, phrases=phrases)


@contextmanager
def running(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve `app` in a thread on loopback and yield its URL."""
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, timeout_keep_alive=30)
    with Served(Server(config), "server of operators", port) as served:
        yield served.address
