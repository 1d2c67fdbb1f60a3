"""The form in which boxes of named things are told: `{phrase: [[x1, y1, x2, y2], ...]}` as JSON.

Corners are shares of the image's width and height, 0..1, with two decimals. Format: MMAT-1M (arXiv 2507.21924).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from mmat_dagster.tools import Sight


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a thing is: `box` is (x1, y1, x2, y2) in shares of the image, `score` how sure the finder is."""

    phrase: str
    box: tuple[float, float, float, float]
    score: float | None = None


def as_sight(regions: Iterable[Region]) -> Sight:
    """Return regions in the wire form, phrases and boxes in their order; `details` keeps four digits and the scores."""
    told: dict[str, list[list[float]]] = {}
    details: list[JsonValue] = []
    for region in regions:
        told.setdefault(region.phrase, []).append([_share(edge, 2) for edge in region.box])
        detail: dict[str, JsonValue] = {"phrase": region.phrase, "box": [_share(edge, 4) for edge in region.box]}
        details.append(detail if region.score is None else {**detail, "score": round(region.score, 4)})
    return Sight(text=json.dumps(told, ensure_ascii=False), details={"boxes": details})


def _share(edge: float, digits: int) -> float:
    return round(min(max(edge, 0.0), 1.0), digits)
