"""A source folder that cannot be read is one clear error that says what belongs there, also where a file goes later."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mmat_dagster.progress import Progress
from mmat_dagster.schema import SourceName
from mmat_dagster.sources import READERS, check_layout
from mmat_dagster.sources.layout import SourceError
from tests.sound_sources import GEOMETRY, LINES, SIGNS, image_of, record_id, write_sound
from tests.source_building import build_source_qa, patience

NOBODY = 65534
ANNOTATIONS: dict[SourceName, str] = {**LINES, "the_cauldron": GEOMETRY}
NO_FOLDERS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "an empty folder": Path.mkdir,
    "a file": Path.touch,
    "a link to itself": lambda folder: folder.symlink_to(folder.name),
    "a link to nowhere": lambda folder: folder.symlink_to("gone"),
    "a pipe": os.mkfifo,
    "other folders": lambda folder: (folder / "images" / "2").mkdir(parents=True),
}


@contextmanager
def unprivileged() -> Iterator[None]:
    """Read as somebody whom file permissions bind; root they do not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that everybody may enter: pytest's own are closed to others."""
    with TemporaryDirectory(prefix="sources-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("put", list(NO_FOLDERS.values()), ids=list(NO_FOLDERS))
def test_a_folder_that_is_none_is_one_error_that_says_what_belongs_there(
    source: SourceName, put: Callable[[Path], object], tmp_path: Path
) -> None:
    folder = write_sound(tmp_path, source)
    shutil.rmtree(folder)
    put(folder)
    with patience(), pytest.raises(SourceError) as told:
        build_source_qa(tmp_path, source)
    reader = READERS[source]
    assert str(tmp_path / source) in str(told.value)
    assert reader.publisher in str(told.value)
    assert all(pattern in str(told.value) for pattern in reader.expects)


@pytest.mark.parametrize("source", READERS)
def test_a_folder_may_be_a_link(source: SourceName, tmp_path: Path) -> None:
    write_sound(tmp_path / "elsewhere", source)
    (tmp_path / source).symlink_to(tmp_path / "elsewhere" / source)
    samples, lost = build_source_qa(tmp_path, source)
    assert record_id(source, 1) in samples
    assert lost == []


def test_a_folder_of_test_problems_alone_is_told(tmp_path: Path) -> None:
    folder = write_sound(tmp_path, "tabmwp")
    (folder / LINES["tabmwp"]).rename(folder / "problems_test.json")
    with pytest.raises(SourceError, match="holds none of its annotation files"):
        check_layout("tabmwp", folder)


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize(
    "put",
    [
        pytest.param(Path.mkdir, id="a folder"),
        pytest.param(os.mkfifo, id="a pipe"),
        pytest.param(lambda path: path.symlink_to("gone"), id="a link to nowhere"),
        pytest.param(lambda path: path.symlink_to(path.name), id="a link to itself"),
    ],
)
def test_what_is_no_file_in_place_of_annotations_is_one_error(
    source: SourceName, put: Callable[[Path], object], tmp_path: Path
) -> None:
    folder = write_sound(tmp_path, source)
    (folder / SIGNS).unlink(missing_ok=True)
    (folder / ANNOTATIONS[source]).unlink()
    put(folder / ANNOTATIONS[source])
    with patience(), pytest.raises(SourceError):
        build_source_qa(tmp_path, source)


@pytest.mark.parametrize("source", ["visual_cot", "llava_cot", "infoseek"])
def test_an_empty_annotation_file_is_told(source: SourceName, tmp_path: Path) -> None:
    folder = write_sound(tmp_path, source)
    (folder / LINES[source]).write_bytes(b"")
    samples, lost = build_source_qa(tmp_path, source)
    assert samples == {}
    assert [one.reason for one in lost if "holds no record" in one.detail] == ["unreadable record"]


@pytest.mark.parametrize("source", READERS)
def test_annotations_that_may_not_be_read_are_one_error(source: SourceName, open_folder: Path) -> None:
    with unprivileged():
        (write_sound(open_folder, source) / ANNOTATIONS[source]).chmod(0)
        with pytest.raises(SourceError):
            build_source_qa(open_folder, source)


@pytest.mark.parametrize("name", [".", "tables"])
def test_a_folder_that_may_not_be_entered_is_one_error(name: str, open_folder: Path) -> None:
    with unprivileged():
        closed = write_sound(open_folder, "tabmwp") / name
        closed.chmod(0)
        try:
            with pytest.raises(SourceError):
                build_source_qa(open_folder, "tabmwp")
        finally:
            closed.chmod(0o755)


def test_an_image_that_may_not_be_read_costs_its_record(open_folder: Path) -> None:
    with unprivileged():
        (write_sound(open_folder, "tabmwp") / image_of("tabmwp", 2)).chmod(0)
        samples, (lost,) = build_source_qa(open_folder, "tabmwp")
    assert list(samples) == ["tabmwp/1", "tabmwp/3", "tabmwp/4"]
    assert (lost.record_id, lost.reason) == ("tabmwp/2", "unreadable image")
    assert "tables/2.png" in lost.detail


def once(do: Callable[[], object]) -> Callable[[Progress], None]:
    """Return what does so when the first record is reported."""
    left = [do]

    def report(progress: Progress) -> None:
        if left and progress.done >= 1:
            left.pop()()

    return report


def test_an_image_that_goes_while_the_source_is_read_costs_its_record(tmp_path: Path) -> None:
    image = write_sound(tmp_path, "tabmwp") / image_of("tabmwp", 4)
    samples, (lost,) = build_source_qa(tmp_path, "tabmwp", once(image.unlink), part_rows=1)
    assert list(samples) == ["tabmwp/1", "tabmwp/2", "tabmwp/3"]
    assert (lost.record_id, lost.reason) == ("tabmwp/4", "missing image")


def test_a_parquet_file_that_goes_while_the_source_is_read_is_told(tmp_path: Path) -> None:
    folder = write_sound(tmp_path, "the_cauldron")
    samples, lost = build_source_qa(tmp_path, "the_cauldron", once((folder / SIGNS).unlink), part_rows=1)
    assert [record_id("the_cauldron", number) for number in range(1, 5)] == list(samples)
    assert [rejection.reason for rejection in lost] == ["unreadable record"]


def test_lines_that_go_while_the_source_is_read_are_one_error(tmp_path: Path) -> None:
    first = write_sound(tmp_path, "visual_cot") / ANNOTATIONS["visual_cot"]
    later = first.with_name("textvqa_cot_train.jsonl")
    later.write_bytes(first.read_bytes())
    with pytest.raises(SourceError, match=r"textvqa_cot_train.jsonl of the source visual_cot"):
        build_source_qa(tmp_path, "visual_cot", once(later.unlink), part_rows=1)
