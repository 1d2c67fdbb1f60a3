"""A store in a bucket does what one in a folder does, whatever happens to its requests."""

import io
import multiprocessing
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dagster_aws.s3 import S3Resource

from mmat_dagster import parts
from mmat_dagster.environment import BadEnvironment, read_environment
from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.release.publishing import read_release
from resources import bucket
from resources.s3_store import S3Store
from resources.store import LocalStore
from resources.stores import open_store
from tests import postgres, s3_server
from tests.s3_building import SOURCES, bucket_store, make, write_sources
from tests.s3_server import BUCKET, CREDENTIALS, Trouble, connect, objects, run_proxy

ROOT = Path(__file__).resolve().parents[1]
URL = f"s3://{BUCKET}/mmat/store"
s3, empty = s3_server.s3, s3_server.empty
postgres_url = postgres.postgres_url


@pytest.fixture(params=["folder", "bucket", "bucket in trouble"])
def store(request: pytest.FixtureRequest, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "folder":
        yield LocalStore(root=str(tmp_path / "store"))
        return
    with run_proxy(s3, Trouble(share=0.2 if "trouble" in request.param else 0.0, seed=1)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield bucket_store(URL, tmp_path / "mirror")


def test_what_is_written_is_read_listed_and_removed(store: Store, tmp_path: Path) -> None:
    store.write("rr/tabmwp/a.parquet", b"one")
    store.write("rr/tabmwp/a.parquet", b"two")
    store.write("rr/tabmwp/deep/er.txt", b"three")
    assert store.read("rr/tabmwp/a.parquet") == b"two"
    assert store.exists("rr/tabmwp/a.parquet")
    assert not store.exists("rr/tabmwp")
    assert store.list_keys("rr/tabmwp") == ["rr/tabmwp/a.parquet"]
    assert store.list_folders("rr/tabmwp") == ["rr/tabmwp/deep"]
    assert sorted(store.walk("rr")) == ["rr/tabmwp/a.parquet", "rr/tabmwp/deep/er.txt"]
    assert store.list_keys("rr/tab") == store.list_folders("nothing") == []
    assert store.fetch("rr/tabmwp/deep/er.txt").read_bytes() == b"three"
    store.delete("rr/tabmwp/a.parquet")
    store.delete("rr/tabmwp/a.parquet")
    assert not store.exists("rr/tabmwp/a.parquet")
    store.delete_below("rr")
    assert list(store.walk("rr")) == []
    for read in (store.read, store.fetch):
        with pytest.raises(FileNotFoundError, match="deep/er"):
            read("rr/tabmwp/deep/er.txt")


def test_files_are_put_singly_and_together(store: Store, tmp_path: Path) -> None:
    files = {f"release/{number}": tmp_path / str(number) for number in range(20)}
    for number, path in enumerate(files.values()):
        path.write_bytes(bytes([number]) * 10_000)
    store.put("one", tmp_path / "7")
    store.put_all(files)
    assert store.read("one") == b"\7" * 10_000
    assert [store.read(key) for key in files] == [path.read_bytes() for path in files.values()]
    with pytest.raises(FileNotFoundError):
        store.put("two", tmp_path / "nothing")
    assert not store.exists("two")


def test_what_is_put_soon_is_there_when_the_store_is_settled(store: Store) -> None:
    images = {f"images/{number % 7}/{number}.png": bytes([number]) * 3_000 for number in range(120)}
    for key, data in images.items():
        store.put_soon(key, data)
    store.settle()
    assert all(store.read(key) == data for key, data in images.items())
    assert all(store.fetch(key).read_bytes() == data for key, data in images.items())


def test_another_machine_brings_what_it_needs_and_says_nothing_of_what_is_not_there(s3: str, tmp_path: Path) -> None:
    bucket_store(URL, tmp_path / "one").write("images/a.png", b"picture")
    other = bucket_store(URL, tmp_path / "other")
    other.bring(iter(["images/a.png", "images/lost.png", "../../outside.png"]))
    connect(s3).delete_object(Bucket=BUCKET, Key="mmat/store/images/a.png")
    assert other.fetch("images/a.png").read_bytes() == b"picture"
    assert sorted(path.name for path in (tmp_path / "other").rglob("*") if path.is_file()) == ["a.png"]


def test_a_large_file_goes_in_pieces_and_comes_back_the_same(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "LARGE_BYTES", 1 << 20)
    large = tmp_path / "model.safetensors"
    large.write_bytes(random.Random(0).randbytes(20 << 20))
    store = bucket_store(URL, tmp_path / "mirror")
    with run_proxy(s3, Trouble(share=0.1, seed=3)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store.put("checkpoint/model.safetensors", large)
        assert store.fetch("checkpoint/model.safetensors").read_bytes() == large.read_bytes()
    tag = connect(s3).head_object(Bucket=BUCKET, Key="mmat/store/checkpoint/model.safetensors")["ETag"]
    assert "-" in tag  # that of a multipart upload


def test_a_service_that_never_works_is_told_of_without_a_secret(s3: str, tmp_path: Path) -> None:
    store = S3Store(
        root=URL,
        folder=str(tmp_path),
        s3={"max_attempts": 1, "endpoint_url": s3},
    )
    missing = bucket_store("s3://nobodys/store", tmp_path)
    with pytest.raises(StoreError, match=r"s3://nobodys/store/a cannot be written: .*NoSuchBucket"):
        missing.write("a", b"")
    with pytest.raises(StoreError, match=r"cannot be listed: .*NoSuchBucket"):
        missing.list_keys("a")
    assert "testing" not in repr(store)


def test_nothing_is_put_soon_without_saying_so_where_it_fails(tmp_path: Path) -> None:
    missing = bucket_store("s3://nobodys/store", tmp_path / "mirror")
    missing.put_soon("images/a.png", b"picture")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        missing.settle()
    assert not (tmp_path / "mirror" / "images" / "a.png").exists()


def test_processes_of_a_machine_wait_for_each_other(tmp_path: Path) -> None:
    store = bucket_store(URL, tmp_path)
    order: list[str] = []

    def second() -> None:
        with bucket_store(URL, tmp_path).exclusive("a"):
            order.append("second")

    with store.exclusive("a"), store.exclusive("b"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def hold(url: str, folder: str, held: Event, release: Event) -> None:
    with S3Store(root=URL, folder=folder, s3=S3Resource(), locks=url).exclusive("a"):
        held.set()
        release.wait(60)


def test_machines_wait_for_each_other_until_one_is_gone_even_if_killed(postgres_url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    first_has_it, second_has_it, never, release = (context.Event() for _ in range(4))
    first = context.Process(target=hold, args=(postgres_url, str(tmp_path / "one"), first_has_it, never))
    second = context.Process(target=hold, args=(postgres_url, str(tmp_path / "other"), second_has_it, release))
    first.start()
    assert first_has_it.wait(60)
    second.start()
    with S3Store(root=URL, folder=str(tmp_path), s3=S3Resource(), locks=postgres_url).exclusive("b"):
        assert not second_has_it.wait(3)
    first.kill()
    assert second_has_it.wait(60)
    release.set()
    second.join(60)
    assert second.exitcode == 0


def test_a_database_that_is_not_there_is_told_of_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://mmat:s3cret@127.0.0.1:1/none"
    store = S3Store(root=URL, folder=str(tmp_path), s3=S3Resource(), locks=url)
    with pytest.raises(StoreError, match=r"the lock of .* cannot be had") as told, store.exclusive("a"):
        pass
    assert "s3cret" not in f"{told.value} {store!r}"


def test_the_environment_names_a_bucket() -> None:
    environment = read_environment({"MMAT_STORE": "s3://data/mmat/", "MMAT_LEDGER": "postgresql://u:p@h/d"})
    assert environment.bucket == environment.store_location == "s3://data/mmat"
    assert environment.store == Path("data/mirror/data/mmat")
    opened = open_store(environment)
    assert isinstance(opened, S3Store)
    assert opened.locate("rr/a") == "s3://data/mmat/rr/a"
    for wrong in ("gs://data", "s3://", "s3://data/../other"):
        with pytest.raises(BadEnvironment, match="MMAT_STORE"):
            read_environment({"MMAT_STORE": wrong})


def comparable(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what is this machine's alone."""
    own = ("files/", "locks/")
    return {key: data for key, data in files.items() if not key.startswith(own) and not key.endswith(".lock")}


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_bucket(s3: str) -> dict[str, bytes]:
    return {key.removeprefix("mmat/store/"): data for key, data in objects(s3, "mmat/store/").items()}


def test_from_sources_to_release_a_bucket_in_trouble_holds_what_a_folder_does(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = write_sources(tmp_path / "sources")
    make(sources, LocalStore(root=str(tmp_path / "local")))
    local = comparable(read_folder(tmp_path / "local"))
    trouble = Trouble(share=0.05, seed=2)
    with run_proxy(s3, trouble) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        make(sources, bucket_store(URL, tmp_path / "one"))
        assert in_bucket(s3) == local
        # Another machine makes the same, and finds all of it done.
        written = sum(trouble.done.values())
        make(sources, bucket_store(URL, tmp_path / "other"))
    assert in_bucket(s3) == local
    assert {"500", "503", "cut request", "cut answer"} <= {*trouble.done}
    assert sum(trouble.done.values()) - written < written / 2
    assert any(key.startswith("images/") for key in local)
    assert any(key.startswith("dataset_release/") for key in local)


def check_whole(s3: str) -> None:
    """Check that nothing is half there: every Parquet file opens, and manifests name what is there."""
    found = in_bucket(s3)
    for key, data in found.items():
        if key.endswith(".parquet"):
            pq.ParquetFile(io.BytesIO(data)).close()
    store = bucket_store(URL, Path("nowhere"))
    for dataset in ("source_qa", "rationales", "rr_dialogues", "orr_dialogues", "dialogue_audit"):
        for source in SOURCES:
            manifest = parts.read_manifest(store, dataset, source)
            for part in manifest.parts if manifest else ():
                assert f"{dataset}/{source}/{part.name}.parquet" in found
    release = read_release(store)
    assert release is None or {f"{release.prefix}/{file.path}" for file in release.files} <= {*found}


@pytest.mark.long
@pytest.mark.parametrize("machine", ["the same machine", "another machine each time"])
def test_killed_at_any_moment_nothing_is_lost_doubled_or_half_there(s3: str, tmp_path: Path, machine: str) -> None:
    sources = write_sources(tmp_path / "sources")
    make(sources, LocalStore(root=str(tmp_path / "local")))
    local = comparable(read_folder(tmp_path / "local"))
    dice = random.Random(4)
    killed = 0
    with run_proxy(s3, Trouble(share=0.05, seed=5)) as address:
        for number in range(40):
            mirror = tmp_path / ("mirror" if machine.startswith("the same") else f"mirror{number}")
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.s3_building", str(sources), URL, str(mirror)],
                cwd=ROOT,
                env={**dict(CREDENTIALS), "PATH": "", "AWS_ENDPOINT_URL": address, "NO_PROXY": "127.0.0.1"},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            with process.stdout as told:
                assert told.readline() == "begun\n"
                killer = threading.Timer(dice.uniform(0.2, 4.0), process.kill)
                if killed < 10:
                    killer.start()
                process.wait(120)
                killer.cancel()
            check_whole(s3)
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0
                break
            killed += 1
    assert killed >= 3
    assert in_bucket(s3) == local
