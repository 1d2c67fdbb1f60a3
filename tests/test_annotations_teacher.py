"""The offline teacher reasons from what it is given, for each source, and from nothing else.

The golden files hold one RR and one ORR dialogue of each source, word for word; after a change that is meant, rewrite
them with MMAT_WRITE_GOLDEN=1.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from mmat_dagster import prompts
from mmat_dagster.operators.findings import NO_TEXT
from mmat_dagster.operators.looking import FAILED
from mmat_dagster.operators.source_boxes import SourceBoxes
from mmat_dagster.operators.source_caption import SourceCaption
from mmat_dagster.reasoning import Toolbox
from mmat_dagster.schema import Annotations, Box, Dialogue, Message, Rationale, Rejection, Sample
from mmat_dagster.stages.integration import integrate
from mmat_dagster.stages.rationale import write_rationale
from mmat_dagster.stages.reflection import reflect
from mmat_dagster.teachers import evidence, working
from mmat_dagster.teachers.annotations import AnnotationsTeacher
from mmat_dagster.tools import Failed, Look, Operator, Passage, Sight
from tests.builders import make_sample
from tests.fakes import ToldOperator, ToldRetriever
from tests.looking import Folder

GOLDEN = Path(__file__).parent / "data" / "golden"

TABLE = "sand | $2/kg\ngravel | $3/kg"
LONG_SOLUTION = (
    "First find what the sand costs: multiply its price by its weight, as both are told.\n"
    "Sand: $2 × 4 = $8\n"
    "Then find what the gravel costs: multiply its price by its weight in the same way as before.\n"
    "Gravel: $3 × 5 = $15\n"
    "At last add both amounts, which gives the cost of everything that is bought in the building yard.\n"
    "$8 + $15 = $23\n"
    "Everything together costs $23."
)

TABMWP = make_sample(
    question="How much do 4 kg of sand and 5 kg of gravel cost? Answer with a number.",
    bare_question="How much do 4 kg of sand and 5 kg of gravel cost?",
    answers=("23",),
    unit="$",
    annotations=Annotations(reasoning=LONG_SOLUTION, table=TABLE, table_title="Building yard"),
)
VISUAL_COT = make_sample(
    id="visual_cot/sroie/1",
    source="visual_cot",
    part="sroie",
    question="What is the company in the invoice? Answer the question with a single word or phrase.",
    bare_question="What is the company in the invoice?",
    answers=("BLUE HARBOUR TRADING",),
    answer_type="word_or_phrase",
    annotations=Annotations(boxes=(Box(phrase="company", x1=20, y1=10, x2=180, y2=22),)),
)
LLAVA_COT = make_sample(
    id="llava_cot/1",
    source="llava_cot",
    part="geoqa+",
    question="How large is the third angle?\n(A) 60°\n(B) 70°\nAnswer with the option's letter.",
    bare_question="How large is the third angle?",
    answers=("B",),
    answer_type="option_letter",
    choices=("60°", "70°"),
    annotations=Annotations(
        summary="I will use the sum of the angles in a triangle.",
        caption="A triangle. Two of its angles are marked with 50° and 60°.",
        reasoning="The angles of a triangle add up to 180°. 180 - 50 - 60 = 70. So the third angle is 70°, option B.",
    ),
)
THE_CAULDRON = make_sample(
    id="the_cauldron/robut_wtq/0/0",
    source="the_cauldron",
    part="robut_wtq",
    question="In which town was a bridge opened in 1951? Answer the question with a single word or phrase.",
    bare_question="In which town was a bridge opened in 1951?",
    answers=("Fairhaven",),
    answer_type="word_or_phrase",
)
INFOSEEK = make_sample(
    id="infoseek/1",
    source="infoseek",
    part="train",
    question="How tall is this tower in metres? Answer with a number.",
    bare_question="How tall is this tower in metres?",
    answers=("60-70",),
    number_range=(60.0, 70.0),
    annotations=Annotations(entity="Gull Rock Lighthouse"),
)
READ: Mapping[str, str] = {
    "tabmwp": "Building yard; sand | $2/kg; gravel | $3/kg",
    "visual_cot": "BLUE HARBQUR TRADING; 4 Quay Street; TOTAL | 12.40",
    "llava_cot": "50° | 60°",
    "the_cauldron": "Bridges; Old Bridge | Redcliff | 1914; New Bridge | Fairhaven | 1951",
    "infoseek": "",
}
PASSAGES = (
    Passage(id="1", title="Gull Rock", text="Gull Rock is an island. It is 90 metres long."),
    Passage(id="2", title="Gull Rock Lighthouse", text="Gull Rock Lighthouse is a tower. It stands 64 metres tall."),
)
SAMPLES = {sample.source: sample for sample in (TABMWP, VISUAL_COT, LLAVA_COT, THE_CAULDRON, INFOSEEK)}


class Faces(Operator):
    """Finds two faces."""

    name: ClassVar[str] = "face_detection"
    purpose: ClassVar[str] = "counts"
    max_chars = 100

    @property
    def version(self) -> str:
        return "two"

    def offers(self, looks: Sequence[Look]) -> bool:
        return True

    async def look(self, looks: Sequence[Look]) -> Sequence[Sight | Failed]:
        return [Sight(text="2 faces: [1, 1, 9, 9], [20, 1, 29, 9]") for _ in looks]


def tools(text: str) -> Toolbox:
    operators: dict[str, Operator] = {
        "image_caption": SourceCaption(),
        "label_bbox": SourceBoxes(),
        "ocr": ToldOperator(text),
        "face_detection": Faces(),
    }
    return Toolbox(operators=operators, retriever=ToldRetriever(*PASSAGES))


async def write(sample: Sample, text: str) -> Rationale | Rejection:
    return await write_rationale(sample, AnnotationsTeacher(), tools(text), Folder())


async def write_dialogue(sample: Sample, text: str) -> Dialogue:
    rationale = await write(sample, text)
    assert isinstance(rationale, Rationale)
    system = prompts.render("rr_system", operators="ocr: reads the text in the image")
    dialogue = await reflect(rationale, AnnotationsTeacher(), system, 6)
    assert isinstance(dialogue, Dialogue)
    return dialogue


@pytest.mark.parametrize("source", SAMPLES)
async def test_each_sources_dialogues_are_the_golden_ones(source: str) -> None:
    dialogue = await write_dialogue(SAMPLES[source], READ[source])  # type: ignore[index]
    integrated = integrate(dialogue, prompts.render("orr_system"))
    assert not isinstance(integrated, Rejection)
    check_golden(GOLDEN / f"{source}.rr.txt", dialogue.messages)
    check_golden(GOLDEN / f"{source}.orr.txt", integrated.messages)


def check_golden(path: Path, messages: tuple[Message, ...]) -> None:
    text = "".join(f"=== {message.role}\n{message.content}\n" for message in messages)
    if os.environ.get("MMAT_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; if that is meant, rewrite it with MMAT_WRITE_GOLDEN=1"


async def test_a_calculation_left_out_comes_back_in_a_math_reflection() -> None:
    dialogue = await write_dialogue(TABMWP, READ["tabmwp"])
    first, corrected = dialogue.transcript.turns[1].step.thought, dialogue.transcript.turns[-1].step.thought
    assert dialogue.reflection == "math"
    assert "$2 × 4 = $8" not in first
    assert "$2 × 4 = $8" in corrected
    assert corrected.endswith("Everything together costs $23.")


async def test_a_short_calculation_stays_in_the_thought() -> None:
    solution = "Multiply.\n$2 × 4 = $8\nIt costs $8."
    sample = make_sample(answers=("8",), annotations=Annotations(reasoning=solution, table=TABLE))
    dialogue = await write_dialogue(sample, READ["tabmwp"])
    assert dialogue.reflection == "none"
    assert "$2 × 4 = $8" in dialogue.transcript.turns[-1].step.thought


async def test_a_number_that_no_result_shows_is_admitted() -> None:
    solution = "Multiply.\n$2 × 4 = $8\nIt costs $8."
    sample = make_sample(answers=("8",), annotations=Annotations(reasoning=solution, table=TABLE))
    dialogue = await write_dialogue(sample, "sand | $Z/kg; gravel | $3/kg")
    assert dialogue.reflection == "general"
    assert "the recognised text does not show it" in dialogue.transcript.turns[-1].step.thought
    assert "sand | $2/kg" in dialogue.transcript.turns[-1].step.thought


@pytest.mark.parametrize("said", [FAILED, NO_TEXT, f"image 1: {NO_TEXT}; image 2: {FAILED}"])
async def test_what_no_operator_has_read_is_not_said_to_be_recognised(said: str) -> None:
    solution = "Multiply.\n$2 × 4 = $8\nIt costs $8."
    sample = make_sample(answers=("8",), annotations=Annotations(reasoning=solution, table=TABLE))
    dialogue = await write_dialogue(sample, said)
    assert dialogue.reflection == "none"
    thought = dialogue.transcript.turns[-1].step.thought
    assert thought.startswith("The text was not recognised, so I read the rows of the table in the image myself.")


@pytest.mark.parametrize(
    ("table", "recognised", "solution"),
    [
        (
            "Date | Received\n7/5 | $8\n7/17 | $2",
            "Date | Received; 7/5 | $8; 7/17 | $2",
            "Look at the 7/5 row.\nIt is $8.",
        ),
        ("Stem | Leaf\n5 | 1, 6, 8", "Stem | Leaf; 5 | 168", "Count the leaves up to 6.\nThere are 8."),
    ],
)
async def test_dates_and_leaves_are_no_numbers_that_a_result_could_lack(
    table: str, recognised: str, solution: str
) -> None:
    sample = make_sample(answers=("8",), annotations=Annotations(reasoning=solution, table=table))
    assert (await write_dialogue(sample, recognised)).reflection == "none"


async def test_a_solution_that_ends_elsewhere_rejects_the_sample() -> None:
    sample = make_sample(answers=("9",), annotations=Annotations(reasoning="$2 × 4 = $8\nIt costs $8.", table=TABLE))
    lost = await write(sample, READ["tabmwp"])
    assert isinstance(lost, Rejection)
    assert lost.reason == "reasoning does not yield the answer"


async def test_text_that_reads_otherwise_is_mended_in_a_general_reflection() -> None:
    dialogue = await write_dialogue(VISUAL_COT, READ["visual_cot"])
    assert dialogue.reflection == "general"
    assert "“BLUE HARBQUR TRADING”" in dialogue.transcript.turns[-1].step.thought
    assert (await write_dialogue(VISUAL_COT, "BLUE HARBOUR TRADING")).reflection == "none"


async def test_text_that_says_something_else_rejects_the_sample() -> None:
    lost = await write(VISUAL_COT, "RED HILL BAKERY; 4 Quay Street")
    assert isinstance(lost, Rejection)
    assert lost.reason == "reasoning does not yield the answer"


async def test_a_letter_without_reasoning_rejects_the_sample() -> None:
    sample = make_sample(answers=("B",), choices=("1", "2"), answer_type="option_letter")
    lost = await write(sample, "1 | 2")
    assert isinstance(lost, Rejection)
    assert lost.reason == "annotations hold no reasoning"


async def test_a_passage_about_something_else_proves_nothing() -> None:
    sample = make_sample(**{**vars(INFOSEEK), "number_range": (85.0, 95.0), "answers": ("85-95",)})
    lost = await write(sample, "")
    assert isinstance(lost, Rejection)
    assert lost.detail == "no passage found about Gull Rock Lighthouse states '85-95'"


@pytest.mark.parametrize(("gold", "is_kept"), [("2", True), ("3", False)])
async def test_people_are_counted_by_their_faces(gold: str, is_kept: bool) -> None:
    sample = make_sample(bare_question="How many people are in the picture?", answers=(gold,))
    assert isinstance(await write(sample, ""), Rationale) is is_kept


async def test_a_line_must_hold_what_the_question_names() -> None:
    lost = await write(THE_CAULDRON, "Old Bridge | Redcliff | 1914; Fairhaven | 1960")
    assert isinstance(lost, Rejection)
    assert lost.reason == "annotations hold no reasoning"


@pytest.mark.parametrize(
    ("recognised", "gold", "reading"),
    [
        ("A; 12 Quay | Street; B", "12 quay street", evidence.Reading(text="12 Quay Street", is_exact=True)),
        ("A; 12 Quoy Street; B", "12 Quay Street", evidence.Reading(text="12 Quoy Street", is_exact=False)),
        ("TOTAL | 8.2", "$8.20", evidence.Reading(text="8.2", is_exact=True)),
        ("13 | 31", "3", None),
        ("", "3", None),
    ],
)
def test_readings_are_exact_near_or_none(recognised: str, gold: str, reading: evidence.Reading | None) -> None:
    assert evidence.find_reading(recognised, gold) == reading


def test_a_solution_in_brief_and_its_calculations_are_the_whole() -> None:
    brief, calculations = working.in_brief(LONG_SOLUTION), working.calculations(LONG_SOLUTION)
    assert calculations == ["Sand: $2 × 4 = $8", "Gravel: $3 × 5 = $15", "$8 + $15 = $23"]
    assert sorted([*brief.split("\n"), *calculations]) == sorted(working.lines(LONG_SOLUTION))
    assert working.in_brief(LONG_SOLUTION, 1000) == LONG_SOLUTION


def test_prose_is_cut_into_sentences() -> None:
    prose = "There are 3 rows. Each holds 4, so 3 × 4 = 12. There are 12."
    assert working.in_brief(prose, 10) == "There are 3 rows. There are 12."
