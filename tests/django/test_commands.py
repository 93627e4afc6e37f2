"""What ``manage.py`` does with sessions."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from sojourn.errors import StoreUnavailableError
from sojourn.manager import Manager
from tests.django.servers import DATABASES, sites

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.django.site import Site

on_engines = pytest.mark.parametrize("site", sites("embedded", "file", *DATABASES), indirect=True)
in_a_file = pytest.mark.parametrize("site", ["embedded"], indirect=True)


def dying(site: Site, number: int) -> None:
    for _ in range(number):
        session = site.session()
        session["kind"] = "short"
        session.set_expiry(-1)
        session.save()


@on_engines
def test_D6_sojourn_purge_removes_the_expired_ones_and_says_how_many(site: Site) -> None:
    living = site.saved(kind="living")
    dying(site, 3)
    out = io.StringIO()
    call_command("sojourn_purge", "--rate=0", stdout=out)
    assert out.getvalue().startswith("3 expired sessions removed in ")
    assert out.getvalue().count("\n") == 1
    assert site.stored(living.session_key) == {"kind": "living"}


@in_a_file
def test_sojourn_purge_that_is_interrupted_exits_as_such(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Manager, "purge", interrupted)
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("sojourn_purge", stdout=out)
    assert exit_.value.code == 130
    assert out.getvalue().startswith("0 expired sessions removed in ")


@in_a_file
def test_sojourn_purge_says_in_one_line_that_the_store_does_not_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> int:
        raise StoreUnavailableError("the database does not answer")

    monkeypatch.setattr(Manager, "purge", gone)
    with pytest.raises(CommandError, match="does not answer"):
        call_command("sojourn_purge", stdout=io.StringIO())


def test_sojourn_purge_leaves_other_peoples_engines_to_clearsessions(
    change_settings: Callable[..., None],
) -> None:
    change_settings(SESSION_ENGINE="django.contrib.sessions.backends.db")
    with pytest.raises(CommandError, match="use clearsessions"):
        call_command("sojourn_purge")


def test_sojourn_purge_takes_no_rate_that_is_none() -> None:
    with pytest.raises(CommandError, match="--rate"):
        call_command("sojourn_purge", "--rate=-1")
