"""A part is made and read record by record: memory holds a row group of it, however large it is."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmat_dagster import parts
from mmat_dagster.census import facets
from mmat_dagster.parts import GROUP_ROWS, DamagedPart, PartDraft
from mmat_dagster.schema import Rejection, Sample
from resources.store import LocalStore
from tests.builders import make_sample
from tests.written_parts import write_part

PREFIX, NAME = "source_qa/tabmwp", "part-00000-key"
KEY = f"{PREFIX}/{NAME}"
LOST = Rejection(
    source="tabmwp", record_id="tabmwp/lost", stage="source_qa", reason="empty question", detail="nothing is asked"
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(root=str(tmp_path))


def samples(count: int) -> Iterator[Sample]:
    return (make_sample(id=f"tabmwp/{number}", answers=(str(number),)) for number in range(count))


@pytest.mark.parametrize("count", [0, 1, GROUP_ROWS, 2 * GROUP_ROWS + 1])
def test_a_part_is_read_as_it_was_written(store: LocalStore, count: int) -> None:
    written = write_part(store, KEY, samples(count), Sample, {"leaked": 2}, lost=[LOST], facets=facets)
    assert (written.rows, written.rejected) == (count, {"empty question": 1})
    made_of = {"answer: number": count, "part: train": count} if count else {}
    assert written.census == {**made_of, "leaked": 2}
    assert [*parts.read_part(store, PREFIX, NAME, Sample, written.sha256)] == [*samples(count)]
    assert parts.read_rejections(store, PREFIX, NAME) == [LOST]
    assert parts.finished_part(store, PREFIX, NAME) == written


def test_a_part_is_cut_into_row_groups_of_one_size(store: LocalStore) -> None:
    write_part(store, KEY, samples(2 * GROUP_ROWS + 1), Sample)
    file = pq.ParquetFile(store.fetch(f"{KEY}.parquet"), pre_buffer=False)
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [GROUP_ROWS, GROUP_ROWS, 1]


def test_the_same_records_are_the_same_bytes(store: LocalStore) -> None:
    one, other = (write_part(store, key, samples(GROUP_ROWS + 5), Sample, facets=facets) for key in (KEY, f"{KEY}-2"))
    assert one.sha256 == other.sha256


def test_a_draft_lets_go_of_all_but_the_newest_records() -> None:
    draft = PartDraft(Sample, facets)
    held = [weakref.ref(sample) for sample in _added(draft, samples(3 * GROUP_ROWS + 10))]
    assert sum(each() is not None for each in held) == 10


def test_a_part_is_read_row_group_by_row_group(store: LocalStore) -> None:
    write_part(store, KEY, samples(3 * GROUP_ROWS), Sample)
    held = [weakref.ref(sample) for sample in parts.read_part(store, PREFIX, NAME, Sample)]
    assert sum(each() is not None for each in held) <= 1


def test_a_part_of_another_hash_yields_no_record(store: LocalStore) -> None:
    write_part(store, KEY, samples(3), Sample)
    with pytest.raises(DamagedPart, match="not the one that its manifest names"):
        next(parts.read_part(store, PREFIX, NAME, Sample, "0" * 64))


def _added(draft: PartDraft[Sample], records: Iterator[Sample]) -> Iterator[Sample]:
    for record in records:
        draft.add(record)
        yield record
