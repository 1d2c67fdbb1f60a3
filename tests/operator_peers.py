"""Operators to serve, images to send, and a real HTTP server on loopback for any ASGI application."""

import asyncio
import hashlib
import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from mmat_dagster.pixels import read_rgb
from mmat_dagster.tools import Failed, Look, Operator, OperatorUnavailable, Sight

START_S = 10.0
STOP_S = 10.0


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
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, timeout_keep_alive=30)
    peer = _Server(config)
    thread = threading.Thread(target=peer.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        if not peer.up.wait(START_S):
            raise TimeoutError(f"the server did not start in {START_S:g} s")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        peer.should_exit = True
        thread.join(STOP_S)
        listener.close()
    if thread.is_alive():
        raise TimeoutError(f"the server did not stop in {STOP_S:g} s")


class _Server(uvicorn.Server):
    """Tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()
