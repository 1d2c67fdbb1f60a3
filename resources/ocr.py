"""OCR by RapidOCR: PP-OCR, the paper's model family, on onnxruntime, in worker processes."""

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import dagster as dg
from pydantic import Field, PrivateAttr

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Operator, OperatorFailed, Pictures
from mmat_dagster.operators.observation import MAX_CHARS, by_image
from mmat_dagster.schema import Sample
from mmat_dagster.tools import OperatorUnavailable
from resources import ocr_worker

NO_TEXT = "no text found"
REMEMBERED = 1024


class Workers:
    """Worker processes that start with the first image, and are replaced where one of them dies.

    Threads wait for them, so that neither an event loop's end nor a caller's cancellation touches work that others
    wait for, too.
    """

    def __init__(self, count: int, upscale_below_px: int) -> None:
        """Remember how many there shall be; none is started yet."""
        self._count, self._upscale_below_px = count, upscale_below_px
        self._starting, self._alone = threading.Lock(), threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._is_closed = False
        # Twice as many as workers: while one waits for a result, another has the next image queued.
        self._threads = ThreadPoolExecutor(2 * count, thread_name_prefix="ocr")

    def read(self, path: Path) -> Future[str]:
        """Return the coming text of an image: an OperatorFailed where it cannot be read."""
        return self._threads.submit(self._read, path)

    def close(self) -> None:
        """End the workers; what is under way is finished, what waits is dropped."""
        with self._starting:
            self._is_closed = True
            pool, self._pool = self._pool, None
        self._threads.shutdown(wait=False, cancel_futures=True)
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        self._threads.shutdown()

    def _read(self, path: Path) -> str:
        pool = self._started()
        try:
            return self._read_in(pool, path)
        except BrokenProcessPool:
            self._drop(pool)
        return self._read_alone(path)

    def _read_alone(self, path: Path) -> str:
        """Read an image whose worker died in a process of its own: only the image to blame can fail there."""
        try:
            with self._alone, _processes(1) as pool:
                return self._read_in(pool, path)
        except BrokenProcessPool as error:
            raise OperatorFailed(f"ocr: a worker died twice over {path.name}") from error

    def _read_in(self, pool: ProcessPoolExecutor, path: Path) -> str:
        result = pool.submit(ocr_worker.recognise, str(path), self._upscale_below_px).result()
        if isinstance(result, ocr_worker.Failure):
            raise OperatorFailed(f"ocr: {path.name}: {result.detail}")
        return result

    def _started(self) -> ProcessPoolExecutor:
        with self._starting:
            if self._is_closed:
                raise OperatorUnavailable("the OCR workers were ended")
            if self._pool is None:
                self._pool = _started_processes(self._count)
            return self._pool

    def _drop(self, pool: ProcessPoolExecutor) -> None:
        """Let go of a broken pool: the first of all who found it broken does, as shutting it down twice at once
        closes a file descriptor twice, which may be another pool's by then.
        """
        with self._starting:
            is_first = self._pool is pool
            if is_first:
                self._pool = None
        if is_first:
            pool.shutdown()


class RapidOCR(dg.ConfigurableResource[Operator], Operator):
    """Reads the text of images, line by line; its workers start with the first image and end with the run."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = "reads the text in the image, line by line, such as tables, signs, receipts and labels"

    workers: int = Field(default=0, ge=0, description="Worker processes of one thread each; 0: one per core.")
    upscale_below_px: int = Field(default=600, ge=0, description="Images with a smaller long side are doubled first.")
    max_chars: int = Field(default=MAX_CHARS, gt=20, description="Longer text is cut, and the cut marked.")

    _workers: Workers | None = PrivateAttr(default=None)
    _texts: dict[str, Future[str]] = PrivateAttr(default_factory=dict)
    _changing: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def version(self) -> str:
        """Package versions, the worker's code and the parameters that decide the text."""
        packages = " ".join(f"{name} {version(name)}" for name in ("rapidocr", "onnxruntime"))
        worker = fingerprint([Path(ocr_worker.__file__).read_text("utf-8")])
        return f"{packages} worker {worker} upscale_below_px={self.upscale_below_px} max_chars={self.max_chars}"

    def offers(self, sample: Sample) -> bool:
        """Say whether there is an image to read."""
        return bool(sample.images)

    async def observe(self, sample: Sample, pictures: Pictures) -> str:
        """Return the recognised text: pieces of a line joined by ` | `, lines by `; `."""
        coming = [self._recall(image.sha256, pictures.locate(sample.source, image)) for image in sample.images]
        texts = await asyncio.gather(*(asyncio.shield(asyncio.wrap_future(text)) for text in coming))
        return by_image([text or NO_TEXT for text in texts], self.max_chars)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End the workers."""
        with self._changing:
            workers, self._workers = self._workers, None
            self._texts.clear()
        if workers is not None:
            workers.close()

    def _recall(self, sha256: str, path: Path) -> Future[str]:
        """Return the text of an image, read once: questions that follow each other often ask about the same one."""
        with self._changing:
            text = self._texts.pop(sha256, None)
            if text is None or _failed(text):
                text = self._started().read(path)
            self._texts[sha256] = text
            if len(self._texts) > REMEMBERED:
                del self._texts[next(iter(self._texts))]
            return text

    def _started(self) -> Workers:
        if self._workers is None:
            self._workers = Workers(self.workers or len(os.sched_getaffinity(0)), self.upscale_below_px)
        return self._workers


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        max_workers=count, mp_context=multiprocessing.get_context("spawn"), initializer=ocr_worker.start
    )


def _started_processes(count: int) -> ProcessPoolExecutor:
    """Return processes of which one has loaded the model, so that what would fail with every image fails here."""
    pool = _processes(count)
    try:
        pool.submit(ocr_worker.load).result()
    except Exception as error:
        # Whatever it is that the engine raises, no image can be read.
        pool.shutdown(wait=False)
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise OperatorUnavailable(f"The OCR workers do not start ({what}); their own words stand above.") from error
    return pool


def _failed(text: Future[str]) -> bool:
    return text.done() and (text.cancelled() or text.exception() is not None)
