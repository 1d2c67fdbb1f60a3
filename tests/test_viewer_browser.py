"""The viewer in a real browser, as a person uses it: filter, open, look, search, by mouse and by keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn

from mmat_dagster.viewer.app import create_app
from mmat_dagster.viewer.indexing import fill
from mmat_dagster.viewer.library import Library
from tests.browser import DESK, PHONE, find_chromium, open_browser
from tests.loopback import Served, Server
from tests.viewed_stores import BREAKING, LINK, SCRIPT, StoreOf, make_dialogue, write_dialogues, write_store

if TYPE_CHECKING:
    from playwright.sync_api import Page

HARMFUL = (SCRIPT.replace("</script>", ""), BREAKING, LINK)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a viewer of a store with reflections, and with texts that would run."""
    find_chromium()
    stored = write_store(tmp_path_factory.mktemp("browser") / "store", count=8)
    add_harmful(stored, stored.root)
    fill(Library(stored.viewed.store), stored.viewed.index)
    config = uvicorn.Config(create_app(stored.viewed), log_level="warning", ws="none", lifespan="on")
    with Served(Server(config), "viewer") as served:
        yield served.address


def add_harmful(stored: StoreOf, root: Path) -> None:
    """Add dialogues whose texts would run where they became markup."""
    image = stored.dialogues[0].images[0]
    harmful = [
        make_dialogue(100 + at, image, question=f"harmful {text} ?", thought=f"{text} .", part=text, licence=text)
        for at, text in enumerate(HARMFUL)
    ]
    write_dialogues(root, "tabmwp", (*stored.dialogues, *harmful), part_rows=5)


def overflow(page: "Page") -> int:
    """Return by how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def test_a_person_filters_for_reflections_and_sees_one_whole(address: str) -> None:
    with open_browser() as page:
        page.goto(f"{address}/dialogues")
        page.select_option("#reflection", "any")
        page.click("text=Show")
        page.wait_for_url("**/dialogues?reflection=any")
        assert page.locator(".entry").count() == 3  # 4, 8 and 100
        page.locator(".entry .open").first.click()
        page.wait_for_selector(".turn.reflection")
        assert "the sum is not written out" in page.inner_text(".turn.reflection")
        assert page.locator(".turns .turn").count() > 4
        loaded = "document.querySelector('.canvas img').complete && document.querySelector('.canvas img').naturalWidth"
        page.wait_for_function(loaded)
        assert page.locator(".boxes .shape").count() == 5
        box, image = page.locator(".boxes rect").first.bounding_box(), page.locator(".canvas img").bounding_box()
        assert box is not None
        assert image is not None
        # The tag that the source marks begins 10 of 320 pixels from the left.
        assert box["x"] - image["x"] == pytest.approx(image["width"] * 10 / 320, abs=3)
        page.uncheck("#boxes-toggle")
        assert not page.locator(".boxes").is_visible()


def test_the_keyboard_is_enough(address: str) -> None:
    with open_browser() as page:
        page.goto(f"{address}/dialogues")
        page.keyboard.press("/")
        page.keyboard.type('"price of item 3"')
        page.keyboard.press("Enter")
        page.wait_for_url("**/dialogues?words=*")
        assert page.locator(".entry").count() == 1
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/dialogue?id=tabmwp%2F3*")
        page.keyboard.press("u")
        page.wait_for_url("**/dialogues?words=*")
        page.goto(f"{address}/dialogue?id=tabmwp/3")
        page.keyboard.press("j")
        page.wait_for_url("**/dialogue?id=tabmwp%2F4*")
        page.keyboard.press("?")
        assert page.locator("#keys").is_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("t")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_text_that_would_run_is_shown_and_runs_nothing(address: str) -> None:
    with open_browser() as page:
        told: list[str] = []
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: told.append(dialog.message))
        page.on("console", lambda message: told.append(message.text))
        for at in range(len(HARMFUL)):
            page.goto(f"{address}/dialogue?id=tabmwp/{100 + at}")
            page.wait_for_load_state("load")
            assert HARMFUL[at].split()[0] in page.inner_text(".asked")
        page.goto(f"{address}/dialogues?words=harmful")
        assert page.locator(".entry").count() == len(HARMFUL)
        assert page.evaluate("window.harmed") is None
        assert told == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_page_is_wider_than_its_window(address: str, width: int) -> None:
    with open_browser(width, "dark") as page:
        for path in ("/", "/dialogues", "/dialogue?id=tabmwp/4", "/dialogue?id=tabmwp/101", "/rejected"):
            page.goto(f"{address}{path}")
            assert overflow(page) <= 0, path


def test_without_scripts_filters_and_pages_work(address: str) -> None:
    with open_browser(scripts=False) as page:
        page.goto(f"{address}/dialogues")
        page.click("summary:has-text('Filters')")
        page.select_option("#operator", "rag")
        page.click("text=Show")
        page.wait_for_url("**operator=rag**")
        assert page.locator(".entry").count() == 3
