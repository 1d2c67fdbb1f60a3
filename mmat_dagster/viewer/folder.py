"""The store as a folder that nothing can be written to; it needs no Dagster, which takes a second to import."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.roots import below


class ReadOnlyFolder(Store):
    """Reads the files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def locate(self, key: str) -> str:
        """Return the absolute path of `key`."""
        return str(below(self.root, key).absolute())

    def exists(self, key: str) -> bool:
        """Say whether the file is there."""
        return below(self.root, key).is_file()

    def read(self, key: str) -> bytes:
        """Return the file's bytes."""
        return below(self.root, key).read_bytes()

    def list_keys(self, prefix: str) -> list[str]:
        """Return the files directly below the folder `prefix`."""
        folder = below(self.root, prefix)
        names = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        return [f"{prefix}/{name}" for name in names if not name.startswith(".")]

    def write(self, key: str, data: bytes) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def put(self, key: str, path: Path) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def delete(self, key: str) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def exclusive(self, prefix: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.root} is only looked at")
