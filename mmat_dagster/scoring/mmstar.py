r"""MMStar: 1,500 questions of six core abilities that cannot be answered without the image.

    {"index": 0, "question": "Which option describes ..?\nOptions: A: The suitcase is on the book., B: ..",
     "answer": "A", "category": "coarse perception", "l2_category": "image scene and topic", "image": ..}

Its own rule wants the letter first: `A`, `(A)`, `option A`, `the answer is A`. VLMEvalKit infers the option.
"""

from collections.abc import Sequence
from typing import ClassVar

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring import option_letters
from mmat_dagster.scoring.benchmark import Item, Output, Verdict
from mmat_dagster.scoring.record_fields import field
from mmat_dagster.scoring.vlmevalkit import ChoiceBenchmark, choice_item, download

FIRST_LETTER = "first-letter"
_OPENINGS = ("", "(", "option ", "the answer is ")


class MMStar(ChoiceBenchmark):
    """MMStar's validation set, all of it that is published."""

    name = "mmstar"
    title = "MMStar"
    source = download("MMStar", "mmstar.parquet of Lin-Chen/MMStar on the hub")
    rules: ClassVar[tuple[str, ...]] = (FIRST_LETTER, *option_letters.RULES)
    patterns = ("*/mmstar*.parquet", "*/val-*.parquet", "*/*mmstar.tsv", "*/*mmstar*.tsv", "*/*.parquet")

    def item_of(self, row: Row) -> Item:
        """Return the item of a record, with its ability and the kind of task below it."""
        return choice_item(
            row, {"category": field(row, "category"), "l2_category": field(row, "l2_category", "l2-category")}
        )

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge by the first letter, or by the option that the response means."""
        if rule in (None, FIRST_LETTER):
            return judge_first_letter(item.gold, response)
        return super().judge(item, response, extraction, rule)

    def find_rule(self, outputs: Sequence[Output]) -> str:
        """Return its own rule, or where the file tells verdicts, as VLMEvalKit does, the one that made them."""
        if all(output.verdict is None for output in outputs):
            return FIRST_LETTER
        return option_letters.best_rule(
            option_letters.RULES,
            outputs,
            lambda output, rule: self.judge(output.item, output.response, output.extraction, rule),
        )


def judge_first_letter(gold: Sequence[str], response: str) -> Verdict:
    """Judge by MMStar's own rule, which looks at the first letter alone, wherever it stands in a word."""
    said, right = response.lower().strip().replace("\n", " "), {letter.lower().strip() for letter in gold}
    letters = [said[len(opening)] for opening in _OPENINGS if said.startswith(opening) and len(said) > len(opening)]
    parsed = next((letter for letter in letters[::-1] if letter in "abcd"), None)
    return Verdict(parsed=parsed.upper() if parsed else None, score=float(not right.isdisjoint(letters)))
