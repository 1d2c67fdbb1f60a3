"""The samples of a source in parts: what decides them, and what a run takes over from an earlier one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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


def test_a_benchmark_folder_that_is_not_there_is_one_clear_error(folder: Path) -> None:
    work = with_settings(pipeline(folder), benchmarks=folder / "nowhere")
    with pytest.raises(SourceError, match=r"benchmarks .*nowhere, which does not exist"):
        build(work)
