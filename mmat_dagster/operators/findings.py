"""What models find in an image, as operators tell it: text in lines, faces, and the boxes of phrases.

Day | Price; Monday | $4.50                              {"lines": [[{"text", "box", "score"}, ...], ...]}
2 faces: [12, 30, 64, 98], [140, 22, 201, 97]            {"faces": [{"box", "confidence"}, ...]}
{"a dog": [[0.1, 0.25, 0.48, 0.9]]}                      {"boxes": [{"phrase", "box", "score"}, ...]}
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from mmat_dagster.operators.observation import one_line
from mmat_dagster.operators.reading_order import Piece, as_text, in_lines
from mmat_dagster.tools import Sight

NO_TEXT = "no text found"
NO_FACES = "no faces found"
NO_THINGS = "no such thing found"


@dataclass(frozen=True, kw_only=True, order=True)
class Face:
    """A face: x1, y1, x2, y2 in pixels of the image, and how certain its model is, on the model's own scale."""

    box: tuple[int, int, int, int]
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that a phrase names: x1, y1, x2, y2 as shares of the image's width and height, and how certain it is.

    What people have marked has no score.
    """

    phrase: str
    box: tuple[float, float, float, float]
    score: float | None = None


def piece_at(size: tuple[int, int], corners: Sequence[Sequence[float]], text: str, score: float) -> Piece:
    """Return a text whose four corners were found, from its upper left one clockwise, in an image of `size`."""
    across = [min(max(x, 0.0), float(size[0])) for x, _ in corners]
    down = [min(max(y, 0.0), float(size[1])) for _, y in corners]
    (left, start), (right, stop) = corners[:2]
    return Piece(
        x1=min(across),
        y1=min(down),
        x2=max(across),
        y2=max(down),
        text=text.strip(),
        slope=(stop - start) / (right - left) if right > left else 0.0,
        score=score,
    )


def text_sight(pieces: Iterable[Piece]) -> Sight:
    """Return recognised pieces, in any order, as the text of the image in reading order."""
    lines = in_lines(pieces)
    told: JsonValue = [[_piece(piece) for piece in line] for line in lines]
    return Sight(text=as_text(lines) or NO_TEXT, details={"lines": told})


def faces_sight(faces: Iterable[Face]) -> Sight:
    """Return faces, in any order, as their number and their boxes from left to right."""
    ordered = sorted(faces)
    told: JsonValue = [{"box": [*face.box], "confidence": face.confidence} for face in ordered]
    return Sight(text=_faces([face.box for face in ordered]), details={"faces": told})


def things_sight(things: Sequence[Thing], phrases: Sequence[str]) -> Sight:
    """Return the boxes of each phrase that was found, in the order of `phrases`, best first.

    A box that is told twice with two decimals is told once; one of a small thing may have no size then.
    """
    told: dict[str, list[list[float]]] = {}
    for phrase in phrases:
        boxes = _distinct(thing for thing in things if thing.phrase == phrase)
        if boxes:
            told[one_line(phrase)] = boxes
    details: JsonValue = [_thing(thing) for thing in things]
    return Sight(text=_boxes(told) if phrases else "{}", details={"boxes": details})


def _piece(piece: Piece) -> dict[str, JsonValue]:
    box: list[JsonValue] = [round(edge) for edge in (piece.x1, piece.y1, piece.x2, piece.y2)]
    return {"text": piece.text, "box": box, "score": round(piece.score, 3)}


def _faces(boxes: Sequence[tuple[int, int, int, int]]) -> str:
    if not boxes:
        return NO_FACES
    return f"{len(boxes)} {'face' if len(boxes) == 1 else 'faces'}: {', '.join(str([*box]) for box in boxes)}"


def _thing(thing: Thing) -> dict[str, JsonValue]:
    box: list[JsonValue] = [round(edge, 4) for edge in thing.box]
    score: dict[str, JsonValue] = {} if thing.score is None else {"score": round(thing.score, 4)}
    return {"phrase": thing.phrase, "box": box, **score}


def _boxes(told: dict[str, list[list[float]]]) -> str:
    return json.dumps(told, ensure_ascii=False) if told else NO_THINGS


def _distinct(things: Iterable[Thing]) -> list[list[float]]:
    boxes: list[list[float]] = []
    for thing in sorted(things, key=lambda thing: -(thing.score or 0.0)):
        box = [round(edge, 2) for edge in thing.box]
        if box not in boxes:
            boxes.append(box)
    return boxes
