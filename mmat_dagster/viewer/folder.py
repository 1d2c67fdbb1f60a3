"""The store as a folder that nothing can be written to; it needs no Dagster, which takes a second to import."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.roots import below


class ReadOnlyFolder(Store):
    """Reads the files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def mirror(self) -> Path:
        """Return the folder itself."""
        return self.root

    def locate(self, key: str) -> str:
        """Return the absolute path of `key`."""
        return str(below(self.root, key).absolute())

    def exists(self, key: str) -> bool:
        """Say whether the file is there."""
        return below(self.root, key).is_file()

    def read(self, key: str) -> bytes:
        """Return the file's bytes."""
        return below(self.root, key).read_bytes()

    def fetch(self, key: str) -> Path:
        """Return the file itself."""
        path = below(self.root, key)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        return path

    def bring(self, keys: Iterable[str]) -> None:
        """Return: all of it is here."""

    def list_keys(self, prefix: str) -> list[str]:
        """Return the files directly below the folder `prefix`."""
        return [f"{prefix}/{path.name}" for path in self._below(prefix) if path.is_file()]

    def list_folders(self, prefix: str) -> list[str]:
        """Return the folders directly below the folder `prefix`."""
        return [f"{prefix}/{path.name}" for path in self._below(prefix) if path.is_dir()]

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield all files below the folder `prefix`."""
        for path in sorted(below(self.root, prefix).rglob("*")):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    def write(self, key: str, data: bytes) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def put(self, key: str, path: Path) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def put_all(self, files: Mapping[str, Path]) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def put_soon(self, key: str, data: bytes) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def settle(self) -> None:
        """Return: nothing was to be put."""

    def delete(self, key: str) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def delete_below(self, prefix: str) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def exclusive(self, prefix: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def _below(self, prefix: str) -> list[Path]:
        folder = below(self.root, prefix)
        return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.root} is only looked at")
