"""A release of TabMWP's real problems, opened by `datasets`. Skipped where the published data is not here.

The teacher says what it has read and then the gold answer, so every problem becomes a dialogue in a moment.
"""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.pipeline import Pipeline, Settings
from mmat_dagster.release.plan import Plan, find_data
from mmat_dagster.release.publishing import publish
from resources.store import LocalStore
from tests.exporting import CallingTeacher, TirelessOcr
from tests.exporting import ignore as unheard
from tests.fakes import ToldRetriever
from tests.releasing import ignore

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sources"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    pytest.importorskip("datasets")

import datasets  # noqa: E402


def test_a_thousand_real_problems_are_loaded_as_they_were_written(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = LocalStore(root=str(root))
    work = Pipeline(
        sources=REAL,
        store=store,
        teacher=CallingTeacher(),
        operators={"ocr": TirelessOcr()},
        search=ToldRetriever(),
        settings=Settings(verify_images=False),
    )
    for built in work.build("orr_dialogues", "tabmwp", unheard):
        last = built.manifest
    pictures = PicturesOnDisk(source_root=REAL, store_root=root)
    release, _ = publish(Plan(store=store, pictures=pictures, data=find_data(store)), ignore)
    loaded = datasets.load_dataset(str(root / release.prefix), "rr", cache_dir=str(tmp_path / "cache"))
    rows = {row["id"]: row for side in ("train", "val") for row in loaded[side].cast_column("images", RAW)}
    problems = json.loads((REAL / "tabmwp" / "problems_dev1k.json").read_text(encoding="utf-8"))
    assert len(rows) == last.rows > 900
    assert len(loaded["val"]) > 0
    assert not set(loaded["train"]["id"]) & set(loaded["val"]["id"])
    for name, row in rows.items():
        pid = name.partition("/")[2]
        assert row["answers"] == [problems[pid]["answer"]]
        assert row["question"].startswith(problems[pid]["question"])
        assert problems[pid]["question"] in row["messages"][1]["content"]
        assert row["messages"][-1]["content"] == problems[pid]["answer"]
        assert row["images"][0]["bytes"] == (REAL / "tabmwp" / "tables" / f"{pid}.png").read_bytes()
    first = loaded["train"][0]
    path = REAL / "tabmwp" / "tables" / f"{first['id'].partition('/')[2]}.png"
    with Image.open(path) as drawn:
        assert first["images"][0].tobytes() == drawn.tobytes()


RAW = datasets.List(datasets.Image(decode=False))
