"""When a session ends: every form of ``set_expiry``, and the settings of the project."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.management.commands.clearsessions import Command
from django.core.management import call_command
from django.utils import timezone

from tests.django.site import Browser, in_process, sign_in, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.http import HttpRequest

    from sojourn.testing import FakeClock
    from tests.django.site import Site, View

HOUR = 3600


def put(request: HttpRequest) -> None:
    request.session["basket"] = ["apple"]


def read(request: HttpRequest) -> Any:
    return request.session.get("basket")


def with_expiry(make: Callable[[], Any]) -> View:
    def view(request: HttpRequest) -> None:
        request.session["basket"] = ["apple"]
        request.session.set_expiry(make())

    return view


def is_there(browser: Browser) -> bool:
    return bool(browser.visit(read).content == b"['apple']")


FORMS: dict[str, tuple[bool, Callable[[], Any]]] = {
    "seconds": (True, lambda: HOUR),
    "a timedelta": (True, lambda: timedelta(hours=1)),
    "an aware datetime": (True, lambda: timezone.now() + timedelta(hours=1)),
    "a datetime in another zone": (
        True,
        lambda: (timezone.now() + timedelta(hours=1)).astimezone(timezone.get_fixed_timezone(345)),
    ),
    "seconds, without time zones": (False, lambda: HOUR),
    "a timedelta, without time zones": (False, lambda: timedelta(hours=1)),
    "a naive datetime": (False, lambda: datetime.now() + timedelta(hours=1)),  # noqa: DTZ005 - the point
}


@pytest.mark.parametrize("form", FORMS)
@in_process
def test_L1_a_session_with_an_expiry_of_its_own_ends_then(
    site: Site, form: str, clock: FakeClock, change_settings: Callable[..., None]
) -> None:
    with_zones, make = FORMS[form]
    change_settings(USE_TZ=with_zones)
    browser = Browser()
    morsel = browser.visit(with_expiry(make)).cookies["sessionid"]
    assert HOUR - 60 < morsel["max-age"] <= HOUR
    assert morsel["expires"]
    clock.advance(HOUR - 60)
    assert is_there(browser)
    clock.advance(61)
    assert not is_there(browser)


@pytest.mark.parametrize("form", ["seconds", "a timedelta"])
@in_process
def test_activity_moves_an_expiry_in_seconds_and_leaves_an_instant(
    site: Site, form: str, clock: FakeClock
) -> None:
    browser = Browser()
    browser.visit(with_expiry(FORMS[form][1]))
    clock.advance(HOUR - 60)
    browser.visit(lambda request: request.session.update({"other": 1}))
    clock.advance(61)
    assert is_there(browser) is (form == "seconds")


@pytest.mark.parametrize(
    "past",
    [lambda: -10, lambda: timedelta(seconds=-10), lambda: timezone.now() - timedelta(seconds=10)],
    ids=["seconds", "timedelta", "datetime"],
)
def test_a_session_whose_expiry_is_past_is_dead_from_the_start(site: Site, past: Callable[[], Any]) -> None:
    browser = Browser(token=site.saved(basket=["apple"]).session_key)
    assert is_there(browser)
    browser.visit(with_expiry(past))
    assert not is_there(browser)
    assert site.count == 0


@in_process
def test_none_takes_the_expiry_back(site: Site, clock: FakeClock) -> None:
    browser = Browser()
    browser.visit(with_expiry(lambda: HOUR))
    morsel = browser.visit(with_expiry(lambda: None)).cookies["sessionid"]
    assert morsel["max-age"] == settings.SESSION_COOKIE_AGE
    clock.advance(settings.SESSION_COOKIE_AGE - 1)
    assert is_there(browser)
    clock.advance(1)
    assert not is_there(browser)


@pytest.mark.parametrize("at_browser_close", [False, True])
@in_process
def test_zero_ends_the_cookie_with_the_browser_and_the_session_after_the_cookie_age(
    site: Site, clock: FakeClock, change_settings: Callable[..., None], at_browser_close: bool
) -> None:
    change_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=at_browser_close)
    browser = Browser()
    morsel = browser.visit(with_expiry(lambda: 0)).cookies["sessionid"]
    assert (morsel["max-age"], morsel["expires"]) == ("", "")
    clock.advance(settings.SESSION_COOKIE_AGE - 1)
    assert is_there(browser)
    clock.advance(1)
    assert not is_there(browser)


@in_process
def test_L1_a_session_and_its_cookie_end_sooner_until_somebody_signs_in(
    site: Site, clock: FakeClock, change_settings: Callable[..., None], alice: User
) -> None:
    change_settings(SOJOURN={**settings.SOJOURN, "ANONYMOUS_TIMEOUT": HOUR})
    assert_ends_sooner_until_somebody_signs_in(clock, alice)


def test_L1_so_does_a_session_in_its_cookie(make_site: Any, clock: FakeClock, alice: User) -> None:
    make_site("signed_cookies", SOJOURN={"ANONYMOUS_TIMEOUT": HOUR})
    assert_ends_sooner_until_somebody_signs_in(clock, alice)


def assert_ends_sooner_until_somebody_signs_in(clock: FakeClock, user: User) -> None:
    browser = Browser()
    assert browser.visit(put).cookies["sessionid"]["max-age"] == HOUR
    clock.advance(HOUR - 1)
    assert is_there(browser)
    clock.advance(1)
    assert not is_there(browser)

    browser = Browser()
    browser.visit(put)
    morsel = browser.visit(sign_in(user)).cookies["sessionid"]
    assert morsel["max-age"] == settings.SESSION_COOKIE_AGE
    clock.advance(settings.SESSION_COOKIE_AGE - 1)
    assert is_there(browser)
    morsel = browser.visit(sign_out).cookies["sessionid"]
    assert morsel["max-age"] == 0

    morsel = browser.visit(with_expiry(lambda: 2 * HOUR)).cookies["sessionid"]
    assert morsel["max-age"] == 2 * HOUR, "what the application says goes before"
    clock.advance(2 * HOUR - 1)
    assert is_there(browser)


async def test_the_methods_of_a_session_that_is_nobodys_know_its_expiry(make_site: Any) -> None:
    site = make_site("cache", SOJOURN={"ANONYMOUS_TIMEOUT": HOUR})
    session = site.saved(basket=["apple"])
    now = timezone.now()
    assert session.get_expiry_age() == await session.aget_expiry_age() == HOUR
    assert session.get_expiry_date(modification=now) == now + timedelta(hours=1)
    session["_auth_user_id"] = "1"
    assert session.get_expiry_age() == settings.SESSION_COOKIE_AGE


def test_turning_seconds_into_until_the_browser_closes_is_told_to_every_reader(site: Site) -> None:
    browser = Browser()
    browser.visit(with_expiry(lambda: HOUR))
    browser.visit(lambda request: request.session.set_expiry(0))
    assert site.session(browser.token).get_expire_at_browser_close() is True
    morsel = browser.visit(put).cookies["sessionid"]
    assert morsel["max-age"] == ""
    morsel = browser.visit(lambda request: request.session.set_expiry(HOUR)).cookies["sessionid"]
    assert morsel["max-age"] == HOUR
    assert site.session(browser.token).get_expire_at_browser_close() is False


def test_a_project_whose_sessions_end_with_the_browser(
    site: Site, change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True)
    browser = Browser()
    assert browser.visit(put).cookies["sessionid"]["max-age"] == ""
    assert browser.visit(with_expiry(lambda: HOUR)).cookies["sessionid"]["max-age"] == HOUR


@in_process
def test_saving_every_request_moves_the_expiry_of_a_page_that_touches_nothing(
    site: Site, clock: FakeClock, change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_SAVE_EVERY_REQUEST=True, SESSION_COOKIE_AGE=HOUR)
    browser = Browser()
    browser.visit(put)
    for _ in range(3):
        clock.advance(HOUR - 1)
        response = browser.visit(lambda request: None)
        assert response.cookies["sessionid"].value == browser.token
        assert response.cookies["sessionid"]["max-age"] == HOUR
    assert is_there(browser)


@in_process
def test_L1_a_page_that_only_reads_does_not_move_the_expiry(
    site: Site, clock: FakeClock, change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_COOKIE_AGE=HOUR)
    browser = Browser()
    browser.visit(put)
    for _ in range(2):
        clock.advance(HOUR / 2 - 1)
        assert is_there(browser)
    clock.advance(2)
    assert not is_there(browser)


@in_process
def test_L1_a_session_in_use_lives_to_its_timeout_less_one_touch_interval(
    site: Site, clock: FakeClock, change_settings: Callable[..., None]
) -> None:
    change_settings(SESSION_SAVE_EVERY_REQUEST=True, SESSION_COOKIE_AGE=HOUR)
    browser = Browser()
    browser.visit(put)
    clock.advance(299)
    browser.visit(read)
    clock.advance(HOUR - 300)
    assert site.stored(browser.token) != {}
    clock.advance(300)
    assert site.stored(browser.token) == {}


@pytest.mark.parametrize("step", [-HOUR, HOUR])
@in_process
def test_L2_a_clock_that_steps_brings_no_ended_session_back(site: Site, clock: FakeClock, step: int) -> None:
    ended = site.saved(basket=["apple"])
    living = site.saved(basket=["pear"])
    ended.delete()
    clock.step(step)
    assert site.stored(ended.session_key) == {}
    clock.step(-step)
    assert site.stored(ended.session_key) == {}
    assert site.stored(living.session_key) == {"basket": ["pear"]}


@in_process
def test_clearsessions_removes_the_expired_ones_and_no_other(site: Site, clock: FakeClock) -> None:
    living = site.saved(kind="living")
    for _ in range(250):
        session = site.session()
        session["kind"] = "short"
        session.set_expiry(60)
        session.save()
    clock.advance(61)
    call_command(Command())
    assert site.stored(living.session_key) == {"kind": "living"}
    clock.step(-61)
    assert site.count == 1


@in_process
async def test_clearing_expired_sessions_asynchronously(site: Site, clock: FakeClock) -> None:
    session = site.session()
    await session.aset_expiry(60)
    await session.asave()
    clock.advance(61)
    await site.session_class.aclear_expired()
    clock.step(-61)
    assert await sync_to_async(lambda: site.count)() == 0
