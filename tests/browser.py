"""A real browser for tests: Chromium, driven by Playwright; tests are skipped with the reason where one is missing.

MMAT_CHROMIUM           the browser's file; else `chromium` or `google-chrome` on the PATH
MMAT_REQUIRE_BROWSER    set: a missing browser fails instead
MMAT_SCREENSHOTS        a folder that keeps what the tests saw
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE, DESK = 390, 1440
HEIGHTS = {PHONE: 844, DESK: 1000}
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
# Other processes of the machine may be at work, too.
PATIENCE_MS = 120_000
# What a page may ask for: this machine, and what it holds itself.
NEAR = ("http://127.0.0.1:", "data:", "blob:")

ColourScheme = Literal["light", "dark"]


@contextmanager
def open_browser(width: int = DESK, scheme: ColourScheme = "light", *, scripts: bool = True) -> "Iterator[Page]":
    """Yield a page of a fresh browser, `width` pixels wide, that prefers a colour scheme; skip where there is none.

    A page that asks for anything beyond this machine is an error.
    """
    executable = find_chromium()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            viewport = {"width": width, "height": HEIGHTS.get(width, 900)}
            context = browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=scripts)  # type: ignore[arg-type]
            context.set_default_timeout(PATIENCE_MS)
            context.on("request", lambda request: asked.append(request.url))
            yield context.new_page()
        finally:
            browser.close()
    assert [url for url in asked if not url.startswith(NEAR)] == []


def find_chromium() -> str:
    """Return the browser's file; skip the test where it or Playwright is missing, or fail where they are required."""
    found = shutil.which(os.environ.get("MMAT_CHROMIUM") or "") or next(filter(None, map(shutil.which, BROWSERS)), None)
    told = None if found else "no browser: install chromium, or name one in MMAT_CHROMIUM"
    if importlib.util.find_spec("playwright") is None:
        told = "playwright is not installed: pip install -e '.[dev]'"
    if told and os.environ.get("MMAT_REQUIRE_BROWSER"):
        pytest.fail(told)
    if told or found is None:
        pytest.skip(told or "")
    return found


def keep_screenshot(page: "Page", name: str) -> None:
    """Write what is seen to the folder for screenshots, where there is one."""
    folder = os.environ.get("MMAT_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")
