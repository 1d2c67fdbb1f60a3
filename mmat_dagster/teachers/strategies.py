"""How the annotations teacher reasons: one strategy for each kind of evidence that a source can hold.

A strategy plans its tool-calling steps from the sample alone, then concludes from what the tools really said. It
concludes nothing that the evidence does not show: `conclude` returns a Gap there, and the sample is rejected.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from mmat_dagster import answers
from mmat_dagster.interfaces import Finding
from mmat_dagster.operators.findings import NO_TEXT
from mmat_dagster.operators.looking import FAILED
from mmat_dagster.schema import RejectionReason, Sample, Step, Turn
from mmat_dagster.teachers import evidence, working
from mmat_dagster.wire import RAG

_FACES = re.compile(r"\bhow many (?:people|persons|faces) (?:are|is|do you see|can be seen|appear)\b", re.IGNORECASE)
_THINGS = (
    "object|animal|bird|plant|building|place|vehicle|instrument|sport|thing|body|structure|monument|machine|device|"
    "food|game|boat|flower|planet|phenomenon"
)
# How a question points at what the image shows, the surest sign first.
_POINTERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bthis (?:(?:kind|type|sort) of )?(?:[\w-]+ )?(?:{_THINGS})\b",
        r"\bthis (?:(?:kind|type|sort) of )?[\w-]+\b",
        rf"\bthe (?:[\w-]+ )?(?:{_THINGS})\b",
    )
)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Why no conclusion can be drawn."""

    reason: RejectionReason
    detail: str


class Strategy(ABC):
    """Reasons about one kind of sample."""

    @abstractmethod
    def plan(self, sample: Sample, offered: frozenset[str]) -> tuple[Step, ...] | None:
        """Return the steps that call tools, in order; None where this strategy does not fit the sample."""

    @abstractmethod
    def conclude(self, sample: Sample, turns: Sequence[Turn]) -> str | Gap:
        """Return the last thought, which states the answer."""

    def find_pretence(self, sample: Sample, turns: Sequence[Turn]) -> Finding | None:  # noqa: ARG002
        """Return what the conclusion claims although no result shows it."""
        return None


class WorkedSolution(Strategy):
    """The source's people wrote the reasoning down (TabMWP, LLaVA-CoT): look at the image, then follow it."""

    def plan(self, sample: Sample, offered: frozenset[str]) -> tuple[Step, ...] | None:
        if sample.annotations.reasoning is None:
            return None
        wanted = ["image_caption"] if "image_caption" in offered else []
        if "ocr" in offered and (not wanted or re.search(r"\d", sample.annotations.reasoning)):
            wanted.append("ocr")
        if not wanted:
            return ()
        return (Step(thought=_opening(sample, wanted), operators=tuple(wanted), signal="continue"),)

    def conclude(self, sample: Sample, turns: Sequence[Turn]) -> str | Gap:
        solution = sample.annotations.reasoning or ""
        if not answers.states_gold(solution, sample):
            return Gap(reason="reasoning does not yield the answer", detail=f"it ends: {solution.strip()[-200:]}")
        return _lead(sample, turns) + working.in_brief(solution)

    def find_pretence(self, sample: Sample, turns: Sequence[Turn]) -> Finding | None:
        missing = _unseen_cells(sample, turns)
        if not missing:
            return None
        listed, row = ", ".join(missing), next(iter(missing.values()))
        return Finding(
            reason=f"the reasoning uses {listed}, which the recognised text does not show",
            thought=f"I used {listed}, but the recognised text does not show it. The table itself does, in the row "
            f"“{row}”. With that row read right:\n{working.whole(sample.annotations.reasoning or '')}",
        )


class NamedEntity(Strategy):
    """The source names what the image shows (InfoSeek): search for what the image cannot tell."""

    def plan(self, sample: Sample, offered: frozenset[str]) -> tuple[Step, ...] | None:  # noqa: ARG002
        entity = sample.annotations.entity
        if entity is None:
            return None
        thought = f"The image shows {entity}. What is asked cannot be seen in the image, so I search for it."
        query = _about(entity, sample.bare_question)
        return (Step(thought=thought, rag_query=query, signal="continue"),)

    def conclude(self, sample: Sample, turns: Sequence[Turn]) -> str | Gap:
        sentence = evidence.find_sentence(_about_entity(sample, evidence.observed(turns, RAG)), sample)
        if sentence is None:
            return Gap(
                reason="reasoning does not yield the answer",
                detail=f"no passage found about {sample.annotations.entity} states {sample.answers[0]!r}",
            )
        return f"One of the passages found says: “{sentence}” {_so(sample)}"


class CountedFaces(Strategy):
    """The question counts people: let faces be detected, and count."""

    def plan(self, sample: Sample, offered: frozenset[str]) -> tuple[Step, ...] | None:
        if "face_detection" not in offered or len(sample.images) > 1 or not _FACES.search(sample.bare_question):
            return None
        thought = "People are to be counted. Each of them shows a face, so I have the faces detected."
        return (Step(thought=thought, operators=("face_detection",), signal="continue"),)

    def conclude(self, sample: Sample, turns: Sequence[Turn]) -> str | Gap:
        (found,) = evidence.observed(turns, "face_detection")
        count = "0" if found.startswith("no ") else found.split(" ", 1)[0]
        if not answers.is_gold(count, sample):
            detail = f"{count} faces were detected, {sample.answers[0]} is the answer"
            return Gap(reason="reasoning does not yield the answer", detail=detail)
        return f"Faces were detected at {count} places, none of them twice, so there are {count} people."


