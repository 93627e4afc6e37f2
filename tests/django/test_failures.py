"""When the store does not answer or what it holds is damaged, behind Django's own middleware."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import ImproperlyConfigured

from sojourn.django import engine as engines
from sojourn.django import sessions_of
from sojourn.errors import EncodeError, SessionError, StoreUnavailableError
from sojourn.testing import Fail, Meanwhile
from tests.django.site import Browser, sign_in, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from tests.django.site import Site


def nothing(request: HttpRequest) -> str:
    return "still here"


def who(request: HttpRequest) -> str:
    assert not isinstance(request.user, AnonymousUser)
    return request.user.get_username()


def read(request: HttpRequest) -> Any:
    return request.session.get("basket")


def put(request: HttpRequest) -> None:
    request.session["basket"] = ["apple"]


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.visit(sign_in(user))
    return browser


@pytest.mark.parametrize("save_every_request", [False, True])
def test_F1_an_outage_is_an_error_never_a_visitor_nobody_knows_and_never_a_deleted_cookie(
    site: Site, alice: User, change_settings: Callable[..., None], save_every_request: bool
) -> None:
    change_settings(SESSION_SAVE_EVERY_REQUEST=save_every_request)
    store = site.watch()
    browser = signed_in(alice)
    token = browser.token
    store.plan(Fail("*", times=None))
    for view in (who, read, put, sign_in(alice), sign_out, lambda request: "x" in request.session):
        response = browser.visit(view)
        assert (response.status_code, dict(response.cookies)) == (500, {})
    assert browser.token == token
    assert Browser().visit(put).status_code == 500
    store.heal()
    assert browser.visit(who).content == b"alice"
    assert site.count == 1


def test_F1_pages_that_do_not_touch_the_session_work_during_an_outage(site: Site, alice: User) -> None:
    store = site.watch()
    browser = signed_in(alice)
    store.plan(Fail("*", times=None))
    for visitor in (browser, Browser(), Browser(token="U" * 40), Browser(token="malformed")):
        response = visitor.visit(nothing)
        assert (response.status_code, response.content) == (200, b"still here")
        assert not response.cookies
    assert Browser().visit(read).content == b"None"  # without a cookie there is nothing to ask
    assert Browser(token="malformed").visit(read).content == b"None"


async def test_F1_an_outage_is_an_error_asynchronously(site: Site) -> None:
    session = await sync_to_async(site.saved)(basket=[])
    site.watch()
    engine = site.engine
    engine.async_manager.store.plan(Fail("*", times=None))
    for call in (
        site.session(session.session_key).aget("basket"),
        site.session(session.session_key).asave(),
        site.session(session.session_key).acycle_key(),
        site.session(session.session_key).aflush(),
        site.session().acreate(),
        site.session().aexists(session.session_key),
    ):
        with pytest.raises(StoreUnavailableError):
            await call


def garble(path: Path) -> None:
    """Damage the file as a failing disk would, with nobody using it."""
    for place in engines._places.values():
        place.store.close()
    engines._places.clear()
    engines._engines.clear()
    for beside in path.parent.glob("*-*"):
        beside.unlink()
    octets = bytearray(path.read_bytes())
    octets[4096:] = b"\xa5" * (len(octets) - 4096)
    path.write_bytes(octets)


def test_a_corrupt_file_is_reported_by_name_with_what_to_do(
    make_site: Callable[..., Site], tmp_path: Path, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site("embedded")
    path = tmp_path / "private" / "sessions.sqlite3"
    browser = signed_in(alice)
    garble(path)
    response = browser.visit(who)
    assert (response.status_code, dict(response.cookies)) == (500, {})
    assert f"{path}: it is damaged: stop the application and restore a backup" in caplog.text
    assert browser.visit(nothing).status_code == 200
    with pytest.raises(StoreUnavailableError, match="it is damaged"):
        site.saved(x=1)


def test_a_file_that_is_no_database_is_reported_by_name_with_what_to_do(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = make_site("embedded")
    path = tmp_path / "private" / "sessions.sqlite3"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"these are not the sessions you are looking for" * 100)
    path.chmod(0o600)
    with pytest.raises(SessionError, match=f"{path}: it is no SQLite database: move it away"):
        site.saved(x=1)


DAMAGE = {
    "payload": "payload = CAST(substr(payload, 1, 60) || x'00' || substr(payload, 62) AS BLOB)",
    "cut short": "payload = substr(payload, 1, 20)",
    "emptied": "payload = x''",
    "began earlier": "created_at = created_at - 1",
    "absolute deadline": "absolute_deadline = 32503680000000",
    "subject": "subject = x'00'",
    "info": "info = x'00'",
}


@pytest.mark.parametrize("engine", ["embedded", "file"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_S3_a_damaged_record_is_reported_with_the_files_name_and_other_sessions_keep_working(
    make_site: Callable[..., Site],
    alice: User,
    bob: User,
    caplog: pytest.LogCaptureFixture,
    *,
    engine: str,
    damage: str,
) -> None:
    site = make_site(engine)
    hurt, well = signed_in(alice), signed_in(bob)
    token = hurt.token
    path = site.engine.manager.store.path
    [listed] = sessions_of(alice)
    connection = sqlite3.connect(path)
    with connection:
        statement = f"UPDATE session SET {DAMAGE[damage]} WHERE key = ?"
        connection.execute(statement, (listed.key,))
    connection.close()
    caplog.clear()
    response = hurt.visit(read)
    assert (response.status_code, response.content, dict(response.cookies)) == (200, b"None", {})
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    message = record.getMessage()
    assert listed.public_id in message
    assert str(path) in message
    assert "sign in again" in message
    assert str(token) not in message
    assert well.visit(who).content == b"bob"
    assert hurt.visit(sign_in(alice)).status_code == 200
    assert hurt.visit(who).content == b"alice"


def test_S1_the_raw_files_hold_no_value_and_no_token(
    make_site: Callable[..., Site], alice: User, tmp_path: Path
) -> None:
    site = make_site("embedded")
    browser = signed_in(alice)
    browser.visit(lambda request: request.session.update({"canary key": "canary value"}))
    token = str(browser.token)
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert site.count == 1
    assert len(raw) > 4096
    for canary in (token, "canary", "_auth_user", "Firefox", alice.get_session_auth_hash()):
        assert canary.encode() not in raw


def failures(site: Site) -> list[Callable[[str], object]]:
    """Everything that can go wrong with a session, given its token."""
    store = site.watch()

    def unavailable(token: str) -> None:
        store.plan(Fail("*"))
        site.session(token).get("x")

    def unsaved(token: str) -> None:
        session = site.session(token)
        session["x"] = 1
        store.plan(Fail("update"))
        session.save()

    def unencodable(token: str) -> None:
        session = site.session(token)
        session["x"] = object()
        session.save()

    def too_large(token: str) -> None:
        session = site.session(token)
        session["x"] = "x" * 17_000_000
        session.save()

    def stored_already(token: str) -> None:
        session = site.session(token)
        session.get("x")
        session.save(must_create=True)

    def in_conflict(token: str) -> None:
        session = site.session(token)
        session["_auth_user_id"] = "1"

        def meanwhile() -> None:
            site.elsewhere()
            other = site.session(token)
            other["_auth_user_id"] = "2"
            other.save()

        store.plan(Meanwhile("update", meanwhile))
        session.save()

    def ended(token: str) -> None:
        session = site.session(token)
        session["x"] = 2
        site.session(token).delete()
        session.save()

    return [unavailable, unsaved, unencodable, too_large, stored_already, in_conflict, ended]


def test_T12_no_token_is_in_a_log_a_repr_a_message_or_a_traceback(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    tokens: list[str] = []
    for failure in failures(site):
        session = site.saved(basket=[])
        token = session.session_key
        tokens.append(token)
        told += [repr(session), str(session), repr(session._session), repr(site.engine.manager)]
        with pytest.raises((SessionError, UpdateError, CreateError)) as raised:
            failure(token)
        told += [repr(raised.value), *traceback.format_exception(raised.value)]
    told.append(caplog.text)
    assert len(tokens) == 7
    for canary in tokens + [site.engine.manager._recorder.key(token) for token in tokens]:
        assert not [text for text in told if canary in text]


def test_a_failed_save_can_be_made_good(site: Site) -> None:
    session = site.saved(basket=[])
    session["bad"] = object()
    with pytest.raises(EncodeError):
        session.save()
    del session["bad"]
    session["good"] = 1
    session.save()
    assert site.stored(session.session_key) == {"basket": [], "good": 1}


def test_F1_the_log_says_once_for_each_request_that_the_store_did_not_answer(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Django's default logging tells nobody but ADMINS why it answers 500."""
    token = site.saved(basket=[]).session_key
    site.watch().plan(Fail("load", times=1))
    with pytest.raises(StoreUnavailableError) as caught:
        site.session(token)["basket"]
    told = [entry for entry in caplog.records if entry.name == "sojourn"]
    assert [(entry.levelno, entry.getMessage()) for entry in told] == [(logging.ERROR, str(caught.value))]
    assert str(token) not in caplog.text


def test_the_log_says_why_the_engine_cannot_start(site: Site, change_settings: Any, caplog: Any) -> None:
    change_settings(SOJOURN={"SLIDNG": True})
    with pytest.raises(ImproperlyConfigured):
        site.session(None)
    assert "SESSION_ENGINE cannot start: SOJOURN has no setting 'SLIDNG'" in caplog.text
