"""What the how-to pages promise, beyond that their code runs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from sojourn import Keyring
from sojourn.django import revoke_sessions, sessions_of
from sojourn.stores.embedded import EmbeddedStore
from tests.django.databases import entry_for, sessions_in
from tests.django.site import FIREFOX, MODEL_BACKEND, Browser, sign_in, sign_out
from tests.docs.pages import blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django.contrib.auth.models import User

    from tests.django.site import Site
    from tests.servers.postgresql import PostgreSQL

DJANGO = "django.contrib.sessions.backends"


# --- sign-out-everywhere ------------------------------------------------------------------------------


@pytest.fixture
def account(page_site: Site, folder: Path, change_settings: Callable[..., None]) -> dict[str, Any]:
    """The page's views under the page's URLs, with its template."""
    page = "docs/how-to/sign-out-everywhere.md"
    names: dict[str, Any] = {"__name__": "account_urls"}
    [html] = blocks_of(page, "html")
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"],
            "loaders": [("django.template.loaders.locmem.Loader", {"signed_in_at.html": html.text})],
        },
    }
    for block in blocks_of(page, "python")[:2]:
        block.run(names, folder)
    urls = type(sys)("account_urls")
    urls.__dict__.update(names)
    sys.modules["account_urls"] = urls
    change_settings(TEMPLATES=[templates], ROOT_URLCONF="account_urls")
    return names


def test_a_user_sees_where_they_are_signed_in_and_ends_one_session_or_all_others(
    account: dict[str, Any], ada: User
) -> None:
    browsers = [Browser(), Browser(), Browser(user_agent="curl/8.0"), Browser()]
    for browser in browsers:
        browser.client.force_login(ada, MODEL_BACKEND)
    here, there, *others = browsers
    page = here.client.get("/account/sessions/").content.decode()
    assert page.count("(this one)") == 1
    assert page.count("Sign out</button>") == 3
    [listed] = [session for session in sessions_of(ada) if session.public_id == public_id(there)]
    address = f"/account/sessions/end/{listed.public_id}/"
    assert address in page
    assert here.client.get(address).status_code == 405
    here.client.post(address)
    assert len(sessions_of(ada)) == 3
    here.client.post("/account/sessions/end-others/")
    assert [session.public_id for session in sessions_of(ada)] == [public_id(here)]
    for browser in (there, *others):
        assert browser.client.get("/account/sessions/").status_code == 302
    here.client.post(f"/account/sessions/end/{public_id(here)}/")
    assert len(sessions_of(ada)) == 1, "the present one stays"


def public_id(browser: Browser) -> str:
    session: Any = browser.client.session
    return str(session.public_id)


def test_the_label_is_made_from_the_user_agent_at_sign_in(page_site: Site, ada: User) -> None:
    Browser(user_agent=FIREFOX).visit(sign_in(ada))
    assert [session.label for session in sessions_of(ada)] == ["Firefox on Linux"]


# --- go-back ------------------------------------------------------------------------------------------


@pytest.fixture
def switched(page_site: Site, change_settings: Callable[..., None], folder: Path) -> dict[str, Any]:
    """The settings of a site that was switched from the database engine."""
    chosen = {
        "SESSION_ENGINE": "sojourn.django.backends.embedded",
        "SOJOURN": {"PATH": folder / "var/lib/sessions.sqlite3", "ADOPT": f"{DJANGO}.db"},
    }
    change_settings(**chosen)
    return chosen


def under_django(user: User) -> Browser:
    """Return a browser that signed in when Django's engine kept sessions."""
    browser = Browser()
    with override_settings(SESSION_ENGINE=f"{DJANGO}.db"):
        browser.visit(sign_in(user))
        browser.visit(lambda request: request.session.update({"basket": ["old"]}))
    return browser.twin()  # whose requests go through what is configured by then


def who(browser: Browser) -> str:
    return str(
        browser.visit(lambda request: f"{request.user} {request.session.get('basket')}").content, "utf-8"
    )


NOBODY = "AnonymousUser None"


