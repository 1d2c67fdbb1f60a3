"""What an export counts: dialogues and images by part and licence, and what was lost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmat_dagster.export.dialogues import Exportable, LossReason
from mmat_dagster.licensed_parts import PartKey
from mmat_dagster.schema import Message, SourceName
from mmat_dagster.splits import short


@dataclass(kw_only=True)
class Totals:
    """Counts that grow while the rows are written; `longest_bytes` is the most text that one dialogue has, in UTF-8."""

    by_part: Counter[tuple[str, PartKey]] = field(default_factory=Counter)
    lost: Counter[tuple[SourceName, LossReason]] = field(default_factory=Counter)
    longest_bytes: int = 0
    _images: dict[PartKey, set[int]] = field(default_factory=dict)

    def count(self, side: str, dialogue: Exportable, messages: Sequence[Message]) -> None:
        """Count one exported dialogue."""
        part = PartKey(source=dialogue.source, part=dialogue.part, licence=dialogue.licence)
        self.by_part[side, part] += 1
        self._images.setdefault(part, set()).update(short(image.sha256) for image in dialogue.images)
        self.longest_bytes = max(self.longest_bytes, sum(len(message.content.encode()) for message in messages))

    def dialogues(self, side: str) -> int:
        """Return how many dialogues the file `side` holds."""
        return sum(count for (file, _), count in self.by_part.items() if file == side)

    @property
    def images(self) -> int:
        """How many images there are, each counted once."""
        return len(set().union(*self._images.values()))

    @property
    def parts(self) -> list[tuple[PartKey, int, int]]:
        """Each part with its dialogues and its images, in order."""
        dialogues: Counter[PartKey] = Counter()
        for (_, part), count in self.by_part.items():
            dialogues[part] += count
        return [(part, dialogues[part], len(self._images[part])) for part in sorted(dialogues)]

    def told_losses(self) -> str:
        """Return what was lost, as a person says it."""
        reasons: Counter[str] = Counter()
        for (_, reason), count in self.lost.items():
            reasons[reason] += count
        return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
