"""Parts and manifests that a disk has damaged: made again from the ledger, or told of, and never taken for data."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmat_dagster.parts import DamagedPart
from mmat_dagster.schema import DatasetName
from tests.teacher_server import TeacherServer
from tests.teaching import Job, build, read_files, write_problems

Damage = Callable[[Path], object]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x55
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A store in which all is well, and what built it."""

    job: Job
    server: TeacherServer
    files: dict[str, bytes]
    asked: int


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    folder = tmp_path_factory.mktemp("sound")
    with TeacherServer() as server:
        job = Job(
            sources=str(write_problems(folder / "sources", range(1, 13))),
            store=str(folder / "store"),
            url=server.url,
            ledger=str(folder / "ledger.sqlite"),
            part_rows=4,
        )
        build(job)
        shutil.copytree(job.store, folder / "sound")
        yield Sound(job=job, server=server, files=read_files(job), asked=len(server.received))


@pytest.fixture
def sound(built: Sound) -> Sound:
    shutil.rmtree(built.job.store)
    shutil.copytree(Path(built.job.store).parent / "sound", built.job.store)
    return built


def folder_of(sound: Sound, dataset: DatasetName) -> Path:
    return Path(sound.job.store) / dataset / "tabmwp"


def second_part(sound: Sound, dataset: DatasetName, suffix: str = ".parquet") -> Path:
    (path,) = (
        path
        for path in folder_of(sound, dataset).glob(f"part-00001-*{suffix}")
        if path.name.count(".") == suffix.count(".")
    )
    return path


def check_made_again(sound: Sound) -> None:
    """Check that a build brings back what was there, and that nothing is asked again."""
    build(sound.job)
    assert read_files(sound.job) == sound.files
    assert len(sound.server.received) == sound.asked


@pytest.mark.parametrize("damage", [cut, empty])
@pytest.mark.parametrize("dataset", ["source_qa", "rationales", "rr_dialogues"])
def test_a_manifest_that_cannot_be_read_is_made_again(sound: Sound, dataset: DatasetName, damage: Damage) -> None:
    damage(folder_of(sound, dataset) / "manifest.json")
    check_made_again(sound)


@pytest.mark.parametrize("damage", [flip, cut, empty])
@pytest.mark.parametrize("suffix", [".parquet", ".rejected.parquet"])
def test_a_damaged_part_of_a_dataset_that_is_not_finished_is_made_again(
    sound: Sound, suffix: str, damage: Damage
) -> None:
    (folder_of(sound, "rr_dialogues") / "manifest.json").unlink()
    damage(second_part(sound, "rr_dialogues", suffix))
    check_made_again(sound)


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_part_of_a_finished_dataset_is_told_of_and_made_again_as_told(sound: Sound, damage: Damage) -> None:
    part = second_part(sound, "rationales")
    damage(part)
    shutil.rmtree(folder_of(sound, "rr_dialogues"))
    with pytest.raises(DamagedPart, match=rf"{part.name} of the store is damaged: .* run again"):
        build(sound.job)
    part.unlink()
    (folder_of(sound, "rationales") / "manifest.json").unlink()
    check_made_again(sound)
