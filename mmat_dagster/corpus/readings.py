"""Documents and signs, and a reasoned way to what can be read in a marked region of them."""

from collections.abc import Callable
from random import Random

from mmat_dagster.corpus import letters, signs
from mmat_dagster.corpus.marked import MarkedPicture
from mmat_dagster.corpus.reasoned import Reasoned, ReasonedPicture
from mmat_dagster.corpus.receipts import draw_receipt

_DOCUMENTS = (letters.draw_letter, letters.draw_form, letters.draw_memo, draw_receipt)
_SIGNS = (signs.draw_shop, signs.draw_plate, signs.draw_label)


def draw_document(rng: Random) -> ReasonedPicture:
    """Draw a document and ask for something that is printed on it."""
    return _read(rng, _DOCUMENTS, "document")


def draw_sign(rng: Random) -> ReasonedPicture:
    """Draw a thing that bears a text and ask for the text."""
    return _read(rng, _SIGNS, "photo")


def _read(rng: Random, kinds: tuple[Callable[[Random], MarkedPicture], ...], noun: str) -> ReasonedPicture:
    picture = rng.choice(kinds)(rng)
    marked = rng.choice(picture.questions)
    x1, y1, x2, y2 = marked.box
    asked = Reasoned(
        question=marked.question,
        summary=f"I will find the place in the {noun} that answers the question, and read it.",
        caption=f"A {noun} of {picture.canvas.width} by {picture.canvas.height} pixels with several lines of text.",
        steps=(
            f"What is asked for stands between ({x1}, {y1}) and ({x2}, {y2}).",
            f"The text there reads: {marked.answer}",
            f"So the answer is {marked.answer}.",
        ),
        answer=marked.answer,
    )
    return ReasonedPicture(canvas=picture.canvas, rounds=(asked,))