class LocatedText(Strategy):
    """The source marks the region that answers (Visual CoT): find the region, read it, take over what it says."""

    def plan(self, sample: Sample, offered: frozenset[str]) -> tuple[Step, ...] | None:
        if not {"label_bbox", "ocr"} <= offered:
            return None
        phrase = sample.annotations.boxes[0].phrase
        locate = f"I am asked about the {phrase}. First I find out where in the image that is."
        read = f"Now I know where the {phrase} is. To know what it says I read the text in the image."
        return (
            Step(thought=locate, operators=("label_bbox",), signal="continue"),
            Step(thought=read, operators=("ocr",), signal="continue"),
        )

    def conclude(self, sample: Sample, turns: Sequence[Turn]) -> str | Gap:
        reading = _reading(sample, turns)
        if reading is None:
            detail = f"the recognised text does not hold {sample.answers[0]!r}"
            return Gap(reason="reasoning does not yield the answer", detail=detail)
        says = reading.text if reading.is_exact else sample.answers[0]
        phrase = sample.annotations.boxes[0].phrase
        return f"At the place of the {phrase} the recognised text says “{says}”. {_so(sample)}"

    def find_pretence(self, sample: Sample, turns: Sequence[Turn]) -> Finding | None:
        reading = _reading(sample, turns)
        if reading is None or reading.is_exact:
            return None
        gold = sample.answers[0]
        return Finding(
            reason=f"the recognised text says {reading.text!r}, not {gold!r}",
            thought=f"The recognised text says “{reading.text}” there, which I cannot take over as it stands: some "
            f"of its characters were recognised wrongly or left out. Compared with what is printed, it says “{gold}”. "
            f"{_so(sample)}",
        )


class ReadLine(Strategy):
    """Nothing but the image is given (The Cauldron): read it, and look for the line that the question is about."""

    def plan(self, sample: Sample, offered: frozenset[str]) -> tuple[Step, ...] | None:
        if (
            "ocr" not in offered
            or len(sample.images) > 1
            or sample.answer_type in ("option_letter", "yes_no", "free_text")
        ):
            return None
        thought = "What is asked may be written in the image, so I read its text first."
        return (Step(thought=thought, operators=("ocr",), signal="continue"),)

    def conclude(self, sample: Sample, turns: Sequence[Turn]) -> str | Gap:
        (recognised,) = evidence.observed(turns, "ocr")
        line = evidence.find_line(recognised, sample)
        if line is not None:
            return f"The line that the question is about reads “{line}”. {_so(sample)}"
        inscription = evidence.find_inscription(recognised, sample)
        if inscription is not None:
            return f"The question asks for what is written there, and the image says “{inscription}”. {_so(sample)}"
        detail = f"no recognised line holds both {sample.answers[0]!r} and what the question is about"
        return Gap(reason="annotations hold no reasoning", detail=detail)


STRATEGIES: tuple[Strategy, ...] = (WorkedSolution(), NamedEntity(), CountedFaces(), LocatedText(), ReadLine())


def _so(sample: Sample) -> str:
    return f"So the answer is {sample.answers[0].strip().removesuffix('.')}."


def _opening(sample: Sample, tools: Sequence[str]) -> str:
    notes = sample.annotations
    if notes.table is not None:
        title = f" titled “{notes.table_title}”" if notes.table_title else ""
        return f"The image holds a table{title}. I read its text first, since the answer depends on its entries."
    look = "have the image described" if tools[0] == "image_caption" else "read the text in the image"
    more = " and its text read" if len(tools) > 1 else ""
    return f"{notes.summary or ''} Before I reason about it, I {look}{more}.".strip()


def _lead(sample: Sample, turns: Sequence[Turn]) -> str:
    if _reads_table(sample, turns):
        return "The recognised text gives me the rows of the table.\n"
    if sample.annotations.table is not None and evidence.observed(turns, "ocr"):
        return "The text was not recognised, so I read the rows of the table in the image myself.\n"
    return ""


def _reads_table(sample: Sample, turns: Sequence[Turn]) -> bool:
    """Say whether there is a table and its text was recognised; an operator may have failed, or found nothing."""
    read = (text for text in evidence.observed(turns, "ocr") if FAILED not in text and text != NO_TEXT)
    return sample.annotations.table is not None and any(read)


def _unseen_cells(sample: Sample, turns: Sequence[Turn]) -> dict[str, str]:
    """Return the numbers that the solution uses and no result shows, by cell, each with its row of the table."""
    if not _reads_table(sample, turns):
        return {}
    seen = {token for text in evidence.observed(turns, "ocr") for token in answers.tokens(text)}
    used = set(answers.tokens(working.whole(sample.annotations.reasoning or "")))
    return {
        cell.strip(): row.strip()
        for row in (sample.annotations.table or "").split("\n")
        for cell in row.split("|")
        if (number := _only_number(cell)) and number in used - seen
    }


def _only_number(cell: str) -> str | None:
    """Return the one number that a cell holds, with or without a unit; None for words and for several numbers."""
    numbers = [token for token in answers.tokens(cell) if any(char.isdigit() for char in token)]
    return numbers[0] if len(numbers) == 1 else None


def _reading(sample: Sample, turns: Sequence[Turn]) -> evidence.Reading | None:
    found = (evidence.find_reading(text, sample.answers[0]) for text in evidence.observed(turns, "ocr"))
    return next((reading for reading in found if reading is not None), None)


def _about(entity: str, question: str) -> str:
    """Return the question with the thing that it points at named."""
    for pointer in _POINTERS:
        named, count = pointer.subn(entity, question, count=1)
        if count:
            return named
    return f"{entity}: {question}"


def _about_entity(sample: Sample, passages: Sequence[str]) -> list[str]:
    """Return the passages that name the entity: a fact about something else proves nothing."""
    entity = sample.annotations.entity or ""
    return [passage for passage in passages if answers.holds_phrase(passage, entity)]
