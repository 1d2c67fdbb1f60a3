"""Records survive Arrow, and fingerprints change with content and with nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.records import arrow_schema, from_table, to_table
from mmat_dagster.schema import Annotations, Box, Dialogue, OrrDialogue, Rationale, Rejection, Round, Sample
from tests.builders import make_sample

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
boxes = st.builds(Box, phrase=text, x1=st.floats(0, 9), y1=st.floats(0, 9), x2=st.floats(0, 9), y2=st.floats(0, 9))
annotations = st.builds(Annotations, caption=st.none() | text, table=st.none() | text, boxes=st.tuples(boxes))
samples = st.builds(
    make_sample,
    answers=st.lists(text, min_size=1, max_size=3).map(tuple),
    annotations=annotations,
    unit=st.none() | text,
    number_range=st.none() | st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    context=st.lists(st.builds(Round, question=text, answer=text), max_size=2).map(tuple),
)


@given(st.lists(samples, max_size=4))
def test_samples_survive_arrow(records: list[Sample]) -> None:
    assert from_table(to_table(records, Sample), Sample) == records


@pytest.mark.parametrize("record", [Sample, Rationale, Dialogue, OrrDialogue, Rejection])
def test_an_empty_table_has_the_records_schema(record: type) -> None:
    assert to_table([], record).schema == arrow_schema(record)


def test_optional_fields_are_nullable_and_others_are_not() -> None:
    schema = arrow_schema(Sample)
    assert schema.field("unit").nullable
    assert not schema.field("question").nullable
    assert schema.field("answers").type == pa.list_(pa.string())


@given(st.lists(text, max_size=4), st.lists(text, max_size=4))
def test_fingerprints_differ_where_the_parts_do(left: list[str], right: list[str]) -> None:
    assert (fingerprint(left) == fingerprint(right)) is (left == right)


def test_a_pattern_without_a_file_is_a_mistake() -> None:
    with pytest.raises(FileNotFoundError, match=r"no engine file matches 'stages/nothing\.py'"):
        code_fingerprint("stages/nothing.py")


def test_a_code_fingerprint_is_of_content_not_of_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, content in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "wire.py").write_text(content)
        monkeypatch.setattr("mmat_dagster.fingerprints.ENGINE", tmp_path / name)
        found.append(code_fingerprint("*.py"))
    assert found[0] == found[1] != found[2]


def test_a_process_keeps_to_the_code_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("schema.py", "wire.py"):
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr("mmat_dagster.fingerprints.ENGINE", tmp_path)
    assert code_fingerprint("wire.py") == fingerprint(["wire.py", "x = 1"])
    (tmp_path / "wire.py").write_text("x = 2")
    (tmp_path / "schema.py").unlink()  # which had not been asked for
    assert code_fingerprint("*.py") == fingerprint(["schema.py", "x = 1", "wire.py", "x = 1"])
