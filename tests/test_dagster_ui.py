"""A person builds RR dialogues in Dagster's UI, in a real browser, and sees what was built."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmat_dagster.corpus import write_corpus
from tests.browser import find_chromium, keep_screenshot, open_browser
from tests.dagster_webserver import run_webserver, wait_for_runs

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.alone


# What a question may hold: the page shows it as it is, loads nothing and stays whole.
HOSTILE = " <script>alert(1)</script> ![x](http://elsewhere.invalid/x.png) | `a` **b** &lt;"


@pytest.fixture
def page(ui: str) -> Iterator["Page"]:
    with open_browser() as page:
        yield page


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a UI over a few problems of the sample corpus."""
    find_chromium()
    write_corpus(tmp_path / "sources", 12, sources=["tabmwp"])
    make_hostile(tmp_path / "sources" / "tabmwp")
    variables = {
        "MMAT_SOURCES": str(tmp_path / "sources"),
        "MMAT_STORE": str(tmp_path / "store"),
        "MMAT_LEDGER": str(tmp_path / "ledger.sqlite"),
        "MMAT_WORKERS": "1",
    }
    with run_webserver(tmp_path, "mmat_dagster.definitions", variables) as address:
        yield address


def make_hostile(folder: Path) -> None:
    for path in folder.glob("problems_*.json"):
        problems = json.loads(path.read_text())
        for problem in problems.values():
            problem["question"] += HOSTILE
        path.write_text(json.dumps(problems))


def test_a_person_builds_rr_dialogues_and_sees_a_sample_and_a_plot(page: "Page", ui: str) -> None:
    page.goto(f"{ui}/asset-groups")
    select_asset(page, "rr_dialogues")
    keep_screenshot(page, "asset_graph")
    page.get_by_role("button", name="Materialize selected").click()
    # Dagster says that the upstream is not there yet; the asset builds it.
    page.get_by_role("button", name="Confirm").click()
    choose_partition(page, "tabmwp")
    keep_screenshot(page, "partition")
    page.get_by_role("button", name="Launch 1 run").click()
    assert wait_for_runs(ui) == ["SUCCESS"]
    page.goto(f"{ui}/assets/rr_dialogues?view=partitions&partition=tabmwp")
    page.get_by_text("Materialized", exact=True).wait_for()
    page.get_by_text("python -m mmat_dagster view").wait_for()
    keep_screenshot(page, "partition_built")
    sample = open_metadata(page, "sample")
    assert_shown(sample.locator("img").first)
    keep_screenshot(page, "sample")
    # An invisible mark keeps the page from making a link of what looks like one.
    assert HOSTILE.strip() in sample.inner_text().replace("\u2060", "")
    assert sample.locator("script, strong:text-is('b'), code").count() == 0
    assert sample.get_by_role("link").count() == 0
    page.get_by_role("button", name="Close").click()
    plot = open_metadata(page, "plot")
    assert_shown(plot.locator("img"))
    keep_screenshot(page, "plot")


def select_asset(page: "Page", name: str) -> None:
    box = page.get_by_placeholder("Jump to")
    box.click()
    box.fill(name)
    page.get_by_role("menuitem", name=name, exact=True).click()
    page.get_by_role("link", name="View in Asset Catalog").wait_for()


def choose_partition(page: "Page", name: str) -> None:
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem", name=name).click()
    page.get_by_text("1 partition", exact=True).wait_for()
    page.keyboard.press("Escape")


def open_metadata(page: "Page", name: str) -> "Locator":
    """Open a Markdown entry of the metadata; return the dialog that shows it."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=name, exact=True))
    row.get_by_text("[Show Markdown]").click()
    return page.get_by_role("dialog").filter(has_text=name)


def assert_shown(picture: "Locator") -> None:
    """Say that a picture is not only on the page but was decoded, and fits into what shows it."""
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert picture.evaluate("image => image.clientWidth <= image.parentElement.clientWidth")
