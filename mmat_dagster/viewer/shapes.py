"""Boxes on an image, in its pixels: from what operators told, and from what the source's people marked.

label_bbox       {"a dog": [[0.1, 0.25, 0.48, 0.9]]}              shares of the image's size
face_detection   2 faces: [12, 30, 64, 98], [140, 22, 201, 97]    pixels
several images   image 1: ...; image 2: ...                       or, where all are told the same, every image: ...
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmat_dagster.schema import Dialogue, ImageRef

LABEL_BBOX = "label_bbox"
FACE_DETECTION = "face_detection"
ANNOTATION = "annotation"
# More of them hide the image.
MOST = 200

_IMAGE = re.compile(r"(?:^|; )image (\d+): ")
_EVERY_IMAGE = "every image: "
_FACE = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A box in pixels of an upright image: who told it (`kind`), in which turn (None for the source), of what."""

    kind: str
    turn: int | None
    label: str
    x: float
    y: float
    width: float
    height: float


def shapes_of(dialogue: Dialogue) -> tuple[tuple[Shape, ...], ...]:
    """Return the boxes of each image of `dialogue`; what is no box of it is passed over."""
    found: list[list[Shape]] = [[] for _ in dialogue.images]
    for at, shape in (*_annotated(dialogue), *_observed(dialogue)):
        if 0 <= at < len(found) and len(found[at]) < MOST:
            found[at].append(shape)
    return tuple(map(tuple, found))


def _annotated(dialogue: Dialogue) -> Iterator[tuple[int, Shape]]:
    for box in dialogue.sample.annotations.boxes:
        if 0 <= box.image < len(dialogue.images):
            corners = (box.x1, box.y1, box.x2, box.y2)
            yield from _shape(dialogue.images[box.image], box.image, (ANNOTATION, None, box.phrase), corners)


def _observed(dialogue: Dialogue) -> Iterator[tuple[int, Shape]]:
    for number, turn in enumerate(dialogue.transcript.turns, 1):
        for seen in turn.observations:
            if seen.tool not in (LABEL_BBOX, FACE_DETECTION):
                continue
            for at, text in _by_image(seen.text, len(dialogue.images)):
                read = _things if seen.tool == LABEL_BBOX else _faces
                for label, corners in read(text, dialogue.images[at]):
                    yield from _shape(dialogue.images[at], at, (seen.tool, number, label), corners)


def _by_image(text: str, count: int) -> Iterator[tuple[int, str]]:
    """Yield what is told of each image, by its number from 0."""
    if text.startswith(_EVERY_IMAGE):
        yield from ((at, text.removeprefix(_EVERY_IMAGE)) for at in range(count))
        return
    marks = list(_IMAGE.finditer(text)) if count > 1 else []
    if not marks and count:
        yield 0, text
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends[: len(marks)], strict=True):
        at = int(mark[1][:6]) - 1
        if 0 <= at < count:
            yield at, text[mark.end() : end]


def _things(text: str, image: ImageRef) -> Iterator[tuple[str, Sequence[float]]]:
    try:
        told, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return
    for phrase, boxes in told.items() if isinstance(told, dict) else ():
        for box in boxes if isinstance(boxes, list) else ():
            if _is_box(box):
                size = (image.width, image.height, image.width, image.height)
                yield phrase, [edge * side for edge, side in zip(box, size, strict=True)]


def _faces(text: str, image: ImageRef) -> Iterator[tuple[str, Sequence[float]]]:  # noqa: ARG001
    for number, match in enumerate(_FACE.finditer(text), 1):
        yield f"face {number}", [float(edge) for edge in match.groups()]


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) for edge in box)


def _shape(
    image: ImageRef, at: int, told: tuple[str, int | None, str], corners: Sequence[float]
) -> Iterator[tuple[int, Shape]]:
    """Yield the box, cut to the image; a box that lies outside of it, or is no number, is none."""
    if not all(map(math.isfinite, corners)):
        return
    x1, x2 = (min(max(edge, 0.0), float(image.width)) for edge in sorted((corners[0], corners[2])))
    y1, y2 = (min(max(edge, 0.0), float(image.height)) for edge in sorted((corners[1], corners[3])))
    if x2 > x1 or y2 > y1:
        kind, turn, label = told
        yield at, Shape(kind=kind, turn=turn, label=label, x=x1, y=y1, width=x2 - x1, height=y2 - y1)
