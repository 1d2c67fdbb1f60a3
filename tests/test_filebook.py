"""Files are hashed and images decoded once: what is known of them is looked up as long as they do not change."""

import hashlib
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from mmat_dagster import images
from mmat_dagster.filebook import FileBook, ImageEntry, Stamp, open_book, sha256_of
from mmat_dagster.images import Examination, Examined
from mmat_dagster.interfaces import StoreError
from mmat_dagster.source_images import ImageExaminer, Unusable
from mmat_dagster.sources.state import read_states, source_state


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def settle(path: Path) -> None:
    """Make a file look as if it had been written long ago."""
    os.utime(path, ns=(10**18, 10**18))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tabmwp"
    (place / "tables").mkdir(parents=True)
    (place / "problems_train.json").write_bytes(b"{}")
    (place / "tables" / "1.png").write_bytes(picture())
    for path in place.rglob("*.*"):
        settle(path)
    return place


def state(folder: Path) -> str:
    with open_book(folder.parent / "book" / "files.sqlite") as book:
        return source_state(folder, book)


# The state of a folder


def test_a_state_is_the_names_sizes_and_hashes_of_all_files(folder: Path, tmp_path: Path) -> None:
    with open_book(tmp_path / "files.sqlite") as book:
        files = list(read_states(folder, book))
    assert [file.name for file in files] == ["problems_train.json", "tables/1.png"]
    assert [file.size for file in files] == [2, len(picture())]
    assert [file.content for file in files] == [hashlib.sha256(data).hexdigest() for data in (b"{}", picture())]


def test_a_state_changes_with_every_file_and_with_nothing_else(folder: Path) -> None:
    before = state(folder)
    os.utime(folder / "problems_train.json")
    assert state(folder) == before

    image = folder / "tables" / "1.png"
    image.write_bytes(bytes(len(picture())))  # of the same name and size
    changed = state(folder)
    (folder / "tables" / "2.png").write_bytes(picture(2))
    added = state(folder)
    (folder / "tables" / "2.png").rename(folder / "tables" / "3.png")
    renamed = state(folder)
    assert len({before, changed, added, renamed}) == 4
    (folder / "tables" / "3.png").unlink()
    image.write_bytes(picture())
    assert state(folder) == before


def test_a_moved_folder_has_the_same_state(folder: Path) -> None:
    before = state(folder)
    assert state(folder.rename(folder.parent / "moved")) == before


def test_hidden_files_do_not_count(folder: Path) -> None:
    before = state(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_bytes(b"x")
    (folder / "tables" / ".DS_Store").write_bytes(b"x")
    assert state(folder) == before


def test_a_file_that_does_not_change_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(folder)

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("mmat_dagster.sources.state.sha256_of", refuse)
    assert state(folder) == before


def test_a_file_that_was_written_a_moment_ago_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "fresh.json"
    path.write_bytes(b"1")
    stamp = Stamp.of(path.stat())
    with open_book(tmp_path / "files.sqlite") as book:
        book.put_hash(path, stamp, sha256_of(path))
        book.flush()
        assert book.find_hash(path, stamp) is None


def test_links_pipes_and_what_cannot_be_read_are_told_apart_and_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    (folder / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    (folder / "linked.json").symlink_to(folder / "problems_train.json")
    os.mkfifo(folder / "pipe")
    with open_book(tmp_path / "files.sqlite") as book:
        told = {file.name: file.content for file in read_states(folder, book)}
    assert told["a"] == f"link to {folder / 'b'}"
    assert told["elsewhere"] == f"link to {tmp_path}"
    assert told["pipe"] == "no regular file"
    assert told["linked.json"] == hashlib.sha256(b"{}").hexdigest()


def test_threads_hash_in_the_same_order(folder: Path, tmp_path: Path) -> None:
    for number in range(50):
        (folder / "tables" / f"{number}.bin").write_bytes(b"x" * number)
    with open_book(tmp_path / "one.sqlite") as one, open_book(tmp_path / "many.sqlite") as many:
        assert list(read_states(folder, one, workers=1)) == list(read_states(folder, many, workers=4))


# The book itself


def test_a_broken_book_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "files.sqlite"
    path.write_bytes(b"no database at all, but long enough to look like a file of one" * 20)
    with open_book(path) as book:
        book.put_image("ab" * 32, ImageEntry(version="1", is_decoded=True, width=3))
    with open_book(path) as book:
        found = book.find_image("ab" * 32)
    assert found is not None
    assert found.width == 3


def test_a_book_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file where a folder should be")
    with pytest.raises(StoreError, match="MMAT_STORE"), open_book(tmp_path / "store" / "files.sqlite"):
        pass


# Images


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the images that were decoded, in order."""
    sizes: list[int] = []
    real = images.examine_among_others

    def counted(data: bytes, closely: Examination) -> Examined:
        sizes.append(len(data))
        return real(data, closely)

    monkeypatch.setattr("mmat_dagster.source_images.examine_among_others", counted)
    return sizes


def look(folder: Path, book: FileBook, image: str | bytes, closely: Examination | None = None) -> Examined | Unusable:
    examiner = ImageExaminer(folder, book, closely or Examination())
    outcome = examiner.end(examiner.begin(image))
    book.flush()
    return outcome


def test_an_image_is_decoded_once_by_whoever_asks(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    with open_book(tmp_path / "files.sqlite") as book:
        first = look(folder, book, "tables/1.png")
        assert look(folder, book, "tables/1.png") == first
        assert look(folder, book, picture()) == first
    assert len(decoded) == 1


def test_a_broken_image_is_remembered_as_broken(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    with open_book(tmp_path / "files.sqlite") as book:
        first = look(folder, book, b"no image")
        again = look(folder, book, b"no image")
    assert isinstance(first, Unusable)
    assert (again, len(decoded)) == (first, 1)


def test_a_closer_look_is_a_new_one_and_a_less_close_one_is_not(
    folder: Path, tmp_path: Path, decoded: list[int]
) -> None:
    closer = Examination(liken=lambda image: b"like")
    header = Examination(is_decoded=False)
    with open_book(tmp_path / "files.sqlite") as book:
        for closely in (header, header, Examination(), header, Examination(), closer, closer, Examination()):
            look(folder, book, picture(), closely)
    assert len(decoded) == 3


def test_a_changed_file_is_decoded_again(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    with open_book(tmp_path / "files.sqlite") as book:
        look(folder, book, "tables/1.png")
        (folder / "tables" / "1.png").write_bytes(b"damaged")
        assert isinstance(look(folder, book, "tables/1.png"), Unusable)
    assert len(decoded) == 2


def test_the_header_alone_tells_size_and_format(folder: Path, tmp_path: Path) -> None:
    cut = picture()[:45]
    with open_book(tmp_path / "files.sqlite") as book:
        found = look(folder, book, cut, Examination(is_decoded=False))
        assert isinstance(found, Examined)
        assert (found.width, found.height, found.suffix) == (8, 6, "png")
        assert isinstance(look(folder, book, cut), Unusable)


def test_a_file_too_large_to_hold_is_not_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmat_dagster.source_images.FILE_LIMIT", 10)
    with open_book(tmp_path / "files.sqlite") as book:
        found = look(folder, book, "tables/1.png")
    assert isinstance(found, Unusable)
    assert found.reason == "unreadable image"
