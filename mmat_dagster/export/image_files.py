"""Is an image there, and still the one that the dialogue was written over."""

from dataclasses import dataclass, field
from pathlib import Path

from mmat_dagster.export.dialogues import NotExportable
from mmat_dagster.filebook import sha256_of
from mmat_dagster.interfaces import Pictures
from mmat_dagster.schema import ImageRef, SourceName


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Finds the files of images; with `is_hashed` it reads each of them, once, and compares its SHA-256."""

    pictures: Pictures
    is_hashed: bool = False
    _seen: dict[Path, str] = field(default_factory=dict)

    def find(self, source: SourceName, image: ImageRef) -> str:
        """Return the absolute path of an image; raise NotExportable where it is missing or another one."""
        path = self.pictures.locate(source, image).absolute()
        found = self._seen.get(path)
        if found is None:
            found = self._seen[path] = self._look(path)
        if not found:
            raise NotExportable("missing image", image.path)
        if self.is_hashed and found != image.sha256:
            raise NotExportable("image changed", f"{image.path} has the SHA-256 {found}, not {image.sha256}")
        return str(path)

    def _look(self, path: Path) -> str:
        """Return an image's SHA-256, or that it is there; nothing where it cannot be read."""
        if not path.is_file():
            return ""
        try:
            return sha256_of(path) if self.is_hashed else "there"
        except OSError:
            return ""
