"""A copy of the engine's files in which one is edited: what rests on their fingerprints takes it for a new version."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest

from mmat_dagster import fingerprints


def edit(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fingerprints be those of a copy below `folder` with one more line in the file `name`, as in a new process."""
    copy = Path(mkdtemp(dir=folder)) / "engine"
    shutil.copytree(fingerprints.ENGINE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("mmat_dagster.fingerprints.ENGINE", copy)
    with (copy / name).open("a") as file:
        file.write("\n# edited\n")
