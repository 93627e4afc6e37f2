"""A real browser without a window: headless Chromium, each with a profile of its own."""

from __future__ import annotations

import shutil
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.servers.process import new_folder

__all__ = ["Chromium"]

#: As root Chromium wants no sandbox; nothing of it asks anybody on the network.
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
)


class Chromium:
    """One browser: what a user sees of a site, and the cookies that are kept."""

    def __init__(self) -> None:
        self._profile = new_folder("chromium")
        options = ChromeOptions()
        for option in (*_OPTIONS, f"--user-data-dir={self._profile}"):
            options.add_argument(option)
        options.binary_location = shutil.which("chromium") or "chromium"
        self._driver: Any = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))

    def visit(self, url: str) -> str:
        """Go to ``url``; return the text of the page."""
        self._driver.get(url)
        text: str = self._driver.execute_script("return document.body.innerText")
        return text

    def run(self, script: str) -> Any:
        """Return what a script of the page returns."""
        return self._driver.execute_script(script)

    @property
    def cookies(self) -> dict[str, dict[str, Any]]:
        """Every cookie the browser keeps, HttpOnly or not, by its name."""
        kept = self._driver.execute_cdp_cmd("Storage.getCookies", {})["cookies"]
        return {cookie["name"]: cookie for cookie in kept}

    def close(self) -> None:
        """Close the browser and remove its profile."""
        self._driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)
