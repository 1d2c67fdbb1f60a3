"""A person builds RR dialogues in Dagster's UI, in a real browser, and sees what was built."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmat_dagster.corpus import write_corpus
from tests.dagster_browser import keep_screenshot, open_page, require_browser, run_webserver

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.alone

RUN_MS = 240_000.0


@pytest.fixture
def chromium() -> str:
    return require_browser()


@pytest.fixture
def page(chromium: str) -> Iterator["Page"]:
    with open_page(chromium) as page:
        yield page


@pytest.fixture
def ui(chromium: str, tmp_path: Path) -> Iterator[str]:
    """Yield the address of a UI over a few problems of the sample corpus."""
    write_corpus(tmp_path / "sources", 12, sources=["tabmwp"])
    variables = {
        "MMAT_SOURCES": str(tmp_path / "sources"),
        "MMAT_STORE": str(tmp_path / "store"),
        "MMAT_LEDGER": str(tmp_path / "ledger.sqlite"),
        "MMAT_WORKERS": "1",
    }
    with run_webserver(tmp_path, "mmat_dagster.definitions", variables) as address:
        yield address


def test_a_person_builds_rr_dialogues_and_sees_a_sample_and_a_plot(page: "Page", ui: str) -> None:
    page.goto(f"{ui}/asset-groups")
    page.get_by_text("rr_dialogues", exact=True).first.wait_for()
    keep_screenshot(page, "graph")
    page.get_by_text("rr_dialogues", exact=True).first.click()
    page.get_by_role("link", name="View in Asset Catalog").click()
    page.get_by_role("button", name="Materialize").first.click()
    keep_screenshot(page, "dialog")
