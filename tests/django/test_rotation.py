"""SECRET_KEY rotated by the documented order: the new one as a fallback everywhere, then swapped, alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.django import revoke_sessions, sessions_of
from tests.django.site import Browser, sign_in, with_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from tests.django.site import Site

OLD, NEW = "the former secret, long enough for anybody", "the present secret, long enough for anybody"

ONLY_OLD = {"SECRET_KEY": OLD, "SECRET_KEY_FALLBACKS": []}
PREPARED = {"SECRET_KEY": OLD, "SECRET_KEY_FALLBACKS": [NEW]}
SWAPPED = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": [OLD]}
ONLY_NEW: dict[str, Any] = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": []}


def who(request: HttpRequest) -> str:
    return f"{request.user.get_username()} {request.session.get('basket')}"


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.visit(sign_in(user))
    browser.visit(lambda request: request.session.update({"basket": ["apple"]}))
    return browser


@with_index
def test_nobody_is_signed_out_by_a_rotation(
    site: Site, alice: User, change_settings: Callable[..., None]
) -> None:
    change_settings(**ONLY_OLD)
    browser = signed_in(alice)
    for stage in (PREPARED, SWAPPED, ONLY_NEW):
        change_settings(**stage)
        for _ in range(2):
            assert browser.visit(who).content == b"alice ['apple']"
            assert len(sessions_of(alice)) == site.count == 1


def test_nobody_is_signed_out_while_workers_differ_in_the_stage_of_the_rotation(
    site: Site, alice: User, change_settings: Callable[..., None]
) -> None:
    change_settings(**ONLY_OLD)
    browser = signed_in(alice)
    for stages in ((ONLY_OLD, PREPARED), (PREPARED, SWAPPED), (SWAPPED, ONLY_NEW)):
        for stage in stages * 3:
            change_settings(**stage)
            assert browser.visit(who).content == b"alice ['apple']"
    assert site.count == 1


@pytest.mark.parametrize("engine", ["embedded", "file"])
@pytest.mark.parametrize("save_every_request", [False, True])
def test_the_sessions_of_a_removed_secret_are_no_sessions_without_an_error(
    make_site: Any,
    alice: User,
    change_settings: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    *,
    engine: str,
    save_every_request: bool,
) -> None:
    site: Site = make_site(engine, SESSION_SAVE_EVERY_REQUEST=save_every_request)
    change_settings(**ONLY_OLD)
    browser = signed_in(alice)
    token = browser.token
    change_settings(**ONLY_NEW)
    caplog.clear()
    response = browser.visit(who)
    assert (response.status_code, response.content, dict(response.cookies)) == (200, b" None", {})
    assert browser.token == token
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert sessions_of(alice) == []

    change_settings(**ONLY_OLD)  # rolled back: nothing was destroyed meanwhile
    assert browser.visit(who).content == b"alice ['apple']"
    assert site.count == 1


def test_a_sign_in_after_the_secret_was_removed_begins_a_session_of_its_own(
    make_site: Any, alice: User, change_settings: Callable[..., None]
) -> None:
    make_site("embedded")
    change_settings(**ONLY_OLD)
    browser = signed_in(alice)
    token = browser.token
    change_settings(**ONLY_NEW)
    assert browser.visit(sign_in(alice)).status_code == 200
    assert browser.token != token
    assert browser.visit(who).content == b"alice None"


@with_index
def test_a_revocation_reaches_sessions_under_every_secret(
    site: Site, alice: User, change_settings: Callable[..., None]
) -> None:
    change_settings(**ONLY_OLD)
    before = signed_in(alice)
    change_settings(**SWAPPED)
    after = signed_in(alice)
    assert len(sessions_of(alice)) == 2
    assert revoke_sessions(alice) == 2
    assert {before.visit(who).content, after.visit(who).content} == {b" None"}
    assert site.count == 0
