"""The benchmark of the sample corpus: a few generated pictures, to see an examination without any download.

    sample_vqa.tsv   index, image (base64), question, answer, category: VLMEvalKit's layout

Right is an answer that is the gold one in the sense of answers.py: case, punctuation and ways to write a number do not
count.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from mmat_dagster.answers import tokens
from mmat_dagster.decontamination.fields import interpret
from mmat_dagster.decontamination.rows import Broken, Row, read_rows
from mmat_dagster.scoring.benchmark import Benchmark, Item, Output, ScoringError, Unreadable, Verdict

FILE = "sample_vqa.tsv"


class SampleVqa(Benchmark):
    """The sample corpus's own benchmark."""

    name: ClassVar[str] = "sample_vqa"
    title: ClassVar[str] = "Sample VQA"
    source: ClassVar[str] = f"{FILE} is made with the sample corpus, where MMAT_SOURCES is not set."
    rules: ClassVar[tuple[str, ...]] = ("same words",)

    def items(self, folder: Path) -> Iterator[Item | Unreadable]:
        """Yield the rows of the file."""
        path = folder / FILE
        if not path.is_file():
            raise ScoringError(f"{self.title}: no {FILE} in {folder}. {self.source}")
        return map(_item, read_rows(path))

    def outputs(self, path: Path, gold: Path | None) -> Iterator[Output | Unreadable]:  # noqa: ARG002
        """Yield the rows of a table with a column `prediction`."""
        if not path.is_file():
            raise ScoringError(f"{self.title}: {path} is no file of outputs")
        return map(_output, read_rows(path))

    def judge(
        self,
        item: Item,
        response: str,
        extraction: str | None = None,
        rule: str | None = None,  # noqa: ARG002
    ) -> Verdict:
        """Compare the words of the answer with the gold one's."""
        said = response if extraction is None else extraction
        is_right = any(tokens(said) == tokens(gold) for gold in item.gold)
        return Verdict(parsed=said.strip() or None, score=float(is_right))


def _item(row: Row | Broken) -> Item | Unreadable:
    if isinstance(row, Broken):
        return Unreadable(where=row.where, problem=row.problem)
    named = interpret(row)
    if named is None:
        return Unreadable(where=row.name, problem="no question")
    return Item(
        id=named.item,
        question=named.question,
        gold=(str(row.fields.get("answer", "")),),
        answer_type="word_or_phrase",
        images=named.embedded,
        groups={"category": (str(row.fields.get("category", "")),)},
    )


def _output(row: Row | Broken) -> Output | Unreadable:
    if isinstance(row, Broken):
        return Unreadable(where=row.where, problem=row.problem)
    said = row.fields.get("prediction")
    item = Item(
        id=str(row.fields.get("index")),
        question=str(row.fields.get("question", "")),
        gold=(str(row.fields.get("answer", "")),),
        answer_type="word_or_phrase",
        groups={"category": (str(row.fields.get("category", "")),)},
    )
    if said is None:
        return Unreadable(where=row.name, problem="no prediction")
    return Output(item=item, response=str(said))
