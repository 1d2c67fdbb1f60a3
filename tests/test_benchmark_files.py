"""Benchmarks as their publishers ship them: every form, broken ones too, and the real files where they are."""

import base64
import csv
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmat_dagster.decontamination.benchmark_files import TOLD, BenchmarksAbsent, read_benchmarks
from mmat_dagster.decontamination.building import build_index
from mmat_dagster.decontamination.items import BenchmarkItem, Unreadable
from tests.pictures import encoded, photo

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data" / "benchmarks"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_tsv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def items_of(folder: Path) -> list[BenchmarkItem]:
    found = list(read_benchmarks(folder))
    assert [one for one in found if isinstance(one, Unreadable)] == []
    return [one for one in found if isinstance(one, BenchmarkItem)]


def problems_of(folder: Path) -> list[str]:
    return [f"{one.where}: {one.problem}" for one in read_benchmarks(folder) if isinstance(one, Unreadable)]


def base64_of(seed: int) -> str:
    return base64.b64encode(encoded(photo(seed, (40, 30)))).decode()


def test_a_table_of_vlmevalkit_holds_its_images_as_base64(tmp_path: Path) -> None:
    row = {"index": "7", "question": "What is shown?", "A": "a fox", "B": "a hen", "answer": "A", "image": base64_of(1)}
    write_tsv(tmp_path / "AI2D_TEST.tsv", [row])
    (item,) = items_of(tmp_path)
    assert (item.benchmark, item.item, item.question) == ("AI2D_TEST", "7", "What is shown?")
    assert item.images == (encoded(photo(1, (40, 30))),)


def test_rows_share_the_image_of_another_row_before_or_behind_them(tmp_path: Path) -> None:
    images = {"0": "2", "1": base64_of(1), "2": base64_of(2), "3": "1", "4": "99"}
    rows = [{"index": index, "question": f"Question {index}?", "image": image} for index, image in images.items()]
    write_tsv(tmp_path / "mine" / "data.tsv", rows)
    found = {item.item: item for item in items_of(tmp_path)}
    assert found["0"].images == found["2"].images == (encoded(photo(2, (40, 30))),)
    assert found["3"].images == found["1"].images
    assert (found["4"].images, found["4"].missing) == ((), 1)


def test_an_image_cell_may_be_a_list_of_images_or_of_paths(tmp_path: Path) -> None:
    write(tmp_path / "images" / "mine" / "a.png", encoded(photo(1)))
    rows = [
        {"index": "0", "question": "One?", "image": str([base64_of(1), base64_of(2)]), "image_path": "['x.jpg']"},
        {"index": "1", "question": "Two?", "image": "", "image_path": "['a.png', 'gone.png']"},
    ]
    write_tsv(tmp_path / "mine.tsv", rows)
    embedded, named = items_of(tmp_path)
    assert (len(embedded.images), embedded.missing) == (2, 0)
    assert (named.images, named.missing) == ((tmp_path / "images" / "mine" / "a.png",), 1)


def test_a_table_may_hold_images_of_megabytes(tmp_path: Path) -> None:
    huge = base64.b64encode(bytes(3_000_000)).decode()
    write_tsv(tmp_path / "mine" / "x.tsv", [{"index": "0", "question": "What?", "image": huge}])
    assert items_of(tmp_path)[0].images == (bytes(3_000_000),)


def test_parquet_holds_images_as_bytes_and_paths(tmp_path: Path) -> None:
    data = encoded(photo(1))
    rows: list[dict[str, object]] = [
        {"id": "a", "question": "One <image 1>?", "image_1": {"bytes": data, "path": "1.png"}, "image_2": None},
        {"id": "b", "question": "Two?", "image_1": {"bytes": None, "path": "gone.png"}, "image_2": None},
    ]
    (tmp_path / "mmmu").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mmmu" / "test-00000-of-00001.parquet")
    one, two = items_of(tmp_path)
    assert (one.item, one.images, one.missing) == ("a", (data,), 0)
    assert (two.images, two.missing) == ((), 1)


