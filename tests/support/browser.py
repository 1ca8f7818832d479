"""Chromium as the system has it, driven by Playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Playwright

# A browser that asks nothing of anybody but the page's own service.
ARGUMENTS = [
    "--no-sandbox",  # CI runs as root, for whom Chromium has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str | None:
    """Where Chromium is: CHROMIUM, or what is on PATH."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """A headless browser with a profile of its own."""
    path = chromium_path()
    if path is None:
        raise FileNotFoundError("no chromium on PATH; install it (Debian: apt-get install chromium) or set CHROMIUM")
    browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, headless=True)
    try:
        yield browser
    finally:
        browser.close()
