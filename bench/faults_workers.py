"""Faults of workers: a process that looks at images killed, a training killed and gone on with."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

from PIL import Image

from bench.faults_rows import Row, room, spread, wait_for
from mmat_dagster.tools import Failed, Sight
from mmat_dagster.training.spec import RESULT, read_metrics
from resources.vision_worker import ModelSpec, Task
from resources.vision_workers import Handling, VisionWorkers, processes
from tests.learnable import HYPER, learnable_run, put_run

ROOT = Path(__file__).resolve().parents[1]
IMAGES, KILLS, AT_ONCE = 300, 10, 4
# Each image is looked at for so long.
LOOK = "sleep 0.02"
STEPS, TRAINING_KILLS, SAVED_EVERY = 40, 5, 4


def measure_operators() -> Iterator[Row]:
    """Yield the row of an operator's worker processes, killed one after the other while they look at images."""
    with room() as folder:
        workers = VisionWorkers(processes(2))
        try:
            handling = Handling(spec=ModelSpec(path="tests.vision_models:Obedient"), batch_size=AT_ONCE, timeout_s=60.0)
            seen = [workers.look(_task(folder, number), handling) for number in range(IMAGES)]
            took = [_kill_one(seen, (number + 1) * IMAGES // (KILLS + 2)) for number in range(KILLS)]
            results = [each.result(60.0) for each in seen]
        finally:
            workers.close()
        failed = sum(isinstance(each, Failed) for each in results)
        yield Row(
            fault="worker process of an operator killed",
            tried=f"{KILLS} kills, {IMAGES} images, {AT_ONCE} at a time in each of 2 workers",
            lost=f"{failed}" + (": under way at two of the kills, so it is the one that is blamed" if failed else ""),
            doubled=f"{len(results) - IMAGES} results; up to {AT_ONCE} images a kill are looked at again",
            recovered=f"{spread(took)} to the next image",
        )


def _task(folder: Path, number: int) -> Task:
    path = folder / f"{number}.png"
    Image.new("RGB", (20 + number % 100, 10 + number // 100), "white").save(path)
    return Task(image=path, sha256=sha256(path.read_bytes()).hexdigest(), question=LOOK)


def _kill_one(seen: list["Future[Sight | Failed]"], after: int) -> float:
    """Kill a worker when so many images were looked at; return how long it took until the next one was."""
    wait_for(lambda: sum(each.done() for each in seen) >= after, "the next image")
    victim = _worker_of(seen)
    before = sum(each.done() for each in seen)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: sum(each.done() for each in seen) > before, "the next image")
    return time.monotonic() - killed


def _worker_of(seen: list["Future[Sight | Failed]"]) -> int:
    """Return a worker that is alive and has looked at images; one that is killed twice as it loads has no model."""
    alive = {child.pid for child in multiprocessing.active_children()}
    results = [each.result() for each in seen if each.done()]
    told = [result.details for result in results if isinstance(result, Sight) and isinstance(result.details, dict)]
    return next(int(str(each["process"])) for each in reversed(told) if each["process"] in alive)


def measure_training() -> Iterator[Row]:
    """Yield the row of a training that is killed again and again, and goes on from its checkpoints."""
    dice = Random(0)
    with room() as folder:
        run = learnable_run(folder, hyper=replace(HYPER, max_steps=STEPS), save_every_steps=SAVED_EVERY)
        whole, killed = put_run(folder / "whole", run), put_run(folder / "killed", run)
        _train(whole, None)
        again = [_train(killed, dice.randrange(2, STEPS // TRAINING_KILLS)) for _ in range(TRAINING_KILLS)]
        begun = time.monotonic()
        _train(killed, None)
        took = time.monotonic() - begun
        is_same = _learned(whole.parent) == _learned(killed.parent)
        yield Row(
            fault=f"training killed with SIGKILL (tiny student, a checkpoint every {SAVED_EVERY} steps)",
            tried=f"{TRAINING_KILLS} kills, {STEPS} steps",
            lost="0: weights and losses are those of an undisturbed training" if is_same else "the result differs",
            doubled=f"{sum(again)} steps computed again, at most {max(again)} at a kill",
            recovered=f"{took:.0f} s of the last run, most of it imports",
        )


def _train(config: Path, kill_after: int | None) -> int:
    """Train, or go on; where it is killed so many steps after, return how many steps were behind the checkpoint."""
    folder = config.parent
    begun_at = _last_step(folder)
    command = [sys.executable, "-m", "mmat_dagster.training", "--config", str(config)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env=variables, stdout=log, stderr=log
        ) as process,
    ):
        if kill_after is None:
            assert process.wait() == 0, (folder / "log").read_text()[-2000:]
            return 0
        wait_for(lambda: _last_step(folder) >= begun_at + kill_after or process.poll() is not None, "some steps")
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        process.kill()
    return _last_step(folder) - _saved_step(folder)


def _last_step(folder: Path) -> int:
    return max((metrics.step for metrics in read_metrics(folder)), default=0)


def _saved_step(folder: Path) -> int:
    from mmat_dagster.training.process.trainer import last_checkpoint  # noqa: PLC0415  it needs torch

    latest = last_checkpoint(folder)
    return int(latest.name.rpartition("-")[2]) if latest is not None else 0


def _learned(folder: Path) -> tuple[list[tuple[int, float]], str]:
    """Return the losses of a finished training, and the SHA-256 of its weights."""
    (weights,) = (folder / RESULT).glob("*model.safetensors")
    return [(each.step, each.loss) for each in read_metrics(folder)], sha256(weights.read_bytes()).hexdigest()
