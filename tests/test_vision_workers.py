"""Worker processes look at images in batches, decode each once, and outlive what happens to processes."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmat_dagster.processes import SECRETS
from mmat_dagster.tools import Failed, OperatorUnavailable, Sight
from resources.vision_worker import ModelSpec, Task
from resources.vision_workers import Handling, VisionWorkers, close_workers, open_workers, processes
from tests.processes import is_alive, wait_until

ROOT = Path(__file__).resolve().parents[1]
# Has one worker look and the other one sleep, tells their process ids and waits for its end.
LEAVES_WORKERS_BEHIND = """
import multiprocessing, sys, time
from pathlib import Path
from resources.vision_workers import VisionWorkers, processes
from tests.looking import hash_of
from tests.test_vision_workers import Task, handling
if __name__ == "__main__":
    workers = VisionWorkers(processes(2))
    for name in sys.argv[1:]:
        last = workers.look(Task(image=Path(name), sha256=hash_of(Path(name)), question="sleep 1"), handling())
    last.result()
    workers.look(Task(image=Path(name), sha256=hash_of(Path(name)), question="sleep 600"), handling())
    time.sleep(0.2)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""
OBEDIENT = ModelSpec(path="tests.vision_models:Obedient")
OTHER = ModelSpec(path="tests.vision_models:Obedient", arguments=(("name", "other"),))
PATIENT_S = 60.0


@pytest.fixture
def pair() -> Iterator[VisionWorkers]:
    workers = VisionWorkers(processes(2))
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def single() -> Iterator[VisionWorkers]:
    """Yield one worker that all tests share which leave it alive, or replaced."""
    workers = VisionWorkers(processes(1))
    yield workers
    workers.close()


def task(folder: Path, name: str, question: str = "", phrases: tuple[str, ...] = ()) -> Task:
    path = folder / f"{name}.png"
    if not path.exists():
        Image.new("RGB", (20, 10), (sum(name.encode()) % 256, 0, 0)).save(path)
    return Task(image=path, sha256=sha256(path.read_bytes()).hexdigest(), question=question, phrases=phrases)


def handling(spec: ModelSpec = OBEDIENT, batch_size: int = 1, timeout_s: float = PATIENT_S) -> Handling:
    return Handling(spec=spec, batch_size=batch_size, timeout_s=timeout_s)


