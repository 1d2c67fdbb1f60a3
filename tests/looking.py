"""Samples over image files, and what an operator tells about them."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from mmat_dagster.interfaces import Pictures
from mmat_dagster.operators.looking import looks_at, observe
from mmat_dagster.schema import ImageRef, Sample, SourceName
from mmat_dagster.tools import Failed, Operator, Sight
from tests.builders import make_sample


class Folder(Pictures):
    """Finds every image by its path."""

    def locate(self, source: SourceName, image: ImageRef) -> Path:
        return Path(image.path)


def sample_of(*paths: Path, **changes: Any) -> Sample:
    """Return a sample whose images are the files at `paths`; one that cannot be read has the hash of nothing."""
    images = tuple(ImageRef(home="source", path=str(path), sha256=hash_of(path), width=1, height=1) for path in paths)
    return make_sample(images=images, **changes)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


async def tell(operator: Operator, *paths: Path) -> str:
    """Return what `operator` tells about the files at `paths`."""
    return await observe(operator, sample_of(*paths), Folder())


async def see(operator: Operator, *paths: Path) -> list[Sight | Failed]:
    """Return what `operator` sees in each of the files."""
    return list(await operator.look(looks_at(sample_of(*paths), Folder())))
