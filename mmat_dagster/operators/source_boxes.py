"""label_bbox from the boxes that the source itself carries."""

from collections.abc import Sequence
from typing import ClassVar

from mmat_dagster.operators.findings import Thing, things_sight
from mmat_dagster.operators.observation import MAX_CHARS, one_line
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.schema import Box
from mmat_dagster.tools import Failed, Look, Operator, Sight


class SourceBoxes(Operator):
    """Tells where the things are that the source's people marked (Visual CoT)."""

    name: ClassVar[str] = "label_bbox"
    purpose: ClassVar[str] = PURPOSES["label_bbox"]

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self.max_chars = max_chars

    @property
    def version(self) -> str:
        """The boxes come with the sample; only their form is this operator's."""
        return "source boxes 2"

    def parameters(self, look: Look) -> str | None:  # noqa: ARG002
        """Say that nothing is kept: the boxes are in the sample."""
        return None

    def offers(self, looks: Sequence[Look]) -> bool:
        """Say whether the source marked anything."""
        return any(look.boxes for look in looks)

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Return `{phrase: [[x1, y1, x2, y2], ...]}` in shares of the image; of the phrases asked for, if any are."""
        return [_sight(look) for look in looks]


def _sight(look: Look) -> Sight:
    wanted = {one_line(phrase).casefold() for phrase in look.phrases}
    named = [(one_line(box.phrase), box) for box in look.boxes]
    things = [
        Thing(phrase=phrase, box=_shares(box, look.width, look.height))
        for phrase, box in named
        if not wanted or phrase.casefold() in wanted
    ]
    return things_sight(things, tuple(dict.fromkeys(thing.phrase for thing in things)))


def _shares(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    (x1, x2), (y1, y2) = sorted((box.x1, box.x2)), sorted((box.y1, box.y2))
    return _share(x1, width), _share(y1, height), _share(x2, width), _share(y2, height)


def _share(edge: float, size: int) -> float:
    return min(max(edge / size, 0.0), 1.0)
