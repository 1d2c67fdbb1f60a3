"""Many draw the same corpus as one, a longer one begins with the shorter, and nobody is left of a broken-off work."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from mmat_dagster.corpus import Work, crew, write_corpus
from mmat_dagster.corpus.crew import CHUNK, FEW, hire
from mmat_dagster.schema import SourceName
from mmat_dagster.sources import READERS

ROOT = Path(__file__).resolve().parents[1]
MANY = FEW + 30


def dice(rng: Random, number: int) -> tuple[int, int, int]:
    """Throw a die for picture `number`, and say who did."""
    return number, rng.randint(1, 1_000_000), os.getpid()


def fail_at_700(rng: Random, number: int) -> int:
    if number == 700:
        raise OSError(28, "No space left on device")
    return number


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def two() -> Iterator[crew.Crew]:
    """Return a crew of two processes, which take a moment to start."""
    with hire("0", MANY, 2) as hired:
        yield hired


def test_workers_draw_the_same_in_the_same_order_as_one_alone(two: crew.Crew) -> None:
    with hire("0", FEW - 1, 2) as alone:
        assert alone.pool is None
        expected = list(alone.draw("dice", dice, MANY))
    drawn = list(two.draw("dice", dice, MANY))
    assert [throw[:2] for throw in drawn] == [throw[:2] for throw in expected]
    assert {throw[2] for throw in expected} == {os.getpid()}
    assert os.getpid() not in {throw[2] for throw in drawn}


@pytest.mark.parametrize("pictures", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_any_number_of_pictures_is_drawn(pictures: int, two: crew.Crew) -> None:
    assert [number for number, _, _ in two.draw("dice", dice, pictures)] == list(range(pictures))


def test_who_has_enough_draws_no_more(two: crew.Crew) -> None:
    drawing = two.draw("dice", dice, 10_000_000)
    assert next(iter(drawing))[0] == 0
    assert [throw[0] for throw in two.draw("dice", dice, 2)] == [0, 1]


def test_what_a_worker_stumbles_over_is_told(two: crew.Crew) -> None:
    drawn: list[int] = []
    with pytest.raises(OSError, match="No space"):
        drawn.extend(two.draw("fails", fail_at_700, 1000))
    assert [number for number, _, _ in two.draw("dice", dice, 2)] == [0, 1]


def test_every_picture_is_reported() -> None:
    told: list[int] = []
    with hire("0", 3, 1, told.append) as hired:
        list(hired.draw("dice", dice, 3))
    assert sum(told) == 3


@pytest.mark.parametrize("source", READERS)
def test_a_longer_corpus_begins_with_the_shorter_one(source: SourceName, tmp_path: Path) -> None:
    for records in (10, 20):
        write_corpus(tmp_path / str(records), records=records, sources=[source])
    short, long = files(tmp_path / "10"), files(tmp_path / "20")
    images = [name for name in short if name.endswith(".png")]
    assert images or source == "the_cauldron"
    assert not [name for name in images if long[name] != short[name]]


@pytest.mark.long
@pytest.mark.parametrize("source", READERS)
def test_a_corpus_is_the_same_on_one_core_and_on_three(source: SourceName, tmp_path: Path) -> None:
    for workers in (1, 3):
        write_corpus(tmp_path / str(workers), records=500, sources=[source], work=Work(workers=workers))
    assert files(tmp_path / "1") == files(tmp_path / "3")


def command(out: Path, records: int) -> list[str]:
    words = f"-m mmat_dagster sample --source tabmwp --records {records} --out".split()
    return [sys.executable, *words, str(out)]


def wait_for_pictures(out: Path) -> None:
    """Wait until some pictures lie in the unfinished folder."""
    deadline = time.monotonic() + 60
    while len(list(out.glob(".tabmwp-*/tabmwp/tables/*.png"))) < CHUNK:
        assert time.monotonic() < deadline, "no picture was drawn"
        time.sleep(0.05)


def children(pid: int) -> set[int]:
    return {int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()}


def wait_for_end(pids: set[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_who_is_interrupted_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, 50_000), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_for_pictures(tmp_path)
        workers = children(process.pid)
        if number == signal.SIGINT:  # a terminal sends it to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "error: interrupted; the source that was not finished was removed\n"
    assert list(tmp_path.iterdir()) == []
    wait_for_end(workers)


def test_workers_do_not_outlive_a_killed_command(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, 50_000), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_for_pictures(tmp_path)
        workers = children(process.pid)
        process.kill()
    assert workers
    wait_for_end(workers)
    assert not (tmp_path / "tabmwp").exists()


def test_a_terminal_sees_how_far_it_is_and_a_file_does_not(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    with subprocess.Popen(
        command(tmp_path / "out", FEW), cwd=ROOT, stderr=terminal, stdout=subprocess.DEVNULL
    ) as process:
        assert process.wait(timeout=120) == 0
    os.close(terminal)
    told = b""
    while True:
        try:
            told += os.read(main, 4096)
        except OSError:  # all was read and the other end is closed
            break
    os.close(main)
    assert re.fullmatch(rb"(\rtabmwp: [\d,]+ pictures *)+\r\n", told), told
    quiet = subprocess.run(command(tmp_path / "quiet", 3), cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert quiet.stderr == b""
