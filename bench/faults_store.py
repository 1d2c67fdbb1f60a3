"""Faults of the store: a bucket whose service fails, a disk that is full, files that are damaged.

What is lost or doubled is counted in the files and objects that are there, beside those of an undisturbed build.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.faults_provider import DELAY_S, doubled_by, hired, lost_in, make_job
from bench.faults_rows import Row, room, spread, wait_for
from mmat_dagster.parts import DamagedPart
from resources.store import LocalStore
from tests.s3_building import bucket_store, make, write_sources
from tests.s3_server import BUCKET, CREDENTIALS, Trouble, objects, run_proxy, run_s3
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_worker import Worker
from tests.teaching import Job, read_files

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "mmat/store"
SHARE = 0.05
KILLS = 10
# Rationales without their rejections.
RECORDS = f"rationales/*/part-*-{16 * '?'}.parquet"
# Of the files that may be damaged, about so many stand for all.
FEW = 6
# A kill hits a build, which takes some seconds longer than its imports.
KILL_S = (0.2, 3.0)
CANNOT_MOUNT = 99


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """How many objects of an undisturbed build are not there or differ, and how many there are besides."""

    wanted: int
    lost: int
    more: int


def measure_s3() -> Iterator[Row]:
    """Yield the row of a bucket whose service fails at SHARE of all requests."""
    with room() as folder, run_s3(folder) as address:
        wanted = _undisturbed(folder)
        trouble = Trouble(share=SHARE, seed=2)
        with run_proxy(address, trouble) as proxy, _talking_to(proxy):
            begun = time.monotonic()
            make(folder / "sources", bucket_store(f"s3://{BUCKET}/{PREFIX}", folder / "mirror"))
            took = time.monotonic() - begun
        found = _compare(wanted, address)
        failed = sum(trouble.done.values()) - trouble.done["well"]
        yield Row(
            fault=f"S3: {SHARE:.0%} of all requests answered 500 or 503 or cut",
            tried=f"{failed} in {sum(trouble.done.values()):,} requests, {found.wanted} objects",
            lost=f"{found.lost}",
            doubled=f"{found.more}",
            recovered=f"in the same run ({took:.0f} s)",
        )


def measure_s3_kill() -> Iterator[Row]:
    """Yield the row of SIGKILL at random moments of a build into a bucket whose service fails too."""
    dice = random.Random(4)
    with room() as folder, run_s3(folder) as address:
        wanted = _undisturbed(folder)
        with run_proxy(address, Trouble(share=SHARE, seed=5)) as proxy:
            kills, runs = 0, 0
            while kills < KILLS and runs < 2 * KILLS:
                kills, runs = kills + _build(folder, proxy, dice.uniform(*KILL_S)), runs + 1
            begun = time.monotonic()
            assert not _build(folder, proxy, None)
            took = time.monotonic() - begun
        found = _compare(wanted, address)
        yield Row(
            fault=f"S3 as above, and SIGKILL at {KILLS} random moments",
            tried=f"{kills} kills, {found.wanted} objects",
            lost=f"{found.lost}",
            doubled=f"{found.more}",
            recovered=f"{took:.0f} s of the last run",
        )


def _undisturbed(folder: Path) -> dict[str, bytes]:
    """Write the sources, build them into a folder, and return what is there but for what is this machine's alone."""
    make(write_sources(folder / "sources"), LocalStore(root=str(folder / "local")))
    paths = [path for path in (folder / "local").rglob("*") if path.is_file() and path.suffix != ".lock"]
    named = {path.relative_to(folder / "local").as_posix(): path.read_bytes() for path in paths}
    return {key: data for key, data in named.items() if not key.startswith(("files/", "locks/")) and ".lock" not in key}


def _compare(wanted: Mapping[str, bytes], address: str) -> _Compared:
    found = {key.removeprefix(f"{PREFIX}/"): data for key, data in objects(address, f"{PREFIX}/").items()}
    lost = sum(found.get(key) != data for key, data in wanted.items())
    return _Compared(wanted=len(wanted), lost=lost, more=len(found.keys() - wanted.keys()))


