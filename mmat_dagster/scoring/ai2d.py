"""AI2D: questions to the diagrams of school books.

{"question": "What do letters c and d represent?", "options": ["producers", ..], "answer": "1", "image": {"bytes": ..}}
"""

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring.benchmark import Item
from mmat_dagster.scoring.record_fields import field
from mmat_dagster.scoring.vlmevalkit import ChoiceBenchmark, choice_item, download


class AI2D(ChoiceBenchmark):
    """AI2D's test set, the labels of the diagrams masked."""

    name = "ai2d"
    title = "AI2D (test)"
    source = download("AI2D_TEST", "data/test-*.parquet of lmms-lab/ai2d on the hub")
    patterns = ("*/test-*.parquet", "*/*ai2d_test.tsv", "*/*ai2d*.tsv", "*/*.parquet")

    def item_of(self, row: Row) -> Item:
        """Return the item of a record; its category is the kind of diagram."""
        return choice_item(row, {"category": field(row, "category")})
