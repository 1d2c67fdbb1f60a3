"""A real browser for tests: Chromium, driven by Playwright; tests are skipped with the reason where one is missing.

MMAT_CHROMIUM           the browser's file; else `chromium` or `google-chrome` on the PATH
MMAT_REQUIRE_BROWSER    set: a missing browser fails instead
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE, DESK = 390, 1440
HEIGHTS = {PHONE: 844, DESK: 900}
REQUIRED = bool(os.environ.get("MMAT_REQUIRE_BROWSER"))
# Other processes of the machine may be at work, too.
PATIENCE_MS = 30_000

ColourScheme = Literal["light", "dark"]


@contextmanager
def open_browser(width: int = DESK, scheme: ColourScheme = "light", *, scripts: bool = True) -> "Iterator[Page]":
    """Yield a page of a fresh browser, `width` pixels wide, that prefers a colour scheme; skip where there is none."""
    executable = find_chromium()
    if not REQUIRED:
        pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            viewport = {"width": width, "height": HEIGHTS.get(width, 900)}
            context = browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=scripts)  # type: ignore[arg-type]
            context.set_default_timeout(PATIENCE_MS)
            yield context.new_page()
        finally:
            browser.close()


def find_chromium() -> str:
    """Return the browser's file; skip the test where there is none, or fail where one is required."""
    named = os.environ.get("MMAT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if found is None or shutil.which(found) is None:
        told = "no browser: install chromium, or name one in MMAT_CHROMIUM"
        if REQUIRED:
            pytest.fail(told)
        pytest.skip(told)
    return found
