"""Faults of processes: the program killed or ended, its PostgreSQL restarted, another one that dies with a lock."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

from bench.faults_provider import CONCURRENCY, DELAY_S, DIALOGUES, doubled_by, lost_in, make_job
from bench.faults_rows import Row, room, spread, wait_for
from bench.soak import Plan, environment
from mmat_dagster import parts
from mmat_dagster.schema import DatasetName
from resources.store import LocalStore
from tests import postgres
from tests.teacher_server import Behaviour, TeacherServer
from tests.teaching import Job, write_problems

ROOT = Path(__file__).resolve().parents[1]
KILLS = 10
# The next kill comes after so many requests more.
SOME = (20, 120)
ALL_OFF = "image_caption=off,label_bbox=off,ocr=off,face_detection=off"
ENDS = 3
LOCK_KILLS = 10
RESTARTS = 3
# So long PostgreSQL is away when it is restarted.
AWAY_S = 2.0
HOLDER = """
import sys, time
from resources.store import LocalStore
with LocalStore(root=sys.argv[1]).exclusive("rationales/tabmwp"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def started(command: list[str], **options: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a Python program beside this one; it ends with the block."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    ) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def measure_kill() -> Iterator[Row]:
    """Yield the row of SIGKILL at random points, the ledger in SQLite."""
    dice = Random(0)
    with room() as folder, TeacherServer(Behaviour(delay_s=DELAY_S)) as server:
        job = make_job(folder, server.url)
        restarts = [_run_and_kill(job, server, dice) for _ in range(KILLS)]
        with started(_words(job)) as program:
            said, _ = program.communicate()
            assert program.returncode == 0, said
        yield Row(
            fault=f"SIGKILL of the program at {KILLS} random moments (SQLite)",
            tried=f"{KILLS} kills, up to {CONCURRENCY} requests under way at each, {DIALOGUES} dialogues",
            lost=f"{lost_in(job)}",
            doubled=f"{doubled_by(server)} of {(server.paid + server.paid_unseen).total():,}: what was in flight",
            recovered=f"{spread(restarts)} from the new process to its first new request",
        )


def _words(job: Job) -> list[str]:
    return ["-m", "tests.teacher_worker", json.dumps(asdict(job))]


def _run_and_kill(job: Job, server: TeacherServer, dice: Random) -> float:
    """Kill the program some requests after its first one; return how long it took until that."""
    before, more = len(server.received), dice.randrange(*SOME)
    begun = time.monotonic()
    with started(_words(job)) as program:
        wait_for(lambda: len(server.received) >= before + more or program.poll() is not None, "some requests")
        assert program.poll() is None, "the program had done everything before it could be killed"
        program.kill()
    return server.received[before].at - begun


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """How the program took SIGTERM: seconds until its first request, and from the signal to its end."""

    begun_s: float
    ended_s: float


def measure_terminate() -> Iterator[Row]:
    """Yield the row of SIGTERM, which the program itself answers: run as `python -m mmat_dagster materialize`."""
    with room() as folder, TeacherServer(Behaviour(delay_s=1.0)) as server:
        (folder / "home").mkdir()
        write_problems(folder / "sources", range(1, DIALOGUES + 1))
        plan = Plan(
            dialogues=DIALOGUES,
            folder=folder,
            ledger=str(folder / "ledger.sqlite"),
            concurrency=CONCURRENCY,
            operators=ALL_OFF,
        )
        variables = environment(plan, server.url)
        ends = [_run_and_terminate(variables, server) for _ in range(ENDS)]
        with started([*MATERIALIZE], env=variables) as program:
            said, _ = program.communicate()
            assert program.returncode == 0, said
        manifests = [parts.read_manifest(LocalStore(root=str(plan.store)), each, "tabmwp") for each in DATASETS]
        named = sum(each.rejected.total() for each in manifests if each)
        kept = manifests[-1].rows if manifests[-1] else 0
        yield Row(
            fault="SIGTERM of the program",
            tried=f"{ENDS} times, {CONCURRENCY} requests under way",
            lost=f"{DIALOGUES - named - kept}",
            doubled=f"{doubled_by(server)}",
            recovered=f"ended in {spread([each.ended_s for each in ends])}, "
            f"first new request {spread([each.begun_s for each in ends])} after the next start",
        )


MATERIALIZE = ("-m", "mmat_dagster", "materialize", "rr_dialogues", "--source", "tabmwp")
DATASETS: tuple[DatasetName, ...] = ("source_qa", "rationales", "rr_dialogues")


def _run_and_terminate(variables: dict[str, str], server: TeacherServer) -> _Ended:
    before = len(server.received)
    begun = time.monotonic()
    with started([*MATERIALIZE], env=variables) as program:
        wait_for(lambda: len(server.received) >= before + 3 * CONCURRENCY, "some requests")
        program.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        program.communicate()
        return _Ended(begun_s=server.received[before].at - begun, ended_s=time.monotonic() - asked)


def measure_postgres() -> Iterator[Row]:
    """Yield the row of a ledger in PostgreSQL that is restarted again and again while a run uses it."""
    with postgres.temporary_folder() as data, room() as folder, TeacherServer(Behaviour(delay_s=DELAY_S)) as server:
        postgres.prepare(data)
        port, waits = postgres.free_port(), []
        job = replace(make_job(folder, server.url), ledger=f"postgresql://mmat@127.0.0.1:{port}/postgres")
        with ExitStack() as programs:
            keeper = _Keeper(job, programs)
            for _ in range(RESTARTS):
                with postgres.serve(data, port):
                    waits.append(_wait_for_more(keeper, server, time.monotonic()))
                time.sleep(AWAY_S)
            with postgres.serve(data, port):
                waits.append(_wait_for_more(keeper, server, time.monotonic()))
                keeper.finish()
        yield Row(
            fault=f"PostgreSQL under the ledger restarted in the middle of a run, away for {AWAY_S:g} s",
            tried=f"{RESTARTS} restarts, up to {CONCURRENCY} requests under way at each",
            lost=f"{lost_in(job)}",
            doubled=f"{doubled_by(server)}",
            recovered=f"{spread(waits[1:])} after it is back; {keeper.starts - 1} runs had to be started again",
        )


class _Keeper:
    """Keeps a job's program running: starts it again where it has failed."""

    def __init__(self, job: Job, programs: ExitStack) -> None:
        self._job, self._programs, self.starts = job, programs, 0
        self._program: subprocess.Popen[str] | None = None

    def is_running(self) -> bool:
        """Start the program where it does not run; say whether it does."""
        if self._program is None or self._program.poll() is not None:
            self._program = self._programs.enter_context(started(_words(self._job)))
            self.starts += 1
        return True

    def finish(self) -> None:
        """Wait until the job is done."""
        while self.is_running() and self._program is not None:
            self._program.communicate()
            if self._program.returncode == 0:
                return


def _wait_for_more(keeper: _Keeper, server: TeacherServer, back: float) -> float:
    """Wait for some requests more; return how long after `back` the first of them came."""
    before = len(server.received)
    wait_for(lambda: keeper.is_running() and len(server.received) >= before + SOME[1], "some requests")
    return server.received[before].at - back


def measure_locks() -> Iterator[Row]:
    """Yield the row of another process that dies while it holds a dataset's lock."""
    with room() as folder:
        waits = [_wait_for_dead(folder) for _ in range(LOCK_KILLS)]
        yield Row(
            fault="another process killed while it holds a dataset's lock",
            tried=f"{LOCK_KILLS} kills, this one waiting",
            lost="0",
            doubled="0",
            recovered=f"{1000 * max(waits):.0f} ms at most",
        )


def _wait_for_dead(folder: Path) -> float:
    """Return how long this process still waits for a lock whose holder was killed."""
    with started(["-c", HOLDER, str(folder)]) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        killed = time.monotonic()
        with LocalStore(root=str(folder)).exclusive("rationales/tabmwp"):
            return time.monotonic() - killed
