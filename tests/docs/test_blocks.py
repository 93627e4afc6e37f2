"""Every block of code in the documentation runs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.management import call_command

from sojourn.django.conf import SojournSettings, sojourn_settings
from tests.django.databases import entry_for, sessions_in
from tests.docs.pages import PAGES, ROOT, Block, blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.mariadb import MariaDB
    from tests.servers.postgresql import PostgreSQL


#: Languages whose blocks are run, and where; others show what is no code.
PYTHON = "python"
SHELL = "console"
SHOWN = {
    "text",
    "sql",  # of how-to/database.md: run by test_how_to.py
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


#: Where a page says that a database is.
_ENTRY = """"NAME": "mysite",
        "USER": "mysite",
        "HOST": "{}",
        "PORT": {}"""


def in_entry(server: PostgreSQL | MariaDB, **more: Any) -> str:
    """Return what stands between the braces of an entry of ``DATABASES``."""
    entry = {name: value for name, value in entry_for(server, **more).items() if name != "ENGINE"}
    return str(entry).strip("{}")


#: What pages call servers: the fixture there is for them, and how it says the same.
SERVERS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "127.0.0.1:11211": ("memcached", lambda server: str(server.address)),
    "127.0.0.1:6379": ("valkey", lambda server: str(server.address)),
    "10.0.0.5:6379": ("valkey", lambda server: str(server.address)),
    "10.0.0.1:6379,10.0.0.2:6379": ("valkey_cluster", lambda servers: ",".join(servers.addresses)),
    "10.0.0.1:26379,10.0.0.2:26379": ("valkey_sentinels", lambda servers: ",".join(servers.addresses)),
    _ENTRY.format("10.0.0.5", 5432): ("postgresql", in_entry),
    _ENTRY.format("10.0.0.5,10.0.0.6", 5432): ("postgresql", partial(in_entry, HOST="127.0.0.1,127.0.0.1")),
    _ENTRY.format("10.0.0.5", 3306): ("mariadb", in_entry),
    '("10.0.0.1", 26379), ("10.0.0.2", 26379)': (
        "valkey_sentinels",
        lambda servers: ", ".join(str(tuple(address.split(":"))) for address in servers.addresses),
    ),
}


def servers_of(page: str) -> list[str]:
    """Return the fixtures with the servers that the page names."""
    text = "".join(block.text for block in blocks_of(page, PYTHON))
    return [fixture for name, (fixture, _) in SERVERS.items() if name in text]


@pytest.fixture
def addresses(page: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Start the servers that the page names; return their addresses by what it calls them."""
    asked = servers_of(page)
    return {
        name: address_of(request.getfixturevalue(fixture))
        for name, (fixture, address_of) in SERVERS.items()
        if fixture in asked
    }


def accept(
    block: Block,
    folder: Path,
    change_settings: Callable[..., None],
    addresses: dict[str, str],
    stack: ExitStack,
) -> None:
    """Start the site with the settings of ``block``."""
    given: dict[str, Any] = {}
    block.run(given, folder, addresses)
    given.pop("__builtins__")
    assert given, block
    if "CACHES" in given:  # a block that names no alias is not about the one before
        given.setdefault("SESSION_CACHE_ALIAS", "default")
    databases = given.pop("DATABASES", {})
    if databases:
        given.setdefault("SOJOURN", {})  # likewise
    for alias, entry in databases.items():
        stack.enter_context(sessions_in(entry, alias=None if alias == "default" else alias))
    for name in given:
        assert name == "SOJOURN" or hasattr(settings, name), f"{block}: {name} is no setting"
    change_settings(**given)
    if "INSTALLED_APPS" in given:
        call_command("migrate", verbosity=0)
    assert isinstance(sojourn_settings(), SojournSettings)
    for path in given.get("MIDDLEWARE", []):
        module, _, name = path.rpartition(".")
        getattr(import_module(module), name)(lambda _: None)
    store = import_module(settings.SESSION_ENGINE).SessionStore
    session = store()
    session["kept"] = True
    session.save()
    assert store(session.session_key)["kept"] is True


@pytest.mark.usefixtures("page_site", "ada")
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.asks_for(*servers_of(page))) for page in PYTHON_PAGES]
)
def test_the_python_of_a_page_runs(
    page: str,
    folder: Path,
    change_settings: Callable[..., None],
    addresses: dict[str, str],
) -> None:
    """In order, in one namespace; settings start a site."""
    names: dict[str, Any] = {"__name__": page}
    for block in blocks_of(page, PYTHON):
        if block.is_settings:
            with ExitStack() as stack:
                accept(block, folder, change_settings, addresses, stack)
        else:
            block.run(names, folder, addresses)


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
