"""What two requests do to one session, at every point where they can meet: before each store operation.

The other request is carried out whole while the first is about to ask the store, as if by another process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn.django import revoke_sessions
from sojourn.errors import ConflictError
from sojourn.testing import Fail, Meanwhile
from tests.django.site import Browser, in_process, sign_in, sign_out, with_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from sojourn.testing import FakeClock, FaultyStore
    from sojourn.testing.faulty import Operation
    from tests.django.site import Site


def put(**values: Any) -> Callable[[HttpRequest], object]:
    return lambda request: request.session.update(values)


def put_for_a_minute(request: HttpRequest) -> None:
    request.session["x"] = 1
    request.session.set_expiry(60)


def put_and_renew(request: HttpRequest) -> None:
    request.session["mine"] = 1
    request.session.cycle_key()


def renew(request: HttpRequest) -> None:
    request.session.cycle_key()


def signed_in(site: Site, user: User) -> Browser:
    browser = Browser()
    assert browser.visit(sign_in(user)).status_code == 200
    assert site.stored(browser.token)["_auth_user_id"] == str(user.pk)
    return browser


def is_interrupted(response: Any) -> bool:
    """Whether the response is Django's 400 for a session that ended, and says nothing to the cookie."""
    return response.status_code == 400 and "sessionid" not in response.cookies


@pytest.mark.parametrize("moment", ["load", "update"])
@pytest.mark.parametrize("view", [put(x=1), lambda request: request.session.set_expiry(60)])
def test_C1_a_save_does_not_revive_a_session_signed_out_meanwhile(
    site: Site, alice: User, moment: Operation, view: Any
) -> None:
    store = site.watch()
    slow = signed_in(site, alice)
    other = slow.twin()
    store.plan(Meanwhile(moment, lambda: other.visit(sign_out), after=moment == "load"))
    assert is_interrupted(slow.visit(view))
    assert other.token is None
    assert site.stored(slow.token) == {}
    assert site.count == 0


@pytest.mark.parametrize("moment", ["load", "update"])
@in_process
def test_C1_a_save_does_not_revive_a_session_whose_deadline_passes_meanwhile(
    site: Site, moment: Operation, clock: FakeClock
) -> None:
    store = site.watch()
    slow = Browser()
    slow.visit(put_for_a_minute)
    store.plan(Meanwhile(moment, lambda: clock.advance(61), after=moment == "load"))
    assert is_interrupted(slow.visit(put(x=2)))
    assert site.stored(slow.token) == {}


@in_process
def test_C1_a_touch_does_not_revive_a_session_signed_out_meanwhile(
    site: Site, alice: User, clock: FakeClock, change_settings: Any
) -> None:
    change_settings(SESSION_SAVE_EVERY_REQUEST=True)
    store = site.watch()
    slow = signed_in(site, alice)
    clock.advance(3600)
    other = slow.twin()
    store.plan(Meanwhile("touch", lambda: other.visit(sign_out)))
    store.forget()
    assert is_interrupted(slow.visit(lambda request: request.session.get("x")))
    assert store.counts["touch"] == 1
    assert site.count == 0


def test_what_is_saved_while_a_session_is_renewed_is_in_the_renewed_session(site: Site) -> None:
    store = site.watch()
    slow = Browser(token=site.saved(old=0).session_key)
    fast = slow.twin()
    old = slow.token
    site.elsewhere()

    def save_elsewhere() -> None:
        site.elsewhere()
        assert fast.visit(put(theirs=2)).status_code == 200

    store.plan(Meanwhile("move", save_elsewhere))
    assert slow.visit(put_and_renew).status_code == 200
    assert slow.token != old
    assert site.stored(slow.token) == {"old": 0, "theirs": 2, "mine": 1}
    assert site.stored(old) == {}


def test_T3_a_save_under_the_token_from_before_a_renewal_is_refused_and_leaves_the_cookie_alone(
    site: Site, alice: User
) -> None:
    store = site.watch()
    slow = signed_in(site, alice)
    fast = slow.twin()

    def renew_elsewhere() -> None:
        site.elsewhere()
        assert fast.visit(renew).status_code == 200

    store.plan(Meanwhile("update", renew_elsewhere))
    assert is_interrupted(slow.visit(put(x=1)))
    assert site.stored(slow.token) == {}
    assert fast.visit(lambda request: request.user.get_username()).content == b"alice"
    assert "x" not in site.stored(fast.token)
    assert site.count == 1


@pytest.mark.parametrize("moment", ["load", "move"])
@with_index
def test_T3_renewing_a_revoked_session_never_yields_a_live_one(
    site: Site, alice: User, moment: Operation
) -> None:
    store = site.watch()
    slow = signed_in(site, alice)
    store.plan(Meanwhile(moment, lambda: revoke_sessions(alice), after=moment == "load"))
    assert is_interrupted(slow.visit(renew))
    assert site.count == 0


@pytest.mark.parametrize("moment", ["load", "move"])
@with_index
def test_T3_signing_in_again_does_not_revive_a_session_revoked_meanwhile(
    site: Site, alice: User, moment: Operation
) -> None:
    store = site.watch()
    slow = signed_in(site, alice)
    store.plan(Meanwhile(moment, lambda: revoke_sessions(alice), after=moment == "load"))
    assert is_interrupted(slow.visit(sign_in(alice)))
    assert site.count == 0


