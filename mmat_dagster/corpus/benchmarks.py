"""A benchmark of the sample corpus, in VLMEvalKit's layout: what no sample may give away.

sample_vqa/sample_vqa.tsv   index, image (base64), question, answer, category

Two of its items stand in the sources too, one by its picture and one by its question: so that there is something to
find, as AI2D and TabMWP stand in real benchmarks.
"""

import base64
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from PIL import Image

from mmat_dagster.corpus import signs
from mmat_dagster.corpus.charts import draw_chart

NAME = "sample_vqa"
DRAWN = 8
# Their questions are short: the sources ask them too, and of other pictures.
SCENES = (signs.draw_road_sign, signs.draw_shop)


@dataclass(frozen=True, kw_only=True)
class PublishedItem:
    """A row with the publisher's column names."""

    index: int
    image: str
    question: str
    answer: str
    category: str


def generate(folder: Path, sources: Path, rng: Random) -> None:
    """Write the benchmark to `folder`; `sources` holds the corpus that it shares two items with."""
    (folder / NAME).mkdir(parents=True)
    items = [*_drawn(rng), _shared_picture(sources), _shared_question(sources, rng)]
    with (folder / NAME / f"{NAME}.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(asdict(items[0])), delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(map(asdict, items))


def _drawn(rng: Random) -> Iterator[PublishedItem]:
    for index in range(DRAWN):
        scene = SCENES[index % len(SCENES)](rng)
        asked = scene.questions[0]
        image = _base64(scene.canvas.png())
        yield PublishedItem(index=index, image=image, question=asked.question, answer=asked.answer, category="drawn")


def _shared_picture(sources: Path) -> PublishedItem:
    """Return an item over one of InfoSeek's pictures, smaller and as a JPEG."""
    path = next(iter(sorted((sources / "infoseek" / "oven_images").rglob("*.png"))))
    buffer = io.BytesIO()
    with Image.open(path) as image:
        smaller = image.convert("RGB").resize((image.width * 3 // 4, image.height * 3 // 4))
    smaller.save(buffer, "JPEG", quality=85)
    return PublishedItem(
        index=DRAWN,
        image=_base64(buffer.getvalue()),
        question="What is shown here?",
        answer="a landmark",
        category="shared picture",
    )


def _shared_question(sources: Path, rng: Random) -> PublishedItem:
    """Return an item that asks one of TabMWP's questions over another picture."""
    problems = json.loads((sources / "tabmwp" / "problems_train.json").read_text(encoding="utf-8")).values()
    longest = max(problems, key=lambda problem: len(problem["question"].split()))
    return PublishedItem(
        index=DRAWN + 1,
        image=_base64(draw_chart(rng).canvas.png()),
        question=longest["question"],
        answer=longest["answer"],
        category="shared question",
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