class Gate:
    """Keeps workers busy until it is opened, so that what they are asked meanwhile waits together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, workers: VisionWorkers, number: int = 0) -> "Future[Sight | Failed]":
        """Have a worker wait at the gate; return what it sees in the end."""
        return workers.look(task(self._folder, f"gate {number}", f"await {self._folder / 'open'}"), handling())

    def open(self) -> None:
        """Let all go on."""
        (self._folder / "open").touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def seen(future: "Future[Sight | Failed]") -> Any:
    result = future.result(PATIENT_S)
    assert isinstance(result, Sight), result
    return result.details


def failure(future: "Future[Sight | Failed]") -> str:
    result = future.result(PATIENT_S)
    assert isinstance(result, Failed), result
    return result.detail


def test_an_image_is_seen_with_what_is_asked_of_it(single: VisionWorkers, tmp_path: Path) -> None:
    one = task(tmp_path, "one", phrases=("a dog", "a cat"))
    result = single.look(one, handling()).result(PATIENT_S)
    assert isinstance(result, Sight)
    assert result.text == "(20, 10) a dog, a cat"
    as_bytes = Task(image=Path(str(one.image)).read_bytes(), sha256=one.sha256)
    assert seen(single.look(as_bytes, handling()))["threads"] == ["1"]


def test_a_model_is_told_no_secret_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "s3cret")
    workers = VisionWorkers(processes(1))
    try:
        assert seen(workers.look(task(tmp_path, "one"), handling()))["secrets"] == []
    finally:
        workers.close()


def test_what_waits_is_looked_at_in_batches_of_one_model(single: VisionWorkers, gate: Gate, tmp_path: Path) -> None:
    first = gate.hold(single)
    waiting = [single.look(task(tmp_path, f"{n}"), handling(batch_size=4)) for n in range(6)]
    others = [single.look(task(tmp_path, f"{n}"), handling(OTHER, batch_size=4)) for n in range(2)]
    gate.open()
    assert seen(first)["at_once"] == 1
    assert [seen(future)["at_once"] for future in waiting] == [4, 4, 4, 4, 2, 2]
    assert [(seen(future)["at_once"], seen(future)["model"]) for future in others] == [(2, "other")] * 2


def test_an_image_that_two_models_look_at_is_decoded_once(single: VisionWorkers, tmp_path: Path) -> None:
    one = task(tmp_path, "one")
    assert seen(single.look(one, handling()))["model"] == "obedient"
    Path(str(one.image)).unlink()
    assert seen(single.look(one, handling(OTHER)))["model"] == "other"


def test_a_worker_goes_on_with_the_image_that_it_has_decoded(pair: VisionWorkers, gate: Gate, tmp_path: Path) -> None:
    held = [gate.hold(pair, number) for number in range(2)]
    images = [task(tmp_path, f"{n}", "sleep 0.05") for n in range(6)]
    futures = [(pair.look(each, handling()), pair.look(each, handling(OTHER))) for each in images]
    gate.open()
    assert all(seen(future) for future in held)
    same = [seen(one)["process"] == seen(other)["process"] for one, other in futures]
    assert sum(same) >= 4  # the two workers may begin with the same image


def test_an_image_that_has_changed_fails(single: VisionWorkers, tmp_path: Path) -> None:
    one = task(tmp_path, "seen by nobody yet")
    Image.new("RGB", (9, 9)).save(str(one.image))
    assert failure(single.look(one, handling())) == "the image has changed since its record was built"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00"])
def test_what_is_no_image_fails_beside_good_neighbours(
    single: VisionWorkers, gate: Gate, tmp_path: Path, content: bytes
) -> None:
    blocker = gate.hold(single)
    broken = single.look(Task(image=content, sha256=sha256(content).hexdigest()), handling(batch_size=3))
    absent = single.look(Task(image=tmp_path / "absent.png", sha256=""), handling(batch_size=3))
    sound = single.look(task(tmp_path, "sound"), handling(batch_size=3))
    gate.open()
    assert failure(broken)
    assert failure(absent) == "No such file or directory"
    assert seen(sound)["at_once"] == 1
    assert seen(blocker)


def test_only_the_image_that_a_model_raises_at_fails(single: VisionWorkers, gate: Gate, tmp_path: Path) -> None:
    blocker = gate.hold(single)
    asked = ["", "raise", ""]
    futures = [single.look(task(tmp_path, f"{n}", each), handling(batch_size=3)) for n, each in enumerate(asked)]
    gate.open()
    assert failure(futures[1]) == "RuntimeError: as you wish"
    assert [seen(futures[n])["at_once"] for n in (0, 2)] == [1, 1]
    assert seen(blocker)


def test_only_the_image_that_kills_its_worker_twice_fails(single: VisionWorkers, gate: Gate, tmp_path: Path) -> None:
    blocker = gate.hold(single)
    asked = ["", "die", ""]
    futures = [single.look(task(tmp_path, f"{n}", each), handling(batch_size=3)) for n, each in enumerate(asked)]
    gate.open()
    assert failure(futures[1]) == "its worker died, twice"
    assert seen(futures[0])["at_once"] == seen(futures[2])["at_once"] == 1
    assert seen(futures[0])["process"] != seen(blocker)["process"]


def test_a_worker_that_dies_once_loses_no_image(single: VisionWorkers, tmp_path: Path) -> None:
    assert seen(single.look(task(tmp_path, "one", f"die once at {tmp_path / 'marker'}"), handling()))
    assert (tmp_path / "marker").exists()


def test_a_worker_that_takes_too_long_is_replaced(pair: VisionWorkers, tmp_path: Path) -> None:
    slow = pair.look(task(tmp_path, "slow", "sleep 600"), handling(timeout_s=0.5))
    quick = [pair.look(task(tmp_path, f"{n}"), handling()) for n in range(4)]
    assert all(seen(future) for future in quick)
    assert failure(slow) == "it took longer than 0.5 s, twice"
    assert seen(pair.look(task(tmp_path, "after"), handling()))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Unloadable", "Unloadable does not load in a worker process: FileNotFoundError: no weights at hand"),
        ("Absent", "Absent does not load in a worker process: AttributeError"),
        ("Deadly", "Deadly does not load in a worker process: its worker died while it loads"),
    ],
)
def test_a_model_that_does_not_load_is_told_to_all_who_wait(
    single: VisionWorkers, tmp_path: Path, name: str, told: str
) -> None:
    spec = ModelSpec(path=f"tests.vision_models:{name}")
    futures = [single.look(task(tmp_path, f"{n}"), handling(spec)) for n in range(5)]
    for future in futures:
        with pytest.raises(OperatorUnavailable, match=f"^{told}"):
            future.result(PATIENT_S)
    assert seen(single.look(task(tmp_path, "sound"), handling()))


def test_a_process_that_cannot_be_started_is_told_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = VisionWorkers(processes(1))
    try:
        with monkeypatch.context() as patch:
            # Python lets a daemonic process have no children.
            patch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
            future = workers.look(task(tmp_path, "one"), handling())
            with pytest.raises(OperatorUnavailable, match=r"no worker process can be used: daemonic"):
                future.result(PATIENT_S)
        assert seen(workers.look(task(tmp_path, "one"), handling()))
    finally:
        workers.close()


def test_a_model_that_sees_less_than_it_is_shown_is_broken(tmp_path: Path) -> None:
    workers = VisionWorkers(processes(1))
    try:
        future = workers.look(task(tmp_path, "one"), handling(ModelSpec(path="tests.vision_models:Forgetful")))
        assert failure(future) == "its worker died, twice"
    finally:
        workers.close()


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES_WORKERS_BEHIND)
    images = [str(task(tmp_path, f"{n}").image) for n in range(2)]
    command = [sys.executable, str(script), *images]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(is_alive(pid) for pid in workers)
        parent.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in workers))


def test_who_waits_when_the_workers_are_ended_is_told(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    workers = VisionWorkers(processes(1))
    assert seen(workers.look(task(tmp_path, "first"), handling()))
    futures = [workers.look(task(tmp_path, f"{n}", "sleep 600"), handling()) for n in range(3)]
    time.sleep(0.2)
    workers.close()
    for future in [*futures, workers.look(task(tmp_path, "late"), handling())]:
        with pytest.raises(OperatorUnavailable, match="were ended"):
            future.result(PATIENT_S)
    assert set(multiprocessing.active_children()) == before


def test_a_result_that_nobody_waits_for_any_more_is_in_nobodys_way(
    single: VisionWorkers, gate: Gate, tmp_path: Path
) -> None:
    async def give_up() -> None:
        coming = asyncio.wrap_future(gate.hold(single))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(coming), 0.05)

    asyncio.run(give_up())
    cancelled = single.look(task(tmp_path, "waits"), handling())
    cancelled.cancel()
    gate.open()
    assert seen(single.look(task(tmp_path, "sound"), handling()))


def test_operators_of_one_lane_share_their_workers_until_the_last_one_leaves(tmp_path: Path) -> None:
    first, second = open_workers("test", 1), open_workers("test", 1)
    assert first is second
    close_workers("test", 1)
    assert seen(second.look(task(tmp_path, "one"), handling()))
    close_workers("test", 1)
    with pytest.raises(OperatorUnavailable):
        second.look(task(tmp_path, "one"), handling()).result(PATIENT_S)
