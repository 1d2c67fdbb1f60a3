"""Content fingerprints: what decides a result, as one short string.

Code and prompts count as this process found them when it first asked: those are what it runs, whoever edits them
meanwhile.
"""

import hashlib
from collections.abc import Iterable, Mapping
from fnmatch import filter as matching
from functools import cache
from pathlib import Path

ENGINE = Path(__file__).parent
# What Python makes of code comes and goes.
_COMPILED = "__pycache__"


def fingerprint(parts: Iterable[str]) -> str:
    """Return 16 hex digits that change whenever one of `parts`, their number or their order does."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)}:".encode())
        digest.update(encoded)
    return digest.hexdigest()[:16]


def code_fingerprint(*patterns: str) -> str:
    """Return the fingerprint of the engine's files that match `patterns`, e.g. `wire.py`, `sources/*.py`."""
    names = sorted((name for pattern in patterns for name in engine_files(pattern)), key=_path)
    return fingerprint(part for name in names for part in (name, read_engine_file(name).decode()))


def engine_files(pattern: str) -> list[str]:
    """Return the names of the engine's files that match `pattern`; raise FileNotFoundError where none does."""
    # For fnmatch a star stands for folders too.
    found = [name for name in matching(_files(ENGINE), pattern) if len(_path(name)) == len(_path(pattern))]
    if not found:
        raise FileNotFoundError(f"no engine file matches {pattern!r}")
    return found


def read_engine_file(name: str) -> bytes:
    """Return what one of the engine's files holds; raise KeyError where it is not there."""
    return _files(ENGINE)[name]


@cache
def _files(engine: Path) -> Mapping[str, bytes]:
    """Return all files of the engine, read in one go: a run takes hours, and its last stage is of the same edition."""
    paths = (path for path in engine.rglob("*") if _COMPILED not in path.parts and path.is_file())
    return {path.relative_to(engine).as_posix(): path.read_bytes() for path in paths}


def _path(name: str) -> list[str]:
    return name.split("/")
