"""Benchmark items as students are asked them: laid out like the questions that they learned from, images at hand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.images import ImageShelf, UnreadableImage, examine
from mmat_dagster.interfaces import ChatImage
from mmat_dagster.questions import lay_out_question
from mmat_dagster.reasoning import Scene
from mmat_dagster.scoring.benchmark import Item, Unreadable
from mmat_dagster.tools import Look


@dataclass(frozen=True, kw_only=True)
class Question:
    """An item ready to be asked: `text` holds its choices and the constraint on the answer, but no `<image>` marks."""

    item: Item
    text: str
    images: tuple[ChatImage, ...]

    @property
    def scene(self) -> Scene:
        """What operators look at, and what searches are for."""
        looks = tuple(
            Look(
                image=image.path,
                sha256=image.sha256,
                question=self.item.question,
                width=image.width,
                height=image.height,
                reference=image.reference,
            )
            for image in self.images
        )
        return Scene(looks=looks, question=self.item.question)

    @property
    def key(self) -> str:
        """What decides how it is asked and judged: text, images, gold, facts, categories."""
        item = self.item
        images = [image.sha256 for image in self.images]
        rest = [repr(sorted(item.facts.items())), repr(sorted(item.groups.items())), item.unit or ""]
        return fingerprint([item.id, self.text, *images, "gold", *item.gold, "choices", *item.choices, *rest])


def prepare(item: Item | Unreadable, shelf: ImageShelf) -> Question | Unreadable:
    """Return `item` ready to be asked, or why it cannot be; images that come as bytes are put on `shelf`."""
    if isinstance(item, Unreadable):
        return item
    try:
        images = tuple(_picture(image, shelf) for image in item.images)
    except (OSError, UnreadableImage) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Unreadable(where=item.id, problem=f"its image cannot be read: {why}")
    # The bytes lie on the shelf: a benchmark's images are not held in memory.
    return Question(item=replace(item, images=()), text=lay_out_question(item), images=images)


def fingerprint_of(questions: Iterator[Question]) -> str:
    """Return the fingerprint of questions, whatever their order."""
    return fingerprint(sorted(question.key for question in questions))


def _picture(image: Path | bytes, shelf: ImageShelf) -> ChatImage:
    examined = examine(image if isinstance(image, bytes) else image.read_bytes())
    name = ImageShelf.name(examined.sha256, examined.suffix)
    if isinstance(image, bytes):
        shelf.put(image, examined.suffix)
    return ChatImage(
        path=shelf.store.mirror / name if isinstance(image, bytes) else image,
        sha256=examined.sha256,
        width=examined.width,
        height=examined.height,
        reference=name if isinstance(image, bytes) else image.name,
    )
