"""Every block of code in the documentation runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

from sojourn.django.conf import SojournSettings, sojourn_settings
from tests.docs.pages import PAGES, ROOT, Block, blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django.contrib.auth.models import User

    from tests.django.site import Site

#: Languages whose blocks are run, and where; others show what is no code.
PYTHON = "python"
SHELL = "console"
SHOWN = {
    "text",
    "html",  # of how-to/sign-out-everywhere.md: rendered by test_how_to.py
    "{toctree}",
    "{eval-rst}",
}

#: Each page's console blocks are run by one of these tests.
SHELL_PAGES = {
    "docs/tutorial.md": "test_tutorial.py",
    "docs/how-to/rotate-secrets.md": "test_how_to.py",
    "README.md": "test_readme.py",
}

PYTHON_PAGES = [page for page in PAGES if blocks_of(page, PYTHON)]


def accept(block: Block, folder: Path, change_settings: Callable[..., None]) -> None:
    """Start the site with the settings of ``block``."""
    given: dict[str, Any] = {}
    block.run(given, folder)
    given.pop("__builtins__")
    assert given, block
    for name in given:
        assert name == "SOJOURN" or hasattr(settings, name), f"{block}: {name} is no setting"
    change_settings(**given)
    assert isinstance(sojourn_settings(), SojournSettings)
    for path in given.get("MIDDLEWARE", []):
        module, _, name = path.rpartition(".")
        getattr(import_module(module), name)(lambda _: None)
    store = import_module(settings.SESSION_ENGINE).SessionStore
    session = store()
    session["kept"] = True
    session.save()
    assert store(session.session_key)["kept"] is True


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_the_python_of_a_page_runs(
    page: str,
    folder: Path,
    page_site: Site,
    ada: User,
    change_settings: Callable[..., None],
) -> None:
    """In order, in one namespace; settings start a site."""
    names: dict[str, Any] = {"__name__": page}
    for block in blocks_of(page, PYTHON):
        if block.is_settings:
            accept(block, folder, change_settings)
        else:
            block.run(names, folder)


def test_no_block_is_of_a_language_that_nothing_runs() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            known = block.language in {PYTHON, *SHOWN} or block.language.startswith("{from-code} ")
            assert known or (block.language == SHELL and page in SHELL_PAGES), f"{block}: {block.language!r}"


def test_no_page_hides_a_block_from_the_tests() -> None:
    """Every line that opens or closes a fence belongs to a block that was found."""
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
        assert fences == 2 * len(blocks_of(page)), page


def test_a_block_that_fails_is_found(folder: Path) -> None:
    failing = Block(page="README.md", line=1, language=PYTHON, text="assert 1 == 2\n")
    with pytest.raises(AssertionError):
        failing.run({}, folder)
    lying = Block(page="README.md", line=1, language=PYTHON, text=">>> 1 + 1\n3\n")
    with pytest.raises(AssertionError, match="Expected"):
        lying.run({}, folder)
