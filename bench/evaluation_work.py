"""What the evaluation benchmark asks: word problems over small pictures, and the student that answers them at once.

    python -m bench.evaluation_work      serves that student, prints its URL and ends with its standard input

    direct   user: picture and question                       the bare answer
    rr       the question, a step that has the picture read, a step that ends, the bare answer: three requests

Every third answer is wrong.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from PIL import Image, ImageDraw

from mmat_dagster import wire
from mmat_dagster.evaluation.questions import Question, prepare
from mmat_dagster.images import ImageShelf
from mmat_dagster.operators.observation import MAX_CHARS
from mmat_dagster.schema import Step
from mmat_dagster.scoring.benchmark import Item
from mmat_dagster.tools import Failed, Look, Operator, Passage, Retriever, Sight
from resources.store import LocalStore
from tests.chat_server import Body
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_brain import text_of

PICTURE_SIZE = (320, 200)
LINES = 8
ASKED = "How many dollars do {number} bags of sand from shelf 3 cost, at the price of today?"
READ = "; ".join(f"shelf {number}: {number * 7} kg of sand at ${number}.50 a bag" for number in range(1, LINES + 1))

LOOK = wire.render_step(
    Step(
        thought="The price stands in the table, which I want to have read out before I calculate anything.",
        operators=("ocr",),
        signal="continue",
    )
)
END = wire.render_step(
    Step(thought="A bag from shelf 3 costs $3.50; I multiply this by the number of bags asked for.", signal="end")
)

_NUMBER = re.compile(r"How many dollars do (\d+) bags")


class InstantOcr(Operator):
    """Reads the same in every picture."""

    name: ClassVar[str] = "ocr"
    purpose: ClassVar[str] = "reads the text in the image, line by line"

    def __init__(self) -> None:
        self.max_chars = MAX_CHARS

    @property
    def version(self) -> str:
        """What it says never changes."""
        return "instant"

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        """Tell the lines."""
        return [Sight(text=READ) for _ in looks]


class NoSearch(Retriever):
    """Nobody searches here."""

    @property
    def version(self) -> str:
        """What it says never changes."""
        return "none"

    async def search(self, query: str, top_k: int, question: str = "") -> tuple[Passage, ...]:
        """Fail: no step of this benchmark searches."""
        raise AssertionError(f"{query} is searched for {question} ({top_k})")


def make_questions(folder: Path, first: int, count: int) -> list[Question]:
    """Return the questions `first`, `first` + 1, ..., with a picture each, that is drawn where it is not there yet."""
    shelf = ImageShelf(LocalStore(root=str(folder)))
    prepared = [prepare(_item(folder, number), shelf) for number in range(first, first + count)]
    return [each for each in prepared if isinstance(each, Question)]


def answer(number: int) -> str:
    """Return the right answer to a question."""
    return f"{number * 3.5:.2f}"


def say(body: Body) -> str:
    """Answer a request as the student would."""
    texts = [text_of(message) for message in body["messages"] if message["role"] == "user"]
    if texts[-1].endswith(wire.START):
        return LOOK
    if texts[-1].endswith(wire.CONTINUE):
        return END
    found = _NUMBER.search(texts[0])
    assert found is not None
    number = int(found[1])
    return answer(number if number % 3 else number + 1)


def _item(folder: Path, number: int) -> Item:
    path = folder / f"{number}.png"
    if not path.is_file():
        _draw(path, number)
    return Item(
        id=str(number),
        question=ASKED.format(number=number),
        gold=(answer(number),),
        answer_type="number",
        images=(path,),
        groups={"shelf": (f"shelf {number % LINES}",)},
    )


def _draw(path: Path, number: int) -> None:
    picture = Image.new("RGB", PICTURE_SIZE, "white")
    drawing = ImageDraw.Draw(picture)
    for at, line in enumerate([f"Prices, table {number}", *READ.split("; ")]):
        drawing.text((10, 10 + 20 * at), line, fill="black")
    picture.save(path, "PNG")


def main() -> None:
    """Serve until standard input closes; no body is kept."""
    with TeacherServer(Behaviour(script=say, keep_bodies=False)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
