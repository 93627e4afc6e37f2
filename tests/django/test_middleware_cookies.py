"""The cookie of Sojourn's middleware: every byte that comes in, every byte that goes out."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.http.cookie import SimpleCookie
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from sojourn.cookie import CookieSettings, delete_cookie, set_cookie
from sojourn.django.headers import SessionCookie, cookie_settings
from sojourn.django.middleware import SessionMiddleware
from sojourn.errors import PayloadTooLargeError, SessionError
from tests.django import wire as wires
from tests.django.wire import OURS, Hand, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeWire = Callable[..., Wire]

NAME = "sessionid"
SAFE = {"SESSION_COOKIE_NAME": "__Host-session", "SESSION_COOKIE_SECURE": True}


async def put(_request: Any, session: Hand) -> None:
    await session.set("x", 1)


async def read(_request: Any, session: Hand) -> object:
    return await session.get("x")


async def flush(_request: Any, session: Hand) -> None:
    await session.flush()


# --- in ----------------------------------------------------------------------------------------------

ODD_COOKIES = [
    # white space that Python strips from a name and a browser does not
    "\u2000__Host-session={evil}".encode().decode("latin-1"),
    "\x85__Host-session={evil}",
    "\xa0__Host-session={evil}",
    "\x1c__Host-session={evil}",
    # no name, quoted names, another case, RFC 2965
    "=__Host-session={evil}",
    '"__Host-session"={evil}',
    "__host-session={evil}",
    "__Host-session[]={evil}",
    "$Version=1",
    '$Version="1"; $Path="/"',
    # values of other forms
    "__Host-session=",
    "__Host-session",
    '__Host-session="{evil}"',
    "__Host-session={evil},x",
    "__Host-session=short",
    "__Host-session={evil}x",
    "__Host-session=\xff",
    "__Host-session=a\x00b",
    # noise
    "; ;; ; =; ==",
    "a" * 5000,
    "x[y]=(z); \x01=\x02",
]


@pytest.mark.parametrize("odd", ODD_COOKIES, ids=lambda odd: ascii(odd)[:40])
async def test_T8_no_odd_cookie_is_accepted_fails_the_request_or_hides_the_good_one(
    make_wire: MakeWire, odd: str
) -> None:
    wire = make_wire(**SAFE)
    good = f"__Host-session={(await wire.get(put)).token}"
    other = await wire.get(put)
    odd = odd.replace("{evil}", other.token)
    store = wire.watch()
    alone = await wire.get(read, cookie=odd)
    assert (alone.status, alone.body, alone.cookie, store.calls) == (200, "None", None, [])
    for header in (f"{odd}; {good}", f"{good}; {odd}", f"{odd}; {good}; {odd}"):
        store.forget()
        answer = await wire.get(read, cookie=header)
        assert (answer.status, answer.body, answer.cookie) == (200, "1", None)
        assert store.counts == {"load": 1}


async def test_T8_among_several_the_one_that_names_a_living_session_wins(wire: Wire) -> None:
    token = (await wire.get(put)).token
    store = wire.watch()
    for position in range(4):
        values = [letter * 40 for letter in "ABC"]
        values.insert(position, token)
        header = "; ".join(f"{NAME}={value}" for value in ["no token", *values, ""])
        store.forget()
        assert (await wire.get(read, cookie=header)).body == "1"
        assert store.counts == {"load": position + 1}


async def test_T8_no_more_than_four_cookies_are_looked_up_and_each_once(wire: Wire) -> None:
    store = wire.watch()
    made_up = [letter * 40 for letter in "AABBCCDDEEFF"]
    answer = await wire.get(read, cookie="; ".join(f"{NAME}={value}" for value in made_up))
    assert (answer.status, answer.body, answer.cookie) == (200, "None", None)
    assert store.counts == {"load": 4}


async def test_T8_the_winner_is_the_session_that_is_saved(wire: Wire) -> None:
    token = (await wire.get(put)).token

    async def more(_request: Any, session: Hand) -> None:
        await session.set("y", 2)

    answer = await wire.get(more, cookie=f"{NAME}={'A' * 40}; {NAME}={token}")
    assert answer.token == token
    assert wire.site.stored(token) == {"x": 1, "y": 2}


async def test_T2_several_unknown_cookies_are_none_of_them_adopted(wire: Wire) -> None:
    answer = await wire.get(put, cookie=f"{NAME}={'A' * 40}; {NAME}={'B' * 40}")
    assert answer.token not in {"A" * 40, "B" * 40}
    assert wire.site.count == 1


@pytest.mark.parametrize("loaded", [False, True])
async def test_L4_a_logout_ends_every_session_whose_cookie_was_sent(wire: Wire, loaded: bool) -> None:
    tokens = [(await wire.get(put)).token for _ in range(3)]

    async def view(request: Any, session: Hand) -> None:
        if loaded:
            await session.get("x")
        await session.flush()

    sent = [f"{NAME}={token}" for token in ["A" * 40, *tokens]]
    await wire.get(view, cookie="; ".join(sent))
    assert [wire.site.stored(token) for token in tokens] == [{}, {}, {}]


async def test_T8_the_cookies_of_http_2_may_come_in_headers_of_their_own(wire: Wire) -> None:
    token = (await wire.get(put)).token
    answer = await wire.get(read, cookie=["theme=dark", f"{NAME}={token}", "lang=en"])
    assert answer.body == "1"


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_T8_no_cookie_header_fails_a_request(header: str) -> None:
    with override_settings(SESSION_ENGINE="sojourn.django.backends.cache"):
        middleware = SessionMiddleware(lambda _: HttpResponse())
        request: Any = type("Request", (), {"META": {"HTTP_COOKIE": f"{header}; {NAME}={'A' * 40}"}})()
        middleware.process_request(request)
        assert request.session.get("x") is None
        assert not middleware.process_response(request, HttpResponse()).cookies


# --- out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "attributes"),
    [
        ({}, "; Max-Age=1209600; Path=/; HttpOnly; SameSite=Lax"),
        (
            {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Strict"},
            "; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Strict",
        ),
        (
            {
                "SESSION_COOKIE_NAME": "sid",
                "SESSION_COOKIE_PATH": "/app",
                "SESSION_COOKIE_DOMAIN": ".example.com",
                "SESSION_COOKIE_HTTPONLY": False,
                "SESSION_COOKIE_SAMESITE": False,
                "SESSION_COOKIE_AGE": 60,
            },
            "; Max-Age=60; Path=/app; Domain=.example.com",
        ),
        (
            {"SESSION_COOKIE_SAMESITE": None, "SESSION_COOKIE_DOMAIN": ""},
            "; Max-Age=1209600; Path=/; HttpOnly",
        ),
        ({"SESSION_COOKIE_SAMESITE": "lax"}, "; Max-Age=1209600; Path=/; HttpOnly; SameSite=Lax"),
        ({"SESSION_EXPIRE_AT_BROWSER_CLOSE": True}, "; Path=/; HttpOnly; SameSite=Lax"),
        (SAFE, "; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Lax"),
        (
            {"SESSION_COOKIE_NAME": "__Host-Http-session", "SESSION_COOKIE_SECURE": True},
            "; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Lax",
        ),
        (
            {
                "SESSION_COOKIE_NAME": "__Secure-session",
                "SESSION_COOKIE_SECURE": True,
                "SESSION_COOKIE_PATH": "/app",
                "SESSION_COOKIE_DOMAIN": "example.com",
            },
            "; Max-Age=1209600; Path=/app; Domain=example.com; Secure; HttpOnly; SameSite=Lax",
        ),
    ],
    ids=str,
)
async def test_T4_T5_the_cookie_has_the_attributes_the_settings_say_and_L4_loses_them_all_alike(
    make_wire: MakeWire, chosen: dict[str, Any], attributes: str
) -> None:
    wire = make_wire(**chosen)
    name = settings.SESSION_COOKIE_NAME
    answer = await wire.get(put)
    assert answer.cookie == f"{name}={answer.token}{attributes}"
    assert (await wire.get(read, cookie=f"{name}={answer.token}")).body == "1"

    ended = await wire.get(flush, cookie=f"{name}={answer.token}")
    without_lifetime = "; Path=" + attributes.partition("; Path=")[2]
    epoch = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    assert ended.cookie == f"{name}={epoch}{without_lifetime}"
    assert (await wire.get(read, cookie=f"{name}={answer.token}")).body == "None"


async def test_T10_a_partitioned_cookie_is_set_and_deleted_as_one_on_every_python(
    make_wire: MakeWire,
) -> None:
    wire = make_wire(**SAFE, SESSION_COOKIE_SAMESITE="None", SOJOURN={"COOKIE_PARTITIONED": True})
    answer = await wire.get(put)
    attributes = "; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
    assert answer.cookie == f"__Host-session={answer.token}; Max-Age=1209600{attributes}"
    ended = await wire.get(flush, cookie=f"__Host-session={answer.token}")
    assert ended.cookie == (f"__Host-session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{attributes}")


@pytest.mark.parametrize(
    ("chosen", "fix"),
    [
        ({"SOJOURN": {"COOKIE_PARTITIONED": True}}, "partitioned=True needs secure=True"),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "samesite='None' needs secure=True"),
        ({"SESSION_COOKIE_NAME": "__Host-s"}, "__Host- needs secure=True"),
        (SAFE | {"SESSION_COOKIE_DOMAIN": "example.com"}, "__Host- needs domain=None"),
        (SAFE | {"SESSION_COOKIE_PATH": "/app"}, "__Host- needs path='/'"),
        (SAFE | {"SESSION_COOKIE_NAME": "__host-s"}, "must have its prefix written __Host-"),
        (
            SAFE | {"SESSION_COOKIE_NAME": "__Host-Http-s", "SESSION_COOKIE_HTTPONLY": False},
            "needs httponly=True",
        ),
        ({"SESSION_COOKIE_SAMESITE": "sometimes"}, "must be 'Strict', 'Lax', 'None'"),
        ({"SESSION_COOKIE_NAME": "a b"}, "must be letters, digits"),
        ({"SESSION_COOKIE_PATH": None}, "path '' must start with /"),
        ({"SESSION_COOKIE_PATH": "/\r\nSet-Cookie: x=y"}, "path "),
        ({"SESSION_COOKIE_DOMAIN": "a; Secure"}, "domain "),
        (
            {"SOJOURN": {"COOKIE_PARTITIONED": "yes"}},
            "SOJOURN\\['COOKIE_PARTITIONED'\\] has to be True or False",
        ),
    ],
    ids=str,
)
def test_T4_contradictory_settings_refuse_to_start(make_site: Any, chosen: dict[str, Any], fix: str) -> None:
    make_site("cache", **chosen)
    with pytest.raises(ImproperlyConfigured, match=fix) as caught:
        SessionMiddleware(lambda _: HttpResponse())
    assert "SOJOURN" in str(caught.value)


async def test_T6_a_cookie_browsers_would_drop_is_an_error_and_is_not_sent(
    make_wire: MakeWire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sojourn.token._TOKEN_BYTES", 2307)  # 3076 characters
    for size, status in ((4095, 200), (4096, 200), (4097, 500)):
        wire = make_wire(SESSION_COOKIE_NAME="s" * (size - 3076))
        answer = await wire.get(put)
        assert (answer.status, answer.cookie is not None) == (status, status == 200)
    assert PayloadTooLargeError.__name__ in caplog.text


@pytest.mark.parametrize(
    ("expiry", "lifetime"),
    [(60, "60"), (1.9, "1"), (400 * 86_400, "34560000"), (10**9, "34560000"), (-5, "1")],
)
async def test_T7_a_lifetime_is_at_most_400_days_and_never_a_deletion(
    wire: Wire, expiry: float, lifetime: str
) -> None:
    async def view(_request: Any, session: Hand) -> None:
        await session.set_expiry(expiry)

    assert f"; Max-Age={lifetime}; " in ((await wire.get(view)).cookie or "")


async def test_T7_the_server_ends_the_session_whatever_the_browser_still_sends(
    wire: Wire, clock: Any
) -> None:
    token = (await wire.get(put)).token
    clock.advance(settings.SESSION_COOKIE_AGE)
    answer = await wire.get(read, cookie=f"{NAME}={token}")
    assert (answer.body, answer.cookie) == ("None", None)


texts = st.text(st.characters(exclude_categories=()), max_size=20)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "SESSION_COOKIE_NAME": texts,
            "SESSION_COOKIE_PATH": texts.map(lambda text: f"/{text}") | texts,
            "SESSION_COOKIE_DOMAIN": texts.map(lambda text: f"example.com{text}") | texts,
            "SESSION_COOKIE_SAMESITE": texts | st.sampled_from(["Lax", "None", False, None]),
        },
    ),
    texts,
)
@example({"SESSION_COOKIE_NAME": "MAX-AGE"}, "")
def test_T9_no_setting_and_no_token_smuggles_anything_into_the_header(
    chosen: dict[str, Any], value: str
) -> None:
    with override_settings(**chosen):
        try:
            how = cookie_settings()
            cookies = [SessionCookie.deleting(how), SessionCookie(how, value, 60)]
        except (ImproperlyConfigured, SessionError):
            return
    for cookie in cookies:
        header = cookie.output(header="")
        assert header.isascii()
        assert header.isprintable()
        assert header.startswith(f"{how.name}=")
        assert len([part for part in header.split("; ") if part.startswith("Path=")]) == 1


# --- as Django and others see it ---------------------------------------------------------------------

EMBEDDED = CookieSettings(name="__Host-s", samesite="None", partitioned=True)


def test_the_cookie_can_be_read_as_any_other() -> None:
    cookie = SessionCookie(EMBEDDED, "value", 60)
    assert (cookie.key, cookie.value, cookie["max-age"], cookie["path"]) == ("__Host-s", "value", 60, "/")
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "None")
    assert (cookie["domain"], cookie["expires"]) == ("", "")
    assert SessionCookie.deleting(EMBEDDED)["max-age"] == 0


def test_a_pickled_or_copied_response_keeps_the_cookie_to_the_byte() -> None:
    response = HttpResponse()
    for name, cookie in (("a", SessionCookie(EMBEDDED, "v", 60)), ("b", SessionCookie.deleting(EMBEDDED))):
        response.cookies[name] = cookie
        for other in (pickle.loads(pickle.dumps(response)), copy.deepcopy(response)):  # noqa: S301 - our own
            assert other.cookies[name].output(header="") == cookie.output(header="")
    assert response.cookies["a"].output() == f"Set-Cookie: {set_cookie(EMBEDDED, 'v', 60)}"
    assert str(response.cookies["b"]) == f"Set-Cookie: {delete_cookie(EMBEDDED)}"


def test_what_another_middleware_changes_about_the_cookie_counts() -> None:
    response = HttpResponse()
    response.cookies["__Host-s"] = SessionCookie(EMBEDDED, "value", 60)
    response.cookies["__Host-s"]["samesite"] = "Strict"
    parts = response.cookies["__Host-s"].output(header="").split("; ")
    assert parts[0] == "__Host-s=value"
    assert set(parts[1:]) == {"HttpOnly", "Max-Age=60", "Partitioned", "Path=/", "SameSite=Strict", "Secure"}
    response.set_cookie("__Host-s", "another")
    assert response.cookies["__Host-s"].output(header="").startswith("__Host-s=another;")


@pytest.mark.parametrize("partitioned", [False, True])
async def test_djangos_test_clients_keep_the_cookie(make_site: Any, partitioned: bool) -> None:
    sojourn = {"COOKIE_PARTITIONED": partitioned}
    site = make_site("cache", MIDDLEWARE=[OURS], ROOT_URLCONF="tests.django.wire", SOJOURN=sojourn, **SAFE)
    views = {1: put, 2: read, 3: flush}
    for kind, client in (("wsgi", Client()), ("asgi", AsyncClient())):
        found: list[str] = []
        for number in (1, 2, 3, 2):
            wires._views[10**9 + number] = views[number]
            answer: Any = client.get(f"/{kind}/{10**9 + number}/")
            response = answer if isinstance(client, Client) else await answer
            found.append(response.content.decode())
            if number == 1:
                assert isinstance(client.cookies, SimpleCookie)
                assert site.stored(client.cookies["__Host-session"].value) == {"x": 1}
        assert found == ["None", "1", "None", "None"]
