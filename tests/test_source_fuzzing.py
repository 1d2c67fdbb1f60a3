"""Whatever stands in a source's files, its reader yields records and rejections, ends, and loses nothing untouched."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmat_dagster.images import ImageShelf, quiet_decoders
from mmat_dagster.schema import Rejection, Sample, SourceName, SourceRecord
from mmat_dagster.sources import READERS
from mmat_dagster.sources.layout import SourceError
from resources.store import LocalStore
from tests.grounding import ground_all
from tests.sound_sources import COUNT, GEOMETRY, LINES, SHAPE, SIGNS, raw, record_id, rows, write_rows, write_sound
from tests.source_building import patience

FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LINE_SOURCES: tuple[SourceName, ...] = ("visual_cot", "llava_cot", "infoseek")
ANNOTATIONS: dict[SourceName, str] = {**LINES, "the_cauldron": GEOMETRY}
# Halves of surrogate pairs included: JSON can spell them.
ANY_TEXT = st.text(st.characters(), max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.none() | st.text(max_size=20)
IMAGES = st.none() | st.fixed_dictionaries({"bytes": st.none() | st.binary(max_size=20), "path": TEXTS})
ROUNDS = st.none() | st.fixed_dictionaries({"user": TEXTS, "assistant": TEXTS, "source": TEXTS})
ROWS = st.fixed_dictionaries(
    {"images": st.none() | st.lists(IMAGES, max_size=3), "texts": st.none() | st.lists(ROUNDS, max_size=3)}
)


@pytest.fixture(scope="module", params=READERS)
def source(request: pytest.FixtureRequest) -> SourceName:
    """Return each source in turn."""
    name: SourceName = request.param
    return name


@pytest.fixture
def folder(source: SourceName, tmp_path: Path) -> Path:
    """Return a sound folder of the source, written once for all examples of a test."""
    return write_sound(tmp_path, source)


def read(source: SourceName, folder: Path) -> list[SourceRecord | Rejection]:
    """Read the whole folder; a SourceError is the one error that a reader may raise."""
    with patience():
        try:
            return list(READERS[source].read(folder))
        except SourceError:
            return []


def ids(found: list[SourceRecord | Rejection]) -> list[str]:
    return [one.id for one in found if isinstance(one, SourceRecord)]


def assert_grounded(source: SourceName, found: list[SourceRecord | Rejection], folder: Path) -> None:
    """Check that whatever a reader yields becomes samples and rejections, one for one."""
    with TemporaryDirectory() as store, patience(), quiet_decoders():
        grounded = list(ground_all(found, folder, ImageShelf(LocalStore(root=store))))
    assert len(grounded) == len(found)
    assert all(isinstance(one, Sample | Rejection) for one in grounded)
    assert {one.source for one in grounded} <= {source}


@st.composite
def mutated(draw: st.DrawFn, record: Mapping[str, Any]) -> Any:
    """Return `record` with some of its values, however deep, replaced, and keys taken away or added."""
    changed: dict[str, Any] = dict(record)
    for key in draw(st.sets(st.sampled_from(sorted(record)), max_size=3)):
        deeper = isinstance(record[key], dict) and draw(st.booleans())
        changed[key] = draw(mutated(record[key]) if deeper else VALUES)
    for key in draw(st.sets(st.sampled_from(sorted(record)), max_size=2)):
        changed.pop(key, None)
    return changed | draw(st.dictionaries(st.text(max_size=6), VALUES, max_size=2))


@FUZZ
@given(data=st.data())
def test_any_record_costs_itself_at_most(data: st.DataObject, source: SourceName, folder: Path) -> None:
    if source == "the_cauldron":
        write_rows(folder / GEOMETRY, [*rows(1, 1), data.draw(ROWS), *rows(3, 4)], SHAPE)
    else:
        record = json.dumps(data.draw(mutated(raw(source, 2)))).encode()
        path = folder / LINES[source]
        texts = [json.dumps(raw(source, number)).encode() for number in range(1, COUNT + 1)]
        texts[1] = record
        path.write_bytes(as_file(source, texts))
    found = read(source, folder)
    others = [record_id(source, number) for number in (1, 3, 4)]
    assert [one for one in ids(found) if one in others] == others
    assert len(found) >= len(others)
    assert_grounded(source, found, folder)


def as_file(source: SourceName, texts: list[bytes]) -> bytes:
    if source != "tabmwp":
        return b"".join(text + b"\n" for text in texts)
    return b"{" + b",\n".join(b'"%d": %s' % (number, text) for number, text in enumerate(texts, start=1)) + b"}"


@FUZZ
@given(at=st.floats(0, 1, exclude_max=True), cut=st.integers(0, 60), junk=st.binary(max_size=60))
def test_any_bytes_in_a_file_end_in_records_and_rejections(
    at: float, cut: int, junk: bytes, source: SourceName, folder: Path, sound_bytes: bytes
) -> None:
    place = int(len(sound_bytes) * at)
    (folder / ANNOTATIONS[source]).write_bytes(sound_bytes[:place] + junk + sound_bytes[place + cut :])
    found = read(source, folder)
    assert_grounded(source, found, folder)
    if source in LINE_SOURCES:
        assert untouched(source, sound_bytes, place, place + cut) <= set(ids(found))
    if source == "the_cauldron":
        assert {record_id(source, COUNT + 1), record_id(source, COUNT + 2)} <= set(ids(found))


@pytest.fixture
def sound_bytes(source: SourceName, folder: Path) -> bytes:
    """Return the annotation file as it is when it is sound."""
    return (folder / ANNOTATIONS[source]).read_bytes()


def untouched(source: SourceName, data: bytes, start: int, end: int) -> set[str]:
    """Return the ids of the records whose lines, line ends included, lie wholly outside of `start` to `end`.

    Visual CoT numbers its records by line: what lies behind a damage may be numbered otherwise.
    """
    found, at = set(), 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        before, behind = at + len(line) <= start, at > end and source != "visual_cot"
        if before or behind:
            found.add(record_id(source, number))
        at += len(line)
    return found


@FUZZ
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8))
def test_any_flipped_bits_end_in_records_and_rejections(
    flips: list[tuple[float, int]], source: SourceName, folder: Path, sound_bytes: bytes
) -> None:
    data = bytearray(sound_bytes)
    for at, mask in flips:
        data[int(len(data) * at)] ^= mask
    (folder / ANNOTATIONS[source]).write_bytes(data)
    assert_grounded(source, read(source, folder), folder)


@FUZZ
@given(data=st.binary(max_size=400))
def test_any_file_at_all_ends_in_records_and_rejections(data: bytes, source: SourceName, folder: Path) -> None:
    (folder / ANNOTATIONS[source]).write_bytes(data)
    found = read(source, folder)
    assert all(isinstance(one, SourceRecord | Rejection) for one in found)
    if source == "the_cauldron":
        assert (folder / SIGNS).is_file()
        assert {record_id(source, COUNT + 1), record_id(source, COUNT + 2)} <= set(ids(found))


@pytest.mark.parametrize("name", ["infoseek_train_withkb.jsonl"])
@FUZZ
@given(data=st.binary(max_size=200))
def test_any_file_of_links_leaves_the_questions_alone(data: bytes, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "infoseek" if (tmp_path / "infoseek").exists() else write_sound(tmp_path, "infoseek")
    (folder / name).write_bytes(data)
    assert ids(read("infoseek", folder)) == [record_id("infoseek", number) for number in range(1, COUNT + 1)]


@FUZZ
@given(data=st.data())
def test_any_merged_entry_of_visual_cot_costs_itself_at_most(data: st.DataObject, tmp_path: Path) -> None:
    sound = {"image": ["cot/v7w/1.jpg###[1, 2, 3, 4]"], "conversations": [{"value": "What?"}, {"value": "A lamp."}]}
    (tmp_path / "viscot_363k.json").write_text(json.dumps([sound, data.draw(mutated(sound)), sound]), "utf-8")
    found = read("visual_cot", tmp_path)
    assert len(found) == 3
    assert {"visual_cot/363k/1", "visual_cot/363k/3"} <= set(ids(found))
