"""The measures of what operators find count as they say, and the published files are read whole."""

from pathlib import Path

import pytest

from bench.operator_truth import (
    NOTHING,
    Found,
    Matches,
    Photo,
    cells_found,
    is_number,
    matches,
    overlap,
    read_photos,
    read_receipts,
    read_tables,
    word_recall,
)

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SROIE = DATA / "operators" / "ocr" / "sroie"
RECEIPTS = DATA / "sources" / "visual_cot" / "cot" / "sroie"
TABMWP = DATA / "sources" / "tabmwp"
PHOTOS = DATA / "operators" / "face_detection" / "dlib_faces"

FACE = (10.0, 10.0, 30.0, 30.0)


def photo(*faces: tuple[float, float, float, float]) -> Photo:
    return Photo(image=Path("photo.jpg"), faces=faces)


def test_a_cell_is_found_whatever_its_white_space_and_case() -> None:
    assert cells_found(["Number of cups", "$4.50", "7"], "number of | CUPS; $ 4.50") == Found(found=1, whole=3)
    assert cells_found(["Number of cups", "$4.50"], "Numberof cups | $ 4.50") == Found(found=2, whole=2)
    assert cells_found([], "text") == NOTHING


def test_leaves_are_found_as_the_pictures_print_them() -> None:
    assert cells_found(["1, 3, 7"], "Stem | Leaf; 2 | 137") == Found(found=1, whole=1)
    assert cells_found(["1, 3, 7"], "Stem | Leaf; 2 | 1 | 37") == Found(found=1, whole=1)
    assert cells_found(["1, 3, 7"], "Stem | Leaf; 1 | 3; 7 | 9") == Found(found=0, whole=1)
    assert cells_found(["1, 3 and 7"], "1 | 3 and 7") == Found(found=0, whole=1)


@pytest.mark.parametrize("cell", ["7", "$4.50", "1, 3, 7", "-2", "1/2", "90%", "8:20"])
def test_a_number_has_digits_and_no_letter(cell: str) -> None:
    assert is_number(cell)


@pytest.mark.parametrize("cell", ["", "x", "8:20 A.M.", "$4 per pound", "?"])
def test_what_has_a_letter_or_no_digit_is_no_number(cell: str) -> None:
    assert not is_number(cell)


def test_each_word_is_found_as_often_as_it_was_read() -> None:
    assert word_recall(["Total RM RM 9.00"], ["total", "rm 9.00"]) == Found(found=3, whole=4)
    assert word_recall(["TOTAL"], ["total total"]) == Found(found=1, whole=1)
    assert word_recall([], ["more"]) == NOTHING


def test_counts_add_up_and_are_told_with_their_share() -> None:
    both = Found(found=3, whole=4) + Found(found=1, whole=4)
    assert both == Found(found=4, whole=8)
    assert str(both) == "4 of 8 (50.0 %)"
    assert str(NOTHING) == "0 of 0 (0.0 %)"


def test_overlap_is_the_intersection_over_the_union() -> None:
    assert overlap(FACE, FACE) == 1.0
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0


def test_a_face_takes_one_box_and_a_box_one_face() -> None:
    twice = matches(photo(FACE), [FACE, (10.0, 10.0, 30.0, 32.0)])
    assert (twice.recall, twice.precision) == (1.0, 0.5)
    shared = matches(photo(FACE, (12.0, 10.0, 32.0, 30.0)), [(11.0, 10.0, 31.0, 30.0)])
    assert (shared.recall, shared.precision) == (0.5, 1.0)


def test_the_best_overlap_is_matched_first() -> None:
    left, right = (0.0, 0.0, 10.0, 10.0), (4.0, 0.0, 14.0, 10.0)
    # Taken in their order, the first box would get the left face, and the second box none.
    found = [(3.0, 0.0, 13.0, 10.0), (-3.0, 0.0, 7.0, 10.0)]
    assert matches(photo(left, right), found) == Matches(matched=2, annotated=2, found=2)


def test_too_little_overlap_is_neither_found_nor_right() -> None:
    assert matches(photo(FACE), [(28.0, 28.0, 48.0, 48.0)]) == Matches(matched=0, annotated=1, found=1)


def test_an_ignored_face_need_not_be_found_and_is_no_mistake() -> None:
    ignored = Photo(image=Path("photo.jpg"), faces=(FACE,), ignored=((50.0, 50.0, 70.0, 70.0),))
    assert matches(ignored, [FACE, (50.0, 50.0, 70.0, 71.0)]) == Matches(matched=1, annotated=1, found=1)
    assert matches(ignored, [FACE]) == Matches(matched=1, annotated=1, found=1)
    assert matches(ignored, [FACE, (90.0, 90.0, 99.0, 99.0)]) == Matches(matched=1, annotated=1, found=2)


def test_nothing_annotated_and_nothing_found_is_no_mistake() -> None:
    none = matches(photo(), []) + matches(photo(), [])
    assert (none.recall, none.precision) == (1.0, 1.0)


def test_a_line_of_a_receipt_may_hold_commas(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("1,2,3,4,5,6,7,8,NO.2, JALAN 4,\n\n1,2,3,4,5,6,7,8,9.00\n")
    (receipt,) = read_receipts(tmp_path, tmp_path)
    assert receipt.lines == ("NO.2, JALAN 4,", "9.00")
    assert receipt.image == tmp_path / "one.jpg"


@pytest.mark.skipif(not (SROIE.is_dir() and RECEIPTS.is_dir()), reason="SROIE is not at hand")
def test_the_published_receipts_are_read() -> None:
    receipts = read_receipts(SROIE, RECEIPTS)
    assert len(receipts) == 20
    assert all(receipt.lines and receipt.image.is_file() for receipt in receipts)


@pytest.mark.skipif(not TABMWP.is_dir(), reason="TabMWP is not at hand")
def test_the_published_tables_are_read() -> None:
    tables = read_tables(TABMWP, 10)
    assert len(tables) == 10
    assert tables[0].cells == ("x", "y", "10", "15", "11", "9", "12", "2")
    assert all(table.image.is_file() for table in tables)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the annotated photos are not at hand")
def test_the_published_photos_are_read() -> None:
    photos = read_photos(PHOTOS)
    assert sum(len(photo.faces) for photo in photos) == 25
    assert all(photo.image.is_file() for photo in photos)
