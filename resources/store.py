"""The store on a local folder."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import dagster as dg
from pydantic import Field

from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.roots import below

WRITING = ".writing-"
COPIED_AT_ONCE = 1 << 20


class LocalStore(dg.ConfigurableResource[Store], Store):
    """Files below one folder; every file is written beside its place and renamed into it."""

    root: str = Field(description="The folder that holds the datasets' parts and manifests.")

    @property
    def mirror(self) -> Path:
        """Return the store's own folder."""
        return Path(self.root)

    def locate(self, key: str) -> str:
        """Return the absolute path of `key`."""
        return str(self._path(key).absolute())

    def exists(self, key: str) -> bool:
        """Say whether the file is there."""
        return self._path(key).is_file()

    def read(self, key: str) -> bytes:
        """Return the file's bytes."""
        return self._path(key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        """Write a temporary file, force it to disk, and rename it to its place."""
        with self._writable(key) as file:
            file.write(data)

    def put(self, key: str, path: Path) -> None:
        """Copy the file beside its place, force it to disk, and rename it."""
        with path.open("rb") as original, self._writable(key) as file:
            shutil.copyfileobj(original, file, COPIED_AT_ONCE)

    def put_all(self, files: Mapping[str, Path]) -> None:
        """Put one after the other; a disk does nothing faster for being asked by several."""
        for key, path in files.items():
            if path != self._path(key):
                self.put(key, path)

    def put_soon(self, key: str, data: bytes) -> None:
        """Write it at once. It is not forced to disk: whoever reads an image checks its hash."""
        if not self._path(key).is_file():
            with self._writable(key, is_forced=False) as file:
                file.write(data)

    def settle(self) -> None:
        """Return: all of it is there."""

    def fetch(self, key: str) -> Path:
        """Return the file itself."""
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        return path

    def bring(self, keys: Iterable[str]) -> None:
        """Return: all of it is here."""

    def list_keys(self, prefix: str) -> list[str]:
        """Return the files directly below the folder `prefix`."""
        folder = self._path(prefix)
        if not folder.is_dir():
            return []
        return sorted(f"{prefix}/{path.name}" for path in folder.iterdir() if path.is_file() and path.name[0] != ".")

    def list_folders(self, prefix: str) -> list[str]:
        """Return the folders directly below the folder `prefix`."""
        folder = self._path(prefix)
        if not folder.is_dir():
            return []
        return sorted(f"{prefix}/{path.name}" for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield all files below the folder `prefix`."""
        for path in sorted(self._path(prefix).rglob("*")):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    def delete(self, key: str) -> None:
        """Remove the file."""
        self._path(key).unlink(missing_ok=True)

    def delete_below(self, prefix: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._path(prefix), ignore_errors=True)

    @contextmanager
    def exclusive(self, prefix: str) -> Iterator[None]:
        """Hold a lock that the kernel releases with the process, however that ends."""
        path = self._path(prefix) / ".lock"
        with self._telling():
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in path.parent.glob(f"{WRITING}*"):
                leftover.unlink()
            yield

    def place(self, key: str, fill: Callable[[Path], Any]) -> Path:
        """Have `fill` write a file beside its place, rename it, and return where it is; what `fill` raises is raised.

        It is not forced to disk.
        """
        path = self._path(key)
        with self._beside(path) as temporary:
            fill(temporary)
        return path

    def _path(self, key: str) -> Path:
        return below(Path(self.root), key)

    @contextmanager
    def _writable(self, key: str, *, is_forced: bool = True) -> Iterator[BinaryIO]:
        """Open a temporary file that is at `key` when the block ends without an error, and gone otherwise."""
        path = self._path(key)
        with self._telling(), self._beside(path) as temporary, temporary.open("wb") as file:
            yield file
            file.flush()
            if is_forced:
                os.fsync(file.fileno())

    @contextmanager
    def _beside(self, path: Path) -> Iterator[Path]:
        """Give a temporary file that is at `path` when the block ends without an error, and gone otherwise."""
        with self._telling():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=WRITING, dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The store {self.root!r} cannot be written ({error.strerror}: {error.filename}). "
                "Set MMAT_STORE to a folder that you may write to."
            ) from error
