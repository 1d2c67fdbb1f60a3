"""Is an image there, and still the one that the dialogue was written over."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from mmat_dagster.export.dialogues import NotExportable
from mmat_dagster.filebook import sha256_of
from mmat_dagster.interfaces import Pictures
from mmat_dagster.roots import OutsideRoot
from mmat_dagster.schema import ImageRef, SourceName

# So many files that were looked at lately are remembered: neighbouring dialogues are often over the same image.
REMEMBERED = 65_536


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Finds the files of images; with `is_hashed` it reads them and compares their SHA-256."""

    pictures: Pictures
    is_hashed: bool = False

    def find(self, source: SourceName, image: ImageRef) -> str:
        """Return the absolute path of an image; raise NotExportable where it is missing, elsewhere or another one."""
        try:
            path = str(self.pictures.locate(source, image).absolute())
        except OutsideRoot as error:
            raise NotExportable("missing image", f"{image.path}: {error.strerror}") from error
        found = self._look(path)
        if found is None:
            raise NotExportable("missing image", image.path)
        if self.is_hashed and found != image.sha256:
            raise NotExportable("image changed", f"{image.path} has the SHA-256 {found}, not {image.sha256}")
        return path

    @cached_property
    def _look(self) -> Callable[[str], str | None]:
        return lru_cache(REMEMBERED)(_hash if self.is_hashed else _presence)


def _presence(path: str) -> str | None:
    return "there" if Path(path).is_file() else None


def _hash(path: str) -> str | None:
    try:
        return sha256_of(Path(path))
    except OSError:
        return None
