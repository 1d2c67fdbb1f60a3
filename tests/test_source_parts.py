"""The samples of a source in parts: what decides them, and what a run takes over from an earlier one."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from mmat_dagster import parts
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import Progress
from mmat_dagster.schema import Sample
from mmat_dagster.sources.layout import SourceError
from tests.layouts import write_tabmwp
from tests.test_pipeline import pipeline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tabmwp(tmp_path / "sources", 5)
    return tmp_path


def build(work: Pipeline, seen: list[Progress] | None = None) -> parts.Manifest:
    report = (seen if seen is not None else []).append
    (built,) = work.build("source_qa", "tabmwp", report)
    return built.manifest


def samples(work: Pipeline, manifest: parts.Manifest) -> list[Sample]:
    return list(parts.read_records(work.store, manifest, Sample))


def with_settings(work: Pipeline, **changes: Any) -> Pipeline:
    return replace(work, settings=replace(work.settings, **changes))


def test_the_licence_filter_names_every_record_that_it_leaves_out(folder: Path) -> None:
    manifest = build(with_settings(pipeline(folder), allow_non_commercial=False))
    assert (manifest.rows, dict(manifest.rejected)) == (0, {"not for commercial use": 5})


def test_every_setting_that_decides_the_samples_makes_them_anew(folder: Path) -> None:
    work = pipeline(folder)
    changes: list[dict[str, Any]] = [
        {},
        {"limit": 3},
        {"part_rows": 3},
        {"verify_images": False},
        {"allow_non_commercial": False},
    ]
    assert len({build(with_settings(work, **change)).key for change in changes}) == len(changes)
    assert build(with_settings(work, workers=3)).key == build(work).key


def test_without_verification_headers_alone_are_read(folder: Path) -> None:
    image = folder / "sources" / "tabmwp" / "tables" / "1.png"
    image.write_bytes(image.read_bytes()[:45])
    assert dict(build(pipeline(folder)).rejected) == {"unreadable image": 1}
    assert dict(build(with_settings(pipeline(folder), verify_images=False)).rejected) == {}


def test_a_duplicate_in_a_later_part_is_found_whether_or_not_the_earlier_one_is_taken_over(folder: Path) -> None:
    place = folder / "sources" / "tabmwp"
    problems = json.loads((place / "problems_train.json").read_text())
    problems["9"] = problems["1"]
    (place / "problems_train.json").write_text(json.dumps(problems))
    (place / "tables" / "9.png").write_bytes((place / "tables" / "1.png").read_bytes())
    work = with_settings(pipeline(folder), part_rows=2)
    whole = build(work)
    assert (whole.rows, dict(whole.rejected)) == (5, {"duplicate question": 1})
    work.store.delete("source_qa/tabmwp/manifest.json")
    work.store.delete(f"source_qa/tabmwp/{whole.parts[-1].name}.parquet")
    (again,) = work.build("source_qa", "tabmwp", lambda _: None)
    assert (again.manifest, again.reused_parts) == (whole, 2)


def test_an_image_that_is_replaced_by_one_of_the_same_name_and_size_makes_the_source_stale(folder: Path) -> None:
    place = folder / "sources" / "tabmwp" / "tables"
    Image.new("RGB", (61, 40), "red").save(place / "1.bmp")
    Image.new("RGB", (61, 40), "blue").save(place / "2.bmp")
    (place / "1.png").write_bytes((place / "1.bmp").read_bytes())
    work = pipeline(folder)
    before = samples(work, build(work))[0].images[0]
    (place / "1.png").write_bytes((place / "2.bmp").read_bytes())
    assert work.current("source_qa", "tabmwp") is None
    after = samples(work, build(work))[0].images[0]
    assert before.sha256 != after.sha256
    assert replace(after, sha256=before.sha256) == before


def test_the_files_are_told_before_any_record(folder: Path) -> None:
    seen: list[Progress] = []
    build(pipeline(folder), seen)
    assert [progress.files for progress in seen[:2]] == [6, 0]


LONG = "How much do {} kilograms of sand cost in the shop by the river?"


@pytest.fixture
def guarded(folder: Path) -> Pipeline:
    """Return a pipeline that knows a benchmark: it shares the picture of problem 1 and the question of problem 2."""
    place = folder / "sources" / "tabmwp"
    problems = json.loads((place / "problems_train.json").read_text())
    for number, problem in problems.items():
        problem["question"] = LONG.format(number)
        draw_text(f"table {number}").save(place / "tables" / f"{number}.png")
    (place / "problems_train.json").write_text(json.dumps(problems))
    copy = io.BytesIO()
    draw_text("table 1").resize((150, 100)).save(copy, "JPEG", quality=80)
    rows = [("0", copy.getvalue(), "What is this?"), ("1", png(draw_text("other")), LONG.format(2))]
    lines = ["index\timage\tquestion\tanswer"]
    lines += [f"{index}\t{base64.b64encode(image).decode()}\t{question}\t7" for index, image, question in rows]
    (folder / "benchmarks" / "ai2d").mkdir(parents=True)
    (folder / "benchmarks" / "ai2d" / "AI2D_TEST.tsv").write_text("\n".join(lines))
    return with_settings(pipeline(folder), benchmarks=folder / "benchmarks")


def draw_text(text: str) -> Image.Image:
    image = Image.new("RGB", (300, 200), "white")
    draw = ImageDraw.Draw(image)
    for line in range(4):
        draw.text((20, 10 + 45 * line), f"{text} {line * len(text)}", fill="black", font_size=30)
    return image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_what_gives_a_benchmark_away_is_left_out_and_the_benchmark_told(guarded: Pipeline) -> None:
    manifest = build(guarded)
    (part,) = manifest.parts[:1]
    lost = {one.record_id: one.detail for one in parts.read_rejected(guarded.store, manifest)}
    assert (manifest.rows, dict(part.rejected | manifest.rejected)) == (3, {"benchmark leak": 2})
    assert lost["tabmwp/1"].startswith("similar image as ai2d 0 (0.9")
    assert lost["tabmwp/2"] == "same question as ai2d 1 (1.00)"
    assert manifest.census["leak: ai2d, similar image"] == 1
    assert manifest.census["leak: ai2d, same question"] == 1


def test_a_leak_may_be_kept_and_marked(guarded: Pipeline) -> None:
    work = with_settings(guarded, leaks="warn")
    made = samples(work, build(work))
    assert {sample.id: [leak.item for leak in sample.leaks] for sample in made if sample.leaks} == {
        "tabmwp/1": ["0"],
        "tabmwp/2": ["1"],
    }


def test_the_benchmarks_are_read_once_and_a_change_in_them_is_noticed(guarded: Pipeline, folder: Path) -> None:
    before = build(guarded)
    (index,) = guarded.store.list_keys("benchmarks")
    assert build(guarded).key == before.key
    tsv = folder / "benchmarks" / "ai2d" / "AI2D_TEST.tsv"
    tsv.write_text("\n".join(tsv.read_text().split("\n")[:2]))
    assert guarded.current("source_qa", "tabmwp") is None
    after = build(guarded)
    assert dict(after.rejected) == {"benchmark leak": 1}
    assert index in guarded.store.list_keys("benchmarks")


def test_an_index_of_benchmarks_that_is_broken_is_made_anew(guarded: Pipeline) -> None:
    before = build(guarded)
    (index,) = guarded.store.list_keys("benchmarks")
    sound = guarded.store.read(index)
    for broken in (b"", sound[: len(sound) // 2], sound[:4] + bytes(40) + sound[44:]):
        guarded.store.write(index, broken)
        guarded.store.delete("source_qa/tabmwp/manifest.json")
        guarded.store.delete(f"source_qa/tabmwp/{before.parts[0].name}.parquet")
        assert build(guarded) == before
        assert guarded.store.read(index) == sound


def test_a_benchmark_folder_without_questions_is_one_clear_error(folder: Path) -> None:
    (folder / "benchmarks").mkdir()
    with pytest.raises(SourceError, match="which holds no question that could be read"):
        build(with_settings(pipeline(folder), benchmarks=folder / "benchmarks"))


def test_a_benchmark_folder_that_is_not_there_is_one_clear_error(folder: Path) -> None:
    work = with_settings(pipeline(folder), benchmarks=folder / "nowhere")
    with pytest.raises(SourceError, match=r"benchmarks .*nowhere, which does not exist"):
        build(work)
