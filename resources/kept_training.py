"""A training's folder in a bucket: what another machine goes on with is put there while the training runs.

The training knows nothing of it: it works in a folder, and this looks into that, from another thread. What is put there
and in which order stands in mmat_dagster/training/kept.py.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmat_dagster.interfaces import StoreError
from mmat_dagster.roots import below
from mmat_dagster.training.kept import (
    FILES,
    LATEST,
    LOG,
    dump_listing,
    list_files,
    parse_listing,
    step_of,
    whole_checkpoints,
)
from mmat_dagster.training.spec import CHECKPOINTS, DROPPED, METRICS, OUTCOME, PLAN, last_metrics_line
from resources.bucket import Bucket
from resources.watching import watching

LOOK_EVERY_S = 1.0
TELL_EVERY_S = 5.0
LOG_BYTES = 64 << 10
# boto3's standard retries wait 20 s at most before each: enough for a service that is busy for two minutes.
ATTEMPTS = 10
HOLDING, BRINGING = ".holding-", ".bringing-"


def open_bucket_at(url: str) -> Bucket:
    """Return the objects below `url`; credentials and region are found where boto3 always finds them."""
    return Bucket(url, _client)


def _client() -> Any:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client("s3", config=Config(retries={"max_attempts": ATTEMPTS, "mode": "standard"}))


class KeptTraining:
    """What `bucket` holds of the training in `folder`; `keep_checkpoints` are held at most."""

    def __init__(self, bucket: Bucket, folder: Path, keep_checkpoints: int) -> None:
        self._bucket, self._folder, self._most = bucket, folder, keep_checkpoints
        self._told: dict[str, bytes] = {}
        self._plans: set[str] = set()
        self._steps: list[int] | None = None

    def bring(self) -> int | None:
        """Bring the newest checkpoint where the folder has none or an older one, and return its step, or None.

        Raises StoreError, and leaves nothing half brought.
        """
        self._bring_plan()
        step = max(self._kept_steps, default=-1)
        if step <= max(whole_checkpoints(self._folder), default=-1):
            return None
        self._bring_checkpoint(step)
        for name in (METRICS, DROPPED):
            _write_beside(self._folder / name, self._bucket.read(name) if self._bucket.holds(name) else b"")
        return step

    def keep(self) -> int | None:
        """Put the folder's newest whole checkpoint there, where it is new, and return its step, or None."""
        here = whole_checkpoints(self._folder)
        step = max(here, default=-1)
        if step <= max(self._kept_steps, default=-1):
            return None
        with tempfile.TemporaryDirectory(prefix=HOLDING, dir=self._folder) as held:
            try:
                checkpoint = _hold(here[step], Path(held) / "checkpoint")
            except (FileNotFoundError, shutil.Error):
                return None  # a newer one has taken its place
            self._put_checkpoint(step, checkpoint)
        self._steps = sorted([*self._kept_steps, step])[-self._most :]
        self._forget_others({f"checkpoint-{each}" for each in self._steps})
        return step

    def tell(self) -> None:
        """Put there how far the training is and what it has said last, where that has changed."""
        self._write_news(LATEST, last_metrics_line(self._folder))
        self._write_news(LOG, _tail(self._folder / LOG))

    def publish(self, result: Bucket, files: Iterable[tuple[str, Path]]) -> None:
        """Put the files of a finished checkpoint to their place `result`, and their listing to the training's."""
        files = list(files)
        for path, file in files:
            result.put(path, file)
        self._put_logs()
        self._bucket.write(FILES, dump_listing(list_files(files)))

    def end(self, outcome: bytes) -> None:
        """Put there how it ended, after all else."""
        self.tell()
        self._bucket.write(OUTCOME, outcome)

    @property
    def _kept_steps(self) -> list[int]:
        """The steps of the checkpoints that are whole there; asked for once, since nobody else puts any."""
        if self._steps is None:
            names = (key.rpartition("/")[2] for key in self._bucket.list_keys(CHECKPOINTS))
            found = [step_of(name) for name in names if name.endswith(".json")]
            self._steps = sorted(step for step in found if step is not None)
        return self._steps

    def _bring_checkpoint(self, step: int) -> None:
        name = f"{CHECKPOINTS}/checkpoint-{step}"
        place = self._folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=BRINGING, dir=self._folder) as coming:
            whole = Path(coming) / "checkpoint"
            for file in parse_listing(self._bucket.read(f"{name}.json")):
                path = below(whole, file.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._bucket.load(f"{name}/{file.path}", path)
                if path.stat().st_size != file.bytes:
                    raise StoreError(f"{self._bucket.url(f'{name}/{file.path}')} is not the file that was put there")
            shutil.rmtree(place, ignore_errors=True)
            whole.rename(place)

    def _bring_plan(self) -> None:
        for key in self._bucket.list_keys(PLAN):
            place = below(self._folder, key)
            if not place.exists():
                _write_beside(place, self._bucket.read(key))
            self._plans.add(key)

    def _put_checkpoint(self, step: int, checkpoint: Path) -> None:
        name = f"{CHECKPOINTS}/checkpoint-{step}"
        files = [
            (path.relative_to(checkpoint).as_posix(), path) for path in sorted(checkpoint.rglob("*")) if path.is_file()
        ]
        for path, file in files:
            self._bucket.put(f"{name}/{path}", file)
        self._put_logs()
        self._put_plan()
        self._bucket.write(f"{name}.json", dump_listing(list_files(files)))

    def _put_logs(self) -> None:
        for name in (METRICS, DROPPED):
            if (self._folder / name).exists():
                self._bucket.write(name, (self._folder / name).read_bytes())

    def _put_plan(self) -> None:
        for path in (self._folder / PLAN).glob("[!.]*.parquet"):
            key = f"{PLAN}/{path.name}"
            if key not in self._plans:
                self._bucket.put(key, path)
                self._plans.add(key)

    def _forget_others(self, kept: set[str]) -> None:
        """Remove older checkpoints, and what was put there of those that were never listed."""
        keys = self._bucket.walk(CHECKPOINTS)
        others = [key for key in keys if key.split("/")[1].removesuffix(".json") not in kept]
        # Listings first: what is listed is whole.
        self._bucket.delete([key for key in others if key.count("/") == 1])
        self._bucket.delete([key for key in others if key.count("/") > 1])

    def _write_news(self, name: str, data: bytes) -> None:
        if data and self._told.get(name) != data:
            self._bucket.write(name, data)
            self._told[name] = data


@contextmanager
def keeping(kept: KeptTraining, say: Callable[[str], None]) -> Iterator[None]:
    """Keep a training from another thread while the context is open, and once more at its end.

    A store that fails does not end the training: that is told to `say`, and at the next look tried again. At the end of
    one that has ended by itself it is an error, StoreError.
    """
    keeper = _Keeper(kept, say)
    try:
        with watching(keeper.look, LOOK_EVERY_S):
            yield
    except BaseException:
        keeper.try_to_keep_all()
        raise
    keeper.keep_all()


class _Keeper:
    """Keeps what a training has new, and says so."""

    def __init__(self, kept: KeptTraining, say: Callable[[str], None]) -> None:
        self._kept, self._say = kept, say
        self._tell_at = 0.0
        self._complaint = ""

    def look(self) -> None:
        """Keep a new checkpoint, and tell how far it is where it is time to; complain of a store that fails."""
        with self._complaining():
            self._keep()
            if time.monotonic() >= self._tell_at:
                self._kept.tell()
                self._tell_at = time.monotonic() + TELL_EVERY_S

    def keep_all(self) -> None:
        """Keep what is there now; raise StoreError where that cannot be."""
        self._keep()
        self._kept.tell()

    def try_to_keep_all(self) -> None:
        """Keep what is there now; complain where that cannot be."""
        with self._complaining():
            self.keep_all()

    def _keep(self) -> None:
        step = self._kept.keep()
        if step is not None:
            self._say(f"the checkpoint of step {step:,} is in the store")

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            why = str(error)
            if why != self._complaint:
                self._complaint = why
                self._say(f"nothing can be kept for now: {why}")


def say_here(line: str) -> None:
    """Write a line where the process' own lines go."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _hold(checkpoint: Path, place: Path) -> Path:
    """Return a second name of the checkpoint's files: the trainer removes its own when newer ones have come."""
    shutil.copytree(checkpoint, place, copy_function=_link)
    return place


def _link(file: str, place: str) -> None:
    try:
        os.link(file, place)
    except FileNotFoundError:
        raise
    except OSError:  # not every file system has links
        shutil.copy2(file, place)


def _write_beside(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def _tail(log: Path) -> bytes:
    """Return the last lines of a log, whole ones only."""
    if not log.exists():
        return b""
    with log.open("rb") as file:
        start = max(0, log.stat().st_size - LOG_BYTES)
        file.seek(start)
        data = file.read()
    return data.partition(b"\n")[2] if start else data
