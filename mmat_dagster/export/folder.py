"""A folder that is there whole or not at all: it is written beside its place and renamed into it.

.<name>.writing     what is being written; a lock on it, which ends with the process, keeps other exports away
.<name>.replaced    what stood there before, for the moment of the change
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What an export says of itself; a folder without it is none, and is never replaced.
SUMMARY = "export.json"


class ExportRefused(Exception):
    """The export cannot be made as it was asked for; nothing was written."""


@contextmanager
def whole_folder(out: Path, *, is_replacing: bool) -> Iterator[Path]:
    """Yield an empty folder that becomes `out` when the body ends, and is removed when it fails.

    Raises ExportRefused where `out` is there and not empty, unless it is an export and `is_replacing`, and where
    another process is writing it.
    """
    out = out.absolute()
    writing, replaced = out.with_name(f".{out.name}.writing"), out.with_name(f".{out.name}.replaced")
    out.parent.mkdir(parents=True, exist_ok=True)
    writing.mkdir(exist_ok=True)
    with _locked(writing):
        try:
            _restore(out, replaced)
            _check(out, is_replacing=is_replacing)
            _empty(writing)
            yield writing
            _exchange(out, writing, replaced)
        except BaseException:
            shutil.rmtree(writing, ignore_errors=True)
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ExportRefused(f"another export is writing {folder.name.removeprefix('.')}") from error
    finally:
        os.close(descriptor)


def _check(out: Path, *, is_replacing: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportRefused(f"{out} is a file; an export is a folder")
    if not any(out.iterdir()):
        return
    if not is_replacing:
        raise ExportRefused(f"{out} is not empty; nothing was overwritten. Add --overwrite to replace an export")
    if not (out / SUMMARY).is_file():
        raise ExportRefused(f"{out} holds no {SUMMARY}, so it is no export; nothing was overwritten")


def _restore(out: Path, replaced: Path) -> None:
    """Put back what a process that was killed in the moment of the change has moved away."""
    if replaced.exists() and not out.exists():
        replaced.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _exchange(out: Path, writing: Path, replaced: Path) -> None:
    if out.exists() and any(out.iterdir()):
        out.rename(replaced)
    writing.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)
