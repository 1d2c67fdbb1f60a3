"""image_caption from the caption that the source itself carries."""

from collections.abc import Sequence
from typing import ClassVar

from mmat_dagster.operators.observation import MAX_CHARS, one_line
from mmat_dagster.operators.purposes import PURPOSES
from mmat_dagster.tools import Failed, Look, Operator, Sight


class SourceCaption(Operator):
    """Tells what the source's people say the images show (LLaVA-CoT)."""

    name: ClassVar[str] = "image_caption"
    purpose: ClassVar[str] = PURPOSES["image_caption"]

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self.max_chars = max_chars

    @property
    def version(self) -> str:
        """The caption comes with the sample; only its form is this operator's."""
        return "source caption 2"

    def parameters(self, look: Look) -> str | None:  # noqa: ARG002
        """Say that nothing is kept: the caption is in the sample."""
        return None

    def offers(self, looks: Sequence[Look]) -> bool:
        """Say whether the source has a caption."""
        return any(one_line(look.caption or "") for look in looks)

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Return the caption."""
        return [_caption(look) for look in looks]


def _caption(look: Look) -> Sight | Failed:
    caption = one_line(look.caption or "", max_chars=len(look.caption or "") + 1)
    return Sight(text=caption, details={"caption": caption}) if caption else Failed(detail="the source has no caption")
