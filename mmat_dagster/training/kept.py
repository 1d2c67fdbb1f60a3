"""What a store keeps of a training that is under way on a machine with a disk of its own, and how it is written down.

    training/<mixture>-<key>/run.json                        as it was asked for
                             checkpoints/checkpoint-<step>/  the files of a checkpoint to resume from
                             checkpoints/checkpoint-<step>.json   Listing of them: written last
                             plan/                           what each dialogue measures; a cache
                             metrics.jsonl, dropped.jsonl    as they were with the last checkpoint, and at the end
                             latest.jsonl                    the last line of metrics.jsonl, every few seconds
                             training.log                    the last lines of the process
                             files.json                      Listing of the result, whose files lie at their place
                             outcome.json                    written last

A machine that goes on brings the newest checkpoint that is listed; what is not listed is not whole, and is not there.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mmat_dagster.filebook import sha256_of
from mmat_dagster.training.spec import CHECKPOINTS, DROPPED, METRICS, RESULT, RUN, WHOLE

LATEST, LOG, FILES = "latest.jsonl", "training.log", "files.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)(\.json)?")


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """One file, by its path below the folder that is listed."""

    path: str
    bytes: int
    sha256: str


_LISTING = TypeAdapter(tuple[ListedFile, ...])


def list_files(files: Iterable[tuple[str, Path]]) -> tuple[ListedFile, ...]:
    """Return the listing of files, each with the path that it is listed by."""
    return tuple(ListedFile(path=path, bytes=file.stat().st_size, sha256=sha256_of(file)) for path, file in files)


def dump_listing(files: tuple[ListedFile, ...]) -> bytes:
    """Return a listing as JSON."""
    return _LISTING.dump_json(files, indent=1)


def parse_listing(data: bytes) -> tuple[ListedFile, ...]:
    """Return a listing; raise ValueError where it is none."""
    try:
        return _LISTING.validate_json(data)
    except ValidationError as error:
        raise ValueError(f"no listing of files: {error}") from error


def whole_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints to resume from below a training's folder, by step; those that a kill has torn are none."""
    found = (mark.parent for mark in (folder / CHECKPOINTS).glob(f"checkpoint-*/{WHOLE}"))
    return {step: path for path in found if (step := step_of(path.name)) is not None}


def step_of(name: str) -> int | None:
    """Return the step that a checkpoint's folder, or its listing, is named for; None for any other name."""
    named = _CHECKPOINT.fullmatch(name)
    return int(named[1]) if named else None


def result_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a finished training that are kept, each with its path in the checkpoint."""
    result = folder / RESULT
    yield from ((path.relative_to(result).as_posix(), path) for path in sorted(result.rglob("*")) if path.is_file())


def log_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what is kept beside a result: how it came about."""
    yield from ((name, folder / name) for name in (METRICS, DROPPED, RUN) if (folder / name).exists())