@pytest.mark.parametrize(
    ("doing", "then"),
    [
        ("not used", "ada ['old']"),
        ("used", "ada ['old']"),
        ("changed", "ada ['old']"),
        ("signed out", NOBODY),
        ("signed in again", NOBODY),
        ("begun", NOBODY),
        ("revoked", "ada ['old']"),
        ("revoked one", "ada ['old']"),
    ],
)
def test_going_back_means_what_the_table_says(
    doing: str, then: str, switched: dict[str, Any], ada: User, change_settings: Callable[..., None]
) -> None:
    browser = Browser() if doing == "begun" else under_django(ada)
    if doing == "begun":
        browser.visit(sign_in(ada))
    elif doing != "not used":
        assert who(browser) == "ada ['old']"
    if doing == "changed":
        browser.visit(lambda request: request.session["basket"].append("new"))
        assert who(browser) == "ada ['old', 'new']"
    elif doing == "signed out":
        kept = browser.twin()
        browser.visit(sign_out)
        browser = kept
    elif doing == "signed in again":
        browser.visit(sign_in(ada))
    elif doing == "revoked":
        assert revoke_sessions(ada) == 1
        assert who(browser) == NOBODY
    elif doing == "revoked one":
        [session] = sessions_of(ada)
        assert revoke_sessions(ada, only=session.public_id) == 1
        assert who(browser) == NOBODY
    change_settings(SESSION_ENGINE=f"{DJANGO}.db")
    assert who(browser.twin()) == then


def test_switching_again_with_the_old_file_revives_what_was_signed_out_meanwhile(
    switched: dict[str, Any], ada: User, change_settings: Callable[..., None]
) -> None:
    """As the page warns."""
    browser = under_django(ada)
    who(browser)
    kept = browser.twin()
    with override_settings(SESSION_ENGINE=f"{DJANGO}.db"):
        browser.twin().visit(sign_out)
    assert who(kept) == "ada ['old']"


def test_the_emptying_of_djangos_store_ends_what_would_be_alive_again(
    switched: dict[str, Any], ada: User, folder: Path, change_settings: Callable[..., None]
) -> None:
    browser = under_django(ada)
    who(browser)
    revoke_sessions(ada)
    [emptying] = blocks_of("docs/how-to/go-back.md", "python")
    emptying.run({}, folder)
    change_settings(SESSION_ENGINE=f"{DJANGO}.db")
    assert who(browser.twin()) == NOBODY


# --- rotate-secrets -----------------------------------------------------------------------------------


def test_the_command_makes_a_secret_that_will_do(tmp_path: Path) -> None:
    [block] = blocks_of("docs/how-to/rotate-secrets.md", "console")
    command = block.text.removeprefix("$ ").replace("python ", f"{sys.executable} ", 1)
    made = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)  # noqa: S602
    Keyring([made.stdout.strip()])


def test_the_three_steps_sign_nobody_out_who_comes_by(
    page_site: Site, folder: Path, ada: User, change_settings: Callable[..., None]
) -> None:
    steps = [block for block in blocks_of("docs/how-to/rotate-secrets.md", "python") if block.is_settings]
    assert len(steps) == 3
    given: list[dict[str, Any]] = [{} for _ in steps]
    for settings, block in zip(given, steps, strict=True):
        block.run(settings, folder)
        settings.pop("__builtins__")
    change_settings(SECRET_KEY=given[0]["SECRET_KEY"], SECRET_KEY_FALLBACKS=[])
    comes, stays_away = Browser(), Browser()
    for browser in (comes, stays_away):
        browser.visit(sign_in(ada))
    for settings in given:
        change_settings(**settings)
        assert who(comes) == "ada None"
    assert who(stays_away) == NOBODY


# --- back-up ------------------------------------------------------------------------------------------


def test_a_restored_copy_holds_the_sessions_of_then_and_revives_what_ended_since(
    page_site: Site, folder: Path, ada: User, change_settings: Callable[..., None]
) -> None:
    path, copy = folder / "var/lib/sessions.sqlite3", folder / "var/backups/sessions.sqlite3"
    change_settings(SOJOURN={"PATH": path})
    browser = Browser()
    browser.visit(sign_in(ada))
    [as_program] = [b for b in blocks_of("docs/how-to/back-up.md", "python") if "EmbeddedStore(" in b.text]
    as_program.run({}, folder)
    assert copy.stat().st_mode & 0o777 == 0o600
    kept = browser.twin()
    browser.visit(sign_out)
    assert who(kept) == NOBODY
    change_settings(SOJOURN={"PATH": copy})
    assert who(kept) == "ada None"


def test_the_copy_is_not_put_where_everybody_may_write(folder: Path) -> None:
    (folder / "everybody").mkdir()
    (folder / "everybody").chmod(0o777)
    store = EmbeddedStore(folder / "var/lib/sessions.sqlite3")
    with pytest.raises(Exception, match="everybody may write"):
        store.back_up(folder / "everybody" / "copy.sqlite3")
    store.close()


# --- database -----------------------------------------------------------------------------------------


def test_what_to_watch_on_postgresql_can_be_asked(postgresql: PostgreSQL) -> None:
    [query] = blocks_of("docs/how-to/database.md", "sql")
    with sessions_in(entry_for(postgresql)):
        [row] = postgresql.sql(query.text).splitlines()
    assert len(row.split("|")) == 4
