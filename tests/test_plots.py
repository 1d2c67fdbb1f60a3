"""Plots come from counts alone, are small, and are the same bytes for the same counts."""

import io
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from assets.dataset_plots import PANELS, draw_counts, draw_panels
from assets.quality_plots import Spent, draw_audit, draw_scores, draw_spending
from mmat_dagster.census import score_name
from mmat_dagster.parts import Manifest, Part
from mmat_dagster.schema import DatasetName

FULL = {
    "2 turns": 170_000,
    "3 turns": 100_000,
    "4 turns": 21_234,
    "6 turns": 8_766,
    "math reflection": 4_321,
    "general reflection": 9_000,
    "no reflection": 286_679,
    "ocr called": 123_456,
    "image_caption called": 230_000,
    "an operator of one's own, $x_1$ 表 called": 77,
    "nothing called": 12,
}
# It is stored in Dagster's event log at every materialization.
MOST_BYTES = 16_000
# What the dialog of Dagster's UI shows without making it smaller.
MOST_PX = 1000


def manifest(dataset: DatasetName, *censuses: Mapping[str, int], rows: int) -> Manifest:
    parts = [
        Part(name=f"part-{index}", rows=rows, rejected={}, census=dict(census), sha256="0")
        for index, census in enumerate(censuses)
    ]
    return Manifest(dataset=dataset, source="tabmwp", key="key", parts=tuple(parts))


def bars(made: Manifest) -> dict[str, dict[str, int]]:
    """Return the bars of a dataset's plot, by panel."""
    panels = [panel for make in PANELS[made.dataset] if (panel := make(made)) is not None]
    return {panel.title: dict(panel.counts) for panel in panels}


def test_turns_calls_and_reflections_are_bars_beside_the_papers() -> None:
    assert bars(manifest("rr_dialogues", FULL, rows=300_000)) == {
        "Turns": {"2": 170_000, "3": 100_000, "4": 21_234, "5 or more": 8_766},
        "Calls": {
            "image_caption": 230_000,
            "label_bbox": 0,
            "ocr": 123_456,
            "face_detection": 0,
            "rag": 0,
            "an operator of one's own, $x_1$ 表": 77,
        },
        "Reflections": {"general": 9_000, "math": 4_321, "none": 286_679},
    }


def test_samples_are_bars_by_answer_and_part_the_many_small_ones_together() -> None:
    census = {
        "answer: number": 20,
        **{f"part: {index:02d}": 1 for index in range(14)},
        "part: big": 6,
        "licence: x": 20,
    }
    shown = bars(manifest("source_qa", census, rows=20))
    assert shown["Answer types"] == {"number": 20}
    assert (len(shown["Parts of the source"]), shown["Parts of the source"]["others"]) == (13, 3)


def test_what_an_earlier_version_has_not_counted_in_every_part_is_not_drawn() -> None:
    counted = {"2 turns": 5, "no reflection": 5, "ocr called": 5}
    before = {"2 turns": 5, "no reflection": 5}
    assert list(bars(manifest("rr_dialogues", counted, before, rows=5))) == ["Turns", "Reflections"]
    assert draw_counts(manifest("source_qa", {"licence: x": 5}, rows=5)) is None
    assert draw_counts(manifest("orr_dialogues", {}, rows=5)) is None
    assert draw_counts(manifest("rr_dialogues", rows=0)) is None


SPENT = [Spent(label="11-27\n10:00", models_usd=12.3, search_usd=1.2), Spent(label="11-28\n09:58")]
PLOTS: Mapping[str, Callable[[], bytes | None]] = {
    "rr_dialogues": lambda: draw_counts(manifest("rr_dialogues", FULL, rows=300_000)),
    "no calls": lambda: draw_counts(manifest("rationales", {"2 turns": 1, "ocr failed": 1}, rows=1)),
    "scores": lambda: draw_scores({2: 3, 6: 31, 7: 120, 9: 700}),
    "no scores": lambda: draw_scores({}),
    "spending": lambda: draw_spending(SPENT),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_small_opaque_and_the_same_each_time(name: str) -> None:
    data = PLOTS[name]()
    assert data is not None
    assert len(data) < MOST_BYTES
    draw_panels.cache_clear()
    assert data == PLOTS[name]()
    with Image.open(io.BytesIO(data)) as image:
        assert max(image.size) <= MOST_PX
        assert image.convert("RGBA").getpixel((image.width - 1, 0)) == (255, 255, 255, 255)


def test_threads_draw_what_one_draws() -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw_scores({9: 1}), range(8)))
    assert set(drawn) == {draw_scores({9: 1})}


def test_scores_are_counted_by_tenths_and_drawn_from_these_counts() -> None:
    names = [score_name(score) for score in (0.0, 0.29, 0.3, 0.69, 0.7, 0.7999, 1.0)]
    assert names == ["score 0.0", "score 0.2", "score 0.3", "score 0.6", "score 0.7", "score 0.7", "score 0.9"]
    census = {"score 0.2": 3, "score 0.6": 31, "score 0.7": 120, "score 0.9": 700}
    assert draw_audit(manifest("rr_dialogues", census, rows=854)) == PLOTS["scores"]()
    assert draw_audit(manifest("rr_dialogues", {}, rows=1)) is None


def test_the_plotting_library_is_not_loaded_before_something_is_drawn() -> None:
    code = "import assets.metadata, assets.evaluation_metadata, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 0
