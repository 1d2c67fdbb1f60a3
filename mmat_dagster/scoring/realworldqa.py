r"""RealWorldQA: questions to photos as a car's camera or a passer-by takes them.

    {"question": "In which direction is the nearest car facing?\n\nA. Left\nB. Right\n\nPlease answer directly with only
    the letter of the correct option and nothing else.", "answer": "B", "image": {"bytes": ..}}

The publisher's file has questions without options too, which want a word or a number.
"""

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.questions import normalise_question
from mmat_dagster.scoring.benchmark import Item, Verdict
from mmat_dagster.scoring.record_fields import field, needed
from mmat_dagster.scoring.vlmevalkit import ChoiceBenchmark, choice_item, choices_of, download
from mmat_dagster.sources.wording import guess_answer_type, strip_instructions

_NUMBERS = {
    name: str(number) for number, name in enumerate("zero one two three four five six seven eight nine ten".split())
}


class RealWorldQA(ChoiceBenchmark):
    """RealWorldQA; answers without options must be the gold one, but for case, closing marks and number words."""

    name = "realworldqa"
    title = "RealWorldQA"
    source = download("RealWorldQA", "data/test-*.parquet of xai-org/RealworldQA on the hub")
    patterns = ("*/test-*.parquet", "*/*realworldqa.tsv", "*/*realworldqa*.tsv", "*/*.parquet")

    def item_of(self, row: Row) -> Item:
        """Return the item of a record, with the instruction behind it taken away."""
        question = strip_instructions(needed(row, "question", "query"))
        bare = Row(fields={**row.fields, "question": question}, name=row.name, number=row.number)
        groups = {"category": field(row, "category")}
        if choices_of(bare)[1]:
            return choice_item(bare, groups)
        answer = field(row, "answer", "label")
        return Item(
            id=field(row, "index", "id", "idx", "question_id") or row.name,
            question=question,
            gold=(answer,) if answer else (),
            answer_type=guess_answer_type(answer) if answer else "word_or_phrase",
            groups={grouping: (name,) for grouping, name in groups.items() if name},
        )

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge by the option that the response means, or by the answer itself where there are no options."""
        if item.choices:
            return super().judge(item, response, extraction, rule)
        said = _plain(response if extraction is None else extraction)
        return Verdict(parsed=said or None, score=float(said in map(_plain, item.gold)))


def _plain(answer: str) -> str:
    text = normalise_question(answer)
    return _NUMBERS.get(text, text)
