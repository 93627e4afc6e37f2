"""From a User-Agent header to words a person recognises: "Firefox on Linux"."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["browser_label"]

# The first that matches names it: browsers claim to be those before them.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_PRODUCT: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,30}", re.ASCII)


def browser_label(user_agent: str) -> str:
    """Return a short label for ``user_agent``; ``""`` if it says nothing.

    A program that is no browser is named by its first word (``curl``).
    """
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    if browser or system:
        return browser or system
    product = _PRODUCT.match(user_agent)
    return "" if product is None else product.group()
