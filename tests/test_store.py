"""Files in the store are whole or absent, and one process at a time writes a dataset."""

import multiprocessing
import tracemalloc
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from mmat_dagster.interfaces import StoreError
from resources.store import WRITING, LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(root=str(tmp_path / "store"))


def test_what_is_written_is_read(store: LocalStore) -> None:
    store.write("rr/tabmwp/a.parquet", b"one")
    store.write("rr/tabmwp/a.parquet", b"two")
    assert store.read("rr/tabmwp/a.parquet") == b"two"
    assert store.exists("rr/tabmwp/a.parquet")
    assert store.list_keys("rr/tabmwp") == ["rr/tabmwp/a.parquet"]
    store.delete("rr/tabmwp/a.parquet")
    assert not store.exists("rr/tabmwp/a.parquet")
    assert store.list_keys("rr/nothing") == []


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a/b", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device", "b")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        store.write("a/b", b"new")
    assert store.read("a/b") == b"old"
    assert [path.name for path in (Path(store.root) / "a").iterdir()] == ["b"]


def test_a_file_is_put_with_the_bytes_and_the_mode_of_any_other(store: LocalStore, tmp_path: Path) -> None:
    original = tmp_path / "model.safetensors"
    original.write_bytes(bytes(range(256)) * 10_000)
    original.chmod(0o600)
    store.put("rr_checkpoint/tabmwp/model.safetensors", original)
    assert store.read("rr_checkpoint/tabmwp/model.safetensors") == original.read_bytes()
    assert Path(store.locate("rr_checkpoint/tabmwp/model.safetensors")).stat().st_mode & 0o777 == 0o644
    assert original.exists()


def test_a_put_takes_no_memory_of_the_size_of_its_file(store: LocalStore, tmp_path: Path) -> None:
    original = tmp_path / "large"
    with original.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    store.put("a/large", original)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert Path(store.locate("a/large")).stat().st_size == 64 << 20


def test_a_put_that_fails_leaves_the_old_file_and_no_litter(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a/b", b"old")
    (tmp_path / "new").write_bytes(b"new")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device", "b")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.put("a/b", tmp_path / "new")
    assert store.read("a/b") == b"old"
    assert [path.name for path in (Path(store.root) / "a").iterdir()] == ["b"]


def test_putting_a_file_that_is_not_there_says_so(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put("a/b", tmp_path / "nothing")
    assert not store.exists("a/b")


def test_litter_of_a_killed_process_is_removed_with_the_next_lock(store: LocalStore) -> None:
    store.write("a/b", b"old")
    (Path(store.root) / "a" / f"{WRITING}xyz").write_bytes(b"half")
    with store.exclusive("a"):
        assert sorted(path.name for path in (Path(store.root) / "a").iterdir()) == [".lock", "b"]


def hold(root: str, held: Event, release: Event) -> None:
    with LocalStore(root=root).exclusive("a"):
        held.set()
        release.wait(30)


def test_a_second_process_waits_until_the_first_is_gone_even_if_killed(store: LocalStore) -> None:
    context = multiprocessing.get_context("spawn")
    first_has_it, second_has_it, never, release = (context.Event() for _ in range(4))
    first = context.Process(target=hold, args=(store.root, first_has_it, never))
    second = context.Process(target=hold, args=(store.root, second_has_it, release))
    first.start()
    assert first_has_it.wait(30)
    second.start()
    assert not second_has_it.wait(2)
    first.kill()
    assert second_has_it.wait(30)
    release.set()
    second.join(30)
    assert second.exitcode == 0
