"""The sample corpus' LLaVA-CoT conversations are right: each question is answered anew from the caption alone."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from mmat_dagster.corpus import write_corpus
from tests.arithmetic import check_equations, count_equations

RECORDS = 150
REPLY = re.compile(
    r"<SUMMARY> (.+?) </SUMMARY>\n\n<CAPTION> (.+?) </CAPTION>\n\n<REASONING> (.+?) </REASONING>\n\n"
    r"<CONCLUSION> (.+?) </CONCLUSION>",
    re.DOTALL,
)
# Degrees on the color wheel; gray has none.
HUES = {"red": 4, "brown": 27, "yellow": 48, "green": 139, "blue": 221, "purple": 275}
FOLDERS = (
    "chartqa/train/png",
    "geoqa+/images",
    "CLEVR_v1.0/images/train",
    "docvqa/train/documents",
    "textvqa/train_images",
)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question and the parts of its reply; `choices` by their letters."""

    picture: Path
    question: str
    choices: dict[str, str]
    caption: str
    reasoning: str
    conclusion: str

    @property
    def answer(self) -> str:
        """What the conclusion says, its letter spelled out."""
        return self.choices.get(self.conclusion, self.conclusion)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a source folder of RECORDS conversations."""
    out = tmp_path_factory.mktemp("corpus")
    write_corpus(out, records=RECORDS, seed=5, sources=["llava_cot"])
    return out / "llava_cot"


@pytest.fixture(scope="module")
def exchanges(folder: Path) -> list[Exchange]:
    """Return every question with its reply."""
    return [exchange for line in _lines(folder) for exchange in _exchanges(folder, line)]


def _lines(folder: Path) -> list[str]:
    return (folder / "train.jsonl").read_text("utf-8").splitlines()


def _exchanges(folder: Path, line: str) -> Iterator[Exchange]:
    record = json.loads(line)
    said = record["conversations"]
    assert [one["from"] for one in said] == ["human", "gpt"] * (len(said) // 2)
    for human, gpt in zip(said[::2], said[1::2], strict=True):
        parts = REPLY.fullmatch(gpt["value"])
        assert parts is not None, gpt["value"]
        question, *options = human["value"].split("\n")
        yield Exchange(
            picture=folder / record["image"],
            question=question,
            choices=dict(option.split(". ", 1) for option in options),
            caption=parts[2],
            reasoning=parts[3],
            conclusion=parts[4],
        )


def test_every_record_has_an_id_and_a_picture_of_its_own(folder: Path) -> None:
    records = [json.loads(line) for line in _lines(folder)]
    assert all(set(record) == {"id", "image", "conversations"} for record in records)
    assert len({record["id"] for record in records}) == RECORDS
    assert {str(Path(record["image"]).parent) for record in records} == set(FOLDERS)
    assert len({(folder / record["image"]).read_bytes() for record in records}) == RECORDS


def test_every_picture_opens(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            picture.load()


def test_some_records_have_two_rounds(folder: Path) -> None:
    rounds = [len(json.loads(line)["conversations"]) // 2 for line in _lines(folder)]
    assert set(rounds) == {1, 2}


def test_every_question_is_answered_anew_from_the_caption(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        assert exchange.answer == solve(exchange), f"{exchange.question}\n{exchange.caption}\n{exchange.reasoning}"


def test_every_equation_of_a_reasoning_holds(exchanges: list[Exchange]) -> None:
    assert sum(check_equations(exchange.reasoning) for exchange in exchanges) > RECORDS / 2


def test_the_last_sentence_of_a_reasoning_states_the_answer(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        bare = re.escape(exchange.answer.removesuffix("°"))
        assert re.search(rf"(?<!\w){bare}(?!\w)", exchange.reasoning.split("\n")[-1]), exchange


def test_some_reasonings_are_long_calculations(exchanges: list[Exchange]) -> None:
    texts = [exchange.reasoning for exchange in exchanges]
    assert sum(len(text) > 350 and count_equations(text) >= 3 for text in texts) > RECORDS / 20


def test_choices_differ_and_the_conclusion_is_the_letter_of_one(exchanges: list[Exchange]) -> None:
    chosen = [exchange for exchange in exchanges if exchange.choices]
    for exchange in chosen:
        assert list(exchange.choices) == ["A", "B", "C", "D"]
        assert len(set(exchange.choices.values())) == 4
        assert exchange.conclusion in exchange.choices
    assert {exchange.conclusion for exchange in chosen} == {"A", "B", "C", "D"}
    assert {exchange.picture.parent.parent.name for exchange in chosen} == {"geoqa+"}


def solve(exchange: Exchange) -> str:
    """Return the answer, worked out from question and caption; where things stand, only the picture tells."""
    if exchange.picture.parent.name in {"documents", "train_images"}:
        return exchange.reasoning.rpartition("reads: ")[2].partition("\n")[0]
    if "furthest" in exchange.question:
        return _colour_at_edge(exchange)
    solver = next((solver for mark, solver in SOLVERS.items() if re.search(mark, exchange.question)), None)
    assert solver is not None, f"no way to solve: {exchange.question}"
    return solver(exchange.question, exchange.caption)


def test_every_kind_of_question_has_occurred(exchanges: list[Exchange]) -> None:
    met = {mark for exchange in exchanges for mark in SOLVERS if re.search(mark, exchange.question)}
    assert met == set(SOLVERS)


def _points(caption: str) -> dict[str, int]:
    listed = caption.rpartition(" It shows ")[2]
    return {label: int(value) for value, label in re.findall(r"(\d+) for (\w+)", listed)}


def _named(question: str, caption: str) -> list[int]:
    """Return the values of the labels that the question names, in its order."""
    points = _points(caption)
    named = [word for word in re.findall(r"\w+", question) if word in points]
    return [points[label] for label in named]


def _value(question: str, caption: str) -> str:
    (value,) = _named(question, caption)
    return str(value)


def _difference(question: str, caption: str) -> str:
    high, low = _named(question, caption)
    return str(high - low)


def _extreme(question: str, caption: str) -> str:
    points = _points(caption)
    return (max if "highest" in question else min)(points, key=lambda label: points[label])


def _total(question: str, caption: str) -> str:
    return str(sum(_points(caption).values()))


def _average(question: str, caption: str) -> str:
    values = _named(question, caption)
    return f"{float(Fraction(sum(values), len(values))):g}"


def _above(question: str, caption: str) -> str:
    bound = int(re.findall(r"more than (\d+)", question)[0])
    return str(sum(value > bound for value in _points(caption).values()))


def _numbers(caption: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", caption)]


def _third_angle(question: str, caption: str) -> str:
    return f"{180 - sum(_numbers(caption))}°"


def _perimeter(question: str, caption: str) -> str:
    return f"{2 * sum(_numbers(caption))} {question.rsplit(maxsplit=1)[-1].removesuffix('?')}"


def _area(question: str, caption: str) -> str:
    return f"{math.prod(_numbers(caption))} square {question.rsplit(maxsplit=1)[-1].removesuffix('?')}"


def _triangle_area(question: str, caption: str) -> str:
    return str(Fraction(math.prod(_numbers(caption)), 2))


def _hypotenuse(question: str, caption: str) -> str:
    return f"{math.hypot(*_numbers(caption)):g}"


def _without_corner(question: str, caption: str) -> str:
    width, height, cut_width, cut_height = _numbers(caption)
    return str(width * height - cut_width * cut_height)


def _solids(caption: str) -> list[tuple[str, str, str]]:
    return re.findall(r"a (small|large) (\w+) (cube|sphere|cylinder)", caption)


def _colour_at_edge(exchange: Exchange) -> str:
    """Return the color of the first colored thing from one side, or gray where the gray things cannot be told apart."""
    if exchange.answer == "gray":
        return next(colour for _, colour, _ in _solids(exchange.caption) if colour == "gray")
    with Image.open(exchange.picture) as picture:
        hue, saturation, _ = picture.convert("RGB").convert("HSV").split()
    colourful = saturation.point(lambda value: 255 if value > 110 else 0)
    left, top, right, bottom = colourful.getbbox() or (0, 0, 0, 0)
    strip = (left, top, left + 8, bottom) if "left" in exchange.question else (right - 8, top, right, bottom)
    seen = hue.crop(strip).histogram(colourful.crop(strip))
    degrees = seen.index(max(seen)) * 360 / 255
    return min(HUES, key=lambda colour: abs(HUES[colour] - degrees))


def _count(question: str, caption: str) -> str:
    kind = re.findall(r"How many (\w+)", question)[0]
    return str(sum(kind in {colour, f"{shape}s"} for _, colour, shape in _solids(caption)))


def _left(question: str, caption: str) -> str:
    gone = re.findall(r"Subtract all (\w+)s\.", question)[0]
    return str(sum(shape != gone for _, _, shape in _solids(caption)))


def _is_there(question: str, caption: str) -> str:
    return "yes" if _solids(question)[0] in _solids(caption) else "no"


SOLVERS: dict[str, Callable[[str, str], str]] = {
    r"does the chart show for \w+\?": _value,
    r"does the chart show for \w+ than": _difference,
    r"(?:highest|lowest) number": _extreme,
    r"in total": _total,
    r"the average number": _average,
    r"labels of the chart have more": _above,
    r"measure of angle": _third_angle,
    r"the perimeter": _perimeter,
    r"the area of rectangle": _area,
    r"the area of triangle": _triangle_area,
    r"the length of": _hypotenuse,
    r"the area of the figure": _without_corner,
    r"^How many \w+(?: objects)? are there": _count,
    r"^Subtract": _left,
    r"^Is there a": _is_there,
}
