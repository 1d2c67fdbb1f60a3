"""A release's dialogues read back from its JSON Lines, one at a time: all that a person has who downloaded one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.plan import SIDES, Form, ReleaseRefused, Side
from mmat_dagster.schema import ImageRef, Message, SourceName


@dataclass(frozen=True, kw_only=True)
class ReleasedDialogue:
    """A dialogue of a release; its images lie at their paths below the release's folder."""

    id: str
    source: SourceName
    part: str
    licence: str
    side: Side
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]


def read_released(folder: Path, form: Form) -> Iterator[ReleasedDialogue]:
    """Yield the dialogues of a release, those to train on first; raise ReleaseRefused where `folder` holds none."""
    for side in SIDES:
        path = folder / NAMES[form, side]
        if not path.is_file():
            raise ReleaseRefused(f"{folder} is no release: there is no {path.name}")
        with path.open("rb") as lines:
            for line in lines:
                yield _parse(line, side)


def _parse(line: bytes, side: Side) -> ReleasedDialogue:
    row = orjson.loads(line)
    return ReleasedDialogue(
        id=row["id"],
        source=row["source"],
        part=row["part"],
        licence=row["licence"],
        side=side,
        messages=tuple(Message(**message) for message in row["messages"]),
        images=tuple(_image(path) for path in row["images"]),
    )


def _image(path: str) -> ImageRef:
    """An image's name is its hash; nobody has measured it here."""
    return ImageRef(home="store", path=path, sha256=Path(path).stem, width=0, height=0)