@contextmanager
def _talking_to(address: str) -> Iterator[None]:
    """Have boto3 talk to a service."""
    before = dict(os.environ)
    os.environ.update({**CREDENTIALS, "AWS_ENDPOINT_URL": address})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _build(folder: Path, address: str, kill_after_s: float | None) -> bool:
    """Build into the bucket, in a process of its own; return whether it was killed."""
    command = [sys.executable, "-m", "tests.s3_building", str(folder / "sources"), f"s3://{BUCKET}/{PREFIX}"]
    variables = {**CREDENTIALS, "PATH": "", "AWS_ENDPOINT_URL": address, "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(  # noqa: S603
        [*command, str(folder / "mirror")], cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.kill()
        process.communicate()
        return process.returncode == -signal.SIGKILL


def measure_disk() -> Iterator[Row]:
    """Yield the rows of a disk that is full, under the store and under the ledger: a real one, of little room."""
    for what, size in (("store", "700k"), ("ledger", "1200k")):
        with room() as folder, TeacherServer(Behaviour(delay_s=DELAY_S)) as server:
            disk = folder / "disk"
            disk.mkdir()
            job = replace(make_job(folder, server.url), part_rows=25)
            job = replace(job, store=f"{disk}/store") if what == "store" else replace(job, ledger=f"{disk}/ledger")
            full = _build_on(disk, size, job, folder / "kept", server)
            kept = replace(job, store=f"{folder}/kept/store") if what == "store" else job
            doubled = doubled_by(server)
            yield Row(
                fault=f"the disk under the {what} full; room made, run again",
                tried=f"once, after {full.requests:,} of {len(server.received):,} requests: `{full.told}`",
                lost=f"{lost_in(kept)}",
                doubled=f"{doubled}" + (": what was in flight could not be stored" if doubled else ""),
                recovered="the rerun goes on with what is there",
            )


@dataclass(frozen=True, kw_only=True)
class _Full:
    """What a job said when its disk was full, and how many requests it had sent."""

    told: str
    requests: int


def _build_on(disk: Path, size: str, job: Job, kept: Path, server: TeacherServer) -> _Full:
    """Do a job on a disk of `size`, which has to fail; enlarge it, do it again, and keep what is there."""
    first = kept.with_suffix(".first")
    run = f"{sys.executable} -m tests.teacher_worker '{json.dumps(asdict(job))}'"
    steps = (
        f"mount -t tmpfs -o size={size} tmpfs {disk} || exit {CANNOT_MOUNT}",
        f"{run} > {first}",
        f"mount -o remount,size=256m {disk}",
        f"{run} && cp -r {disk} {kept}",
    )
    command = ["unshare", "-rm", "sh", "-c", "; ".join(steps)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        wait_for(lambda: (first.exists() and first.stat().st_size > 0) or process.poll() is not None, "a full disk")
        requests = len(server.received)
        if process.wait() == CANNOT_MOUNT:
            raise RuntimeError("a small disk cannot be mounted here")
        assert process.returncode == 0
    told = json.loads(first.read_text())
    assert "error" in told, "the disk was large enough"
    return _Full(told=str(told["error"]).partition(":")[0], requests=requests)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(bytes(content))


def measure_damage() -> Iterator[Row]:
    """Yield the rows of files that a disk has damaged: cut off, or with one byte changed."""
    with hired() as worker, room() as folder, TeacherServer() as server:
        job = replace(make_job(folder, server.url), part_rows=25)
        worker.do(job)
        files = read_files(job)
        damaged = _Damaged(worker=worker, job=job, files=files, server=server)
        yield damaged.measure("manifest", "*/tabmwp/manifest.json", (_cut,))
        yield damaged.measure("part of a dataset not yet finished", "rr_dialogues/*/part-*.parquet", (_cut, _flip))
        yield damaged.measure("part of a finished dataset", RECORDS, (_cut, _flip), is_named=True)


@dataclass(frozen=True, kw_only=True)
class _Damaged:
    """Damages one file after the other of a store in which all is well, and builds again."""

    worker: Worker
    job: Job
    files: dict[str, bytes]
    server: TeacherServer

    def measure(
        self, what: str, pattern: str, damages: tuple[Callable[[Path], None], ...], *, is_named: bool = False
    ) -> Row:
        """Return the row; where `is_named`, the build has to name the file, which is then removed with its manifest."""
        found = sorted(Path(self.job.store).glob(pattern))
        paths = found[:: max(1, len(found) // FEW)]
        before, took, lost = (self.server.paid + self.server.paid_unseen).total(), [], 0
        for damage in damages:
            for path in paths:
                took.append(self._damage(path, damage, is_named=is_named))
                lost += read_files(self.job) != self.files
        again = (self.server.paid + self.server.paid_unseen).total() - before
        return Row(
            fault=f"damaged: {what}" + ("; removed as the error says" if is_named else ""),
            tried=f"{len(paths) * len(damages)} files, cut off" + (" or one byte changed" if len(damages) > 1 else ""),
            lost=f"{lost}",
            doubled=f"{again}",
            recovered=f"{spread(took)} of the rerun",
        )

    def _damage(self, path: Path, damage: Callable[[Path], object], *, is_named: bool) -> float:
        """Damage a file and build again; return how long that took."""
        if path.suffix == ".parquet":
            after = Path(self.job.store) / "rr_dialogues"
            shutil.rmtree(after) if is_named else (after / "tabmwp" / "manifest.json").unlink()
        damage(path)
        if is_named:
            self.worker.begin(self.job)
            told = self.worker.end().error
            assert told.startswith(DamagedPart.__name__), told
            path.unlink()
            (path.parent / "manifest.json").unlink()
        begun = time.monotonic()
        self.worker.do(self.job)
        return time.monotonic() - begun