def test_an_object_of_records_is_read_by_its_keys(tmp_path: Path) -> None:
    write(tmp_path / "mathvista" / "images" / "1.jpg", encoded(photo(1), "JPEG"))
    records = {"1": {"question": "One?", "image": "images/1.jpg"}, "2": {"question": "Two?", "image": "images/2.jpg"}}
    write(tmp_path / "mathvista" / "data" / "testmini.json", json.dumps(records))
    one, two = items_of(tmp_path)
    assert (one.item, one.images) == ("1", (tmp_path / "mathvista" / "images" / "1.jpg",))
    assert (two.item, two.missing) == ("2", 1)


def test_records_may_lie_in_a_list_inside_an_object(tmp_path: Path) -> None:
    content = {"info": {"version": "1"}, "questions": [{"question_id": 5, "question": "What colour?", "image_id": 9}]}
    write(tmp_path / "vqa" / "questions.json", json.dumps(content))
    assert [(item.item, item.question) for item in items_of(tmp_path)] == [("5", "What colour?")]


def test_json_lines_are_known_by_their_form_too(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": str(at), "question": f"Question {at}?"}) + "\n" for at in range(3))
    write(tmp_path / "mine" / "test.json", lines)
    assert [item.item for item in items_of(tmp_path)] == ["0", "1", "2"]


def test_a_file_may_be_one_record(tmp_path: Path) -> None:
    folder = tmp_path / "blink" / "tasks" / "spatial" / "processed" / "val_1"
    image = write(folder / "image.jpg", encoded(photo(1), "JPEG"))
    query = "<img src='../tasks/x.jpg'> Is it over the cat?\nSelect from the following choices.\n(A) yes\n(B) no"
    record = {"query": query, "images": ["../tasks/spatial/processed/val_1/image.jpg"], "answer": "(A)"}
    write(folder / "request.json", json.dumps(record, indent=4))
    (item,) = items_of(tmp_path)
    assert (item.item, item.images) == ("val_1/request", (image,))
    assert item.question.endswith("Is it over the cat?")


def test_the_drawn_table_of_a_problem_is_found_by_its_number(tmp_path: Path) -> None:
    image = write(tmp_path / "tabmwp" / "tables" / "54.png", encoded(photo(1)))
    write(tmp_path / "tabmwp" / "problems_test.json", json.dumps({"54": {"question": "How many?", "table": "a | 1"}}))
    assert items_of(tmp_path)[0].images == (image,)


def test_ids_that_return_in_a_file_are_told_apart(tmp_path: Path) -> None:
    records = [{"question_id": "0", "question": "One?"}, {"question_id": "0", "question": "Two?"}]
    write(tmp_path / "hallusionbench" / "HallusionBench.json", json.dumps(records))
    assert [item.item for item in items_of(tmp_path)] == ["0", "0#2"]


def test_outputs_scores_and_training_files_hold_no_items(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write(folder / "test.jsonl", json.dumps({"id": "1", "question": "What is it?"}))
    write(folder / "outputs" / "a.jsonl", json.dumps({"id": "1", "question": "What is it?", "prediction": "a fox"}))
    write(folder / "outputs" / "b.json", json.dumps({"1": {"question": "What?", "answer": "1", "response": "2"}}))
    write(folder / "scores.json", json.dumps({"average": {"accuracy": 34.8}, "total": 3}))
    write(folder / "problems_train.json", json.dumps({"9": {"question": "How many?"}}))
    write(folder / "all.jsonl", json.dumps({"id": "8", "question": "For training?", "split": "train"}))
    write(folder / "LICENSE", "All rights reserved")
    assert [item.item for item in items_of(tmp_path)] == ["1"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", b'{"1": {"question": "What?"}, "2": {"quest', "broken from entry 2 on"),
        ("a.json", b"\x00\x01\x02", "neither a JSON object nor an array"),
        ("a.jsonl", b'{"question": "What?"}\n{"question": \n', "a.jsonl:2"),
        ("a.parquet", b"PAR1 and then nothing", "a.parquet"),
        ("a.tsv", b"index\tquestion\n1\tWhat?\n2\n", "row 2: 1 cells under 2 headings"),
    ],
)
def test_a_broken_file_is_told_and_hides_no_good_item(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    write(tmp_path / "mine" / "deep" / name, content)
    write(tmp_path / "mine" / "good.jsonl", json.dumps({"id": "1", "question": "What is it?"}))
    assert any(complaint in problem and problem.startswith("deep/a.") for problem in problems_of(tmp_path))
    assert "1" in {one.item for one in read_benchmarks(tmp_path) if isinstance(one, BenchmarkItem)}


def test_many_broken_records_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "a.jsonl", '{"question": "What?"}\n' + "{broken\n" * 100)
    problems = problems_of(tmp_path)
    assert len(problems) == TOLD + 1
    assert problems[-1] == f"a.jsonl: {100 - TOLD} more records are broken"


def test_a_benchmark_without_questions_is_told(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "scores.json", "{}")
    assert problems_of(tmp_path) == [".: no file holds questions"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchmarksAbsent):
        list(read_benchmarks(tmp_path / "gone"))


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/hostname", "..", "", "https://example.org/a.png"])
def test_an_image_outside_the_benchmark_is_missing(tmp_path: Path, name: str) -> None:
    write(tmp_path / "secret.png", encoded(photo(1)))
    write(tmp_path / "all" / "mine" / "a.json", json.dumps([{"question": "What?", "image": name}]))
    (item,) = items_of(tmp_path / "all")
    assert (item.images, item.missing) == ((), 1 if name else 0)


def test_an_image_name_that_two_folders_hold_means_the_nearer_one(tmp_path: Path) -> None:
    for part in ("a", "b"):
        write(tmp_path / "mine" / part / "images" / "1.png", encoded(photo(1)))
        write(tmp_path / "mine" / part / "test.json", json.dumps([{"question": f"{part}?", "image": "images/1.png"}]))
    write(tmp_path / "mine" / "test.json", json.dumps([{"question": "c?", "image": "elsewhere/1.png"}]))
    found = {item.question: item.images for item in items_of(tmp_path)}
    assert found["b?"] == (tmp_path / "mine" / "b" / "images" / "1.png",)
    assert found["c?"] == ()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["a.json", "a.jsonl", "a.tsv", "a.csv", "a.parquet"]),
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["question", "image", "id", "images", "x"]), inner, max_size=4)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_no_file_whatever_its_content_stops_the_reading(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    write(folder / "mine" / name, content)
    write(folder / "mine" / "good.jsonl", json.dumps({"id": "good", "question": "What is it?"}))
    index = build_index(read_benchmarks(folder))
    assert "good" in {entry.item for entry in index.entries}


@pytest.mark.skipif(not REAL.is_dir(), reason="the published benchmarks are not there")
def test_all_published_benchmarks_are_read_whole() -> None:
    items = items_of(REAL)
    hallusion = json.loads((REAL / "hallusionbench" / "HallusionBench.json").read_text())
    lines = (REAL / "mathvision" / "data" / "test.jsonl").read_text().splitlines()
    assert Counter(item.benchmark for item in items) == {
        "mathvista": len(json.loads((REAL / "mathvista" / "data" / "testmini.json").read_text())),
        "mathvision": sum(bool(line.strip()) for line in lines),
        "mmmu": len((REAL / "mmmu" / "mmmu-pro-tool" / "data.jsonl").read_text().splitlines()),
        "hallusionbench": len(hallusion),
        "tabmwp": len(json.loads((REAL / "tabmwp" / "problems_test800.json").read_text())),
        "blink": len(list((REAL / "blink").rglob("request.json"))),
    }
    assert len({(item.benchmark, item.item) for item in items}) == len(items)
    missing = Counter(
        {name: sum(item.missing for item in items if item.benchmark == name) for name in ("mmmu", "blink", "tabmwp")}
    )
    assert not any(missing.values())
    named = sum(record["filename"] is not None for record in hallusion)
    assert sum(item.missing for item in items if item.benchmark == "hallusionbench") == named
    images = {image for item in items if item.benchmark == "mmmu" for image in item.images}
    assert images == set((REAL / "mmmu" / "mmmu-pro-tool" / "static" / "images").iterdir())
