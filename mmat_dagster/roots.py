"""Paths that data names never leave the folder that they are named in."""

import errno
import os
from pathlib import Path, PurePosixPath


class OutsideRoot(OSError):
    """A path leads out of its folder; it is an OSError, so that whoever reads the file counts it as one not there."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.EACCES, "the path leads out of its folder", name)


def below(root: Path, name: str) -> Path:
    """Return the file that `name` means below `root`; raise OutsideRoot where it is absolute or leads out of it.

    Links are followed for names that go up only: what stands behind the others was looked at when it was taken in.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\0" in name:
        raise OutsideRoot(name)
    if ".." in parts and not _is_inside(root, name):
        raise OutsideRoot(name)
    return root / name


def _is_inside(root: Path, name: str) -> bool:
    """Say whether a name with `..` in it stays inside, for whoever follows links and for whoever does not."""
    as_written = PurePosixPath(os.path.normpath(name))
    really = Path(os.path.realpath(root / name))
    return as_written.parts[:1] != ("..",) and really.is_relative_to(os.path.realpath(root))