@with_index
def test_revoking_everywhere_while_a_session_is_renewed_between_its_operations(
    site: Site, alice: User
) -> None:
    """Whichever comes first: after the revocation was acknowledged nobody is signed in."""
    store = site.watch()
    renewing = signed_in(site, alice)

    def revoke(request: HttpRequest) -> int:
        return revoke_sessions(alice)

    def renew_elsewhere() -> None:
        site.elsewhere()
        assert renewing.visit(renew).status_code == 200

    store.plan(Meanwhile("delete_subject", renew_elsewhere))
    assert Browser().visit(revoke).content == b"1"
    assert site.count == 0


@with_index
def test_a_sign_out_ends_the_session_that_another_request_has_just_renewed(site: Site, alice: User) -> None:
    browser = signed_in(site, alice)
    tab = browser.twin()
    store = site.watch()
    store.plan(Meanwhile("delete", lambda: tab.visit(renew)))
    assert browser.visit(sign_out).cookies["sessionid"]["max-age"] == 0
    assert tab.token != browser.token
    assert site.stored(tab.token) == {}
    assert site.count == 0


def test_signing_in_on_a_session_that_ends_meanwhile_brings_nothing_of_it_back(
    site: Site, alice: User
) -> None:
    store = site.watch()
    slow = Browser(token=site.saved(basket=["apple"]).session_key)
    ended = slow.token
    store.plan(Meanwhile("move", lambda: site.session(ended).delete()))
    assert slow.visit(sign_in(alice)).status_code == 200
    assert slow.token != ended
    assert slow.visit(lambda request: request.user.get_username()).content == b"alice"
    assert "basket" not in site.stored(slow.token)
    assert site.count == 1


@pytest.mark.parametrize("signed_in_before", [False, True])
@pytest.mark.parametrize("operations_before", range(5))
def test_two_sign_ins_at_once_never_mix_their_users(
    site: Site, alice: User, bob: User, operations_before: int, signed_in_before: bool
) -> None:
    """Bob's whole sign-in takes place before each store operation of Alice's, in the same session."""
    store = site.watch()
    first = Browser(token=site.saved(basket=["apple"]).session_key)
    if signed_in_before:
        first.visit(sign_in(alice))
    second = first.twin()
    came_in: list[bool] = []

    def sign_in_elsewhere() -> None:
        came_in.append(True)
        site.elsewhere()
        second.visit(sign_in(bob))

    store.plan(Meanwhile("*", sign_in_elsewhere, skip=operations_before))
    first.visit(sign_in(alice))
    if not came_in:  # Alice's sign-in has fewer operations
        sign_in_elsewhere()
    hashes = {str(user.pk): user.get_session_auth_hash() for user in (alice, bob)}
    seen = set()
    for browser in (first, second):
        session = site.stored(browser.token)
        if session:
            assert session["_auth_user_hash"] == hashes[session["_auth_user_id"]]
            assert browser.visit(lambda request: request.user.pk).content.decode() == session["_auth_user_id"]
            seen.add(session["_auth_user_id"])
    assert str(bob.pk) in seen


def test_two_users_written_into_one_session_at_once_are_a_conflict_and_never_mix(site: Site) -> None:
    store = site.watch()
    key = site.saved(basket=["apple"]).session_key
    first = site.session(key)
    first.update({"_auth_user_id": "1", "_auth_user_hash": "one", "mine": 1})

    def write_elsewhere() -> None:
        site.elsewhere()
        second = site.session(key)
        second.update({"_auth_user_id": "2", "_auth_user_hash": "two"})
        second.save()

    store.plan(Meanwhile("update", write_elsewhere))
    with pytest.raises(ConflictError, match="_auth_user_"):
        first.save()
    assert site.stored(key) == {"basket": ["apple"], "_auth_user_id": "2", "_auth_user_hash": "two"}


CHANGES: dict[Operation, Callable[[User], Any]] = {
    "update": lambda user: put(x=1),
    "move": lambda user: renew,
    "delete": lambda user: sign_out,
}


@pytest.mark.parametrize("answer_lost", [False, True])
@pytest.mark.parametrize("operation", CHANGES)
def test_F4_a_save_that_fails_sends_no_cookie_and_shows_an_error(
    site: Site, alice: User, operation: Operation, answer_lost: bool
) -> None:
    store = site.watch()
    browser = signed_in(site, alice)
    before = site.stored(browser.token)
    store.plan(Fail(operation, after=answer_lost))
    response = browser.visit(CHANGES[operation](alice))
    assert response.status_code == 500
    assert not response.cookies
    if not answer_lost:
        assert site.stored(browser.token) == before
        assert browser.visit(lambda request: request.user.get_username()).content == b"alice"


@pytest.mark.parametrize("answer_lost", [False, True])
def test_F4_a_session_that_cannot_be_created_sends_no_cookie_and_shows_an_error(
    site: Site, answer_lost: bool
) -> None:
    store: FaultyStore = site.watch()
    store.plan(Fail("create", after=answer_lost))
    browser = Browser()
    response = browser.visit(put(x=1))
    assert (response.status_code, dict(response.cookies), browser.token) == (500, {}, None)
