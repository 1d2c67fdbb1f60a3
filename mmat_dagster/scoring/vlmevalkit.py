"""What VLMEvalKit writes: a TSV file per benchmark, and a table of predictions per model.

    AI2D_TEST.tsv        index  question  hint  A  B  C  D  answer  category  image (base64, or another row's index)
    *_AI2D_TEST.xlsx     the same without images, and with what the model said as `prediction`
    *_openai_result.xlsx the same, and `hit` and `log`, which tells what the response was taken for

TSV files come from https://opencompass.openxlab.space/utils/VLMEval/<name>.tsv into the folder LMUData.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring import option_letters
from mmat_dagster.scoring.benchmark import Item, Output, Verdict
from mmat_dagster.scoring.option_letters import LETTERS
from mmat_dagster.scoring.record_fields import RecordError, as_text, field, needed
from mmat_dagster.scoring.shipped import ShippedBenchmark
from mmat_dagster.sources.wording import split_choices

_LOG = re.compile(r"Match Log: (.*?)\.? ?", re.DOTALL)
_UNMATCHED = ("Failed in Prefetch", "Failed to predict")
_TRUE, _FALSE = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false"})
# Choices in one line: `Options: A: a dog, B: a cat, C: none`.
_IN_LINE = re.compile(r"(?<!\S)([A-Z]): ")
_OPTIONS = re.compile(r"\b(?:options|choices):\s*(?=\(?A[.:)])", re.IGNORECASE)


def download(table: str, hub: str) -> str:
    """Return the sentence that tells where a benchmark is to be had: VLMEvalKit's table, or the hub's data set."""
    return (
        f"Get {table}.tsv as VLMEvalKit keeps it in LMUData "
        f"(https://opencompass.openxlab.space/utils/VLMEval/{table}.tsv), or {hub}."
    )


class ChoiceBenchmark(ShippedBenchmark):
    """A benchmark whose answers are letters of options, judged as VLMEvalKit does."""

    rules: ClassVar[tuple[str, ...]] = option_letters.RULES

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge the option that the response means; where it shows none, what it was taken for already."""
        said = option_letters.judge_letter(item.gold, response, item.choices, rule or self.rules[0])
        if said.parsed is not None or extraction is None:
            return said
        return option_letters.judge_letter(item.gold, extraction, item.choices, rule or self.rules[0])

    def find_rule(self, outputs: Sequence[Output]) -> str:
        """Return the version whose verdicts are those of the file, where it tells any."""
        return option_letters.best_rule(
            self.rules, outputs, lambda output, rule: self.judge(output.item, output.response, output.extraction, rule)
        )

    def extraction_of(self, row: Row) -> str | None:
        """Return what VLMEvalKit's log says that the response was taken for."""
        return matched(row)

    def verdict_of(self, row: Row) -> bool | None:
        """Return VLMEvalKit's verdict."""
        return hit(row)


def choice_item(row: Row, groups: Mapping[str, str]) -> Item:
    """Return the item of a row of options; its gold is a letter. Raises RecordError where it has no question."""
    question, choices = choices_of(row)
    return Item(
        id=field(row, "index", "id", "idx", "question_id") or row.name,
        question=question,
        gold=letter_of(row, choices),
        answer_type="option_letter",
        choices=choices,
        groups={grouping: (name,) for grouping, name in groups.items() if name},
    )


def choices_of(row: Row) -> tuple[str, tuple[str, ...]]:
    """Return question and choices: from the columns A, B, .., a list of options, or the question's own last lines."""
    question, hint = needed(row, "question", "query"), field(row, "hint")
    question = f"{hint}\n{question}" if hint else question
    listed = row.fields.get("options") or row.fields.get("choices")
    if isinstance(listed, list):
        return question, tuple(map(as_text, listed))
    columns = [field(row, letter.lower()) for letter in LETTERS]
    last = max((place for place, text in enumerate(columns, start=1) if text), default=0)
    if last:
        # MMStar's questions show the options too.
        return split_listed(question)[0], tuple(columns[:last])
    return split_listed(question)


def split_listed(question: str) -> tuple[str, tuple[str, ...]]:
    """Return a question without the options that stand below or behind it, and these."""
    title = list(_OPTIONS.finditer(question))
    if title:
        marks = list(_IN_LINE.finditer(question[title[-1].end() :]))
        if [mark[1] for mark in marks] == list(LETTERS[: len(marks)]) and len(marks) > 1:
            return question[: title[-1].start()].rstrip(), _between(question[title[-1].end() :], marks)
    return split_choices(question)


def letter_of(row: Row, choices: Sequence[str]) -> tuple[str, ...]:
    """Return the letter of the right option: told as such, in brackets, by its place from 0, or by its text."""
    answer = field(row, "answer", "gt_answer", "label")
    letter = answer.removeprefix("(").removesuffix(".").removesuffix(")")
    if len(letter) == 1 and letter.upper() in LETTERS:
        return (letter.upper(),)
    # An option that is a number itself is told by its place all the same.
    if answer.isdecimal() and answer.isascii() and int(answer[:9]) < len(choices):
        return (LETTERS[int(answer[:9])],)
    if answer in choices:
        return (LETTERS[choices.index(answer)],)
    if answer and answer != "hidden":
        raise RecordError(f"the answer {answer[:80]!r} is no option")
    return ()


def hit(row: Row) -> bool | None:
    """Return the verdict that a table tells."""
    told = field(row, "hit", "score", "correct", "eval_result").casefold()
    return True if told in _TRUE else False if told in _FALSE else None


def matched(row: Row) -> str | None:
    """Return what a table's log says that the response was taken for; None where it was taken for nothing."""
    log = _LOG.fullmatch(as_text(row.fields.get("log")))
    return None if log is None or log[1].startswith(_UNMATCHED) else log[1]


def _between(text: str, marks: Sequence[re.Match[str]]) -> tuple[str, ...]:
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return tuple(text[mark.end() : end].strip().rstrip(",;") for mark, end in zip(marks, ends, strict=True))
