"""Records made into samples by the foundation stage, without a pipeline around it."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from mmat_dagster.filebook import open_book
from mmat_dagster.images import Examination, ImageShelf
from mmat_dagster.schema import Rejection, Sample, SourceRecord
from mmat_dagster.source_images import ImageExaminer
from mmat_dagster.stages.foundation import Foundation, Rules


def ground_all(
    records: Iterable[SourceRecord | Rejection], folder: Path, shelf: ImageShelf
) -> Iterator[Sample | Rejection]:
    """Yield what becomes of `records`, one after the other; to be used inside `quiet_decoders`."""
    with open_book(Path(":memory:")) as book:
        made = Foundation(images=ImageExaminer(folder, book, Examination()), shelf=shelf, rules=Rules())
        with closing(made):
            yield from made.ground(made.admit(records))
