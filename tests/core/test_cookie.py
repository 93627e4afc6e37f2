"""Cookies: hostile headers in, exact bytes out."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.cookie import (
    MAX_AGE,
    MAX_COOKIE,
    MAX_HEADER,
    CookieSettings,
    delete_cookie,
    parse_cookies,
    set_cookie,
)
from sojourn.errors import ConfigurationError, EncodeError, PayloadTooLargeError, SessionError

NAME = "__Host-session"
GOOD = f"{NAME}=good"

texts = st.text(st.characters(exclude_categories=()), max_size=30)


# --- reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (GOOD, ["good"]),
        ("", []),
        (f"a=1; {GOOD}; b=2", ["good"]),
        (f"a=1;{GOOD};b=2", ["good"]),
        (f"a=1 ; \t{GOOD}\t ; b=2", ["good"]),
        (f"{NAME}=one; {NAME}=two", ["one", "two"]),
        (f"{NAME}=", [""]),
        (f"{NAME}=a=b==", ["a=b=="]),
        (f"{NAME}=!#$%&'()*+-./0:<=>?@A[]^_`a{{|}}~", ["!#$%&'()*+-./0:<=>?@A[]^_`a{|}~"]),
        (NAME, []),
        ("session=other; __Host-session2=other; x__Host-session=other", []),
    ],
)
def test_the_values_of_one_name_come_in_the_headers_order(header: str, values: list[str]) -> None:
    assert parse_cookies(header, NAME) == values
    assert parse_cookies(header.encode("latin-1"), NAME) == values


IMPOSTORS = [
    # names that a careless strip() turns into ours
    f"\u2000{NAME}=evil", f"\x85{NAME}=evil", f"\xa0{NAME}=evil", f"{NAME}\x85=evil", f"{NAME}\xa0=evil",
    f"\u3000{NAME}=evil", f"\ufeff{NAME}=evil", f"\x1c{NAME}=evil", f"\x0b{NAME}=evil", f"\x0c{NAME}=evil",
    f"\x00{NAME}=evil", f"\r\n{NAME}=evil", f"{NAME}\x00=evil", f"\x7f{NAME}=evil",
    f"\u2000{NAME}=evil".encode().decode("latin-1"), f"\xa0{NAME}=evil".encode().decode("latin-1"),
    # no name
    f"={NAME}=evil", f" = {NAME}=evil", f"=={NAME}=evil", "=", "==", "=evil", "evil",
    # quotes, comments, commas, RFC 2965
    f'"{NAME}"=evil', f"'{NAME}'=evil", f'"{NAME}=evil"', f'{NAME}="evil"', f'x="; {NAME}="evil"',
    f"$Version=1,{NAME}=evil", f"${NAME}=evil", "$Version=1", "$Path=/", f"a=1, {NAME}=evil",
    # another case, another spelling
    "__host-session=evil", "__HOST-SESSION=evil", "__Host-Session=evil", "__Host\u2010session=evil",
    "%5F_Host-session=evil", "__Host-session[]=evil", "__Host-\u017fession=evil", "__Host-\uff53ession=evil",
    # values we never write
    f"{NAME}=e vil", f"{NAME}=e\tvil", f"{NAME}=e,vil", f"{NAME}=e\\vil", f"{NAME}=e\x00vil",
    f"{NAME}=e\x7fvil", f"{NAME}=\u00e9", f"{NAME}=\ud800", f"{NAME}=e\r\nvil", f"{NAME}=\xa0",
    f"{NAME}=evil\x85", f'{NAME}="',
    # noise
    ";", ";;;;", "; ; ;", " ", "\x00", "\udcff", "a" * 5000, "=" * 5000, "\U0001f36a=1", "[]=1",
    "a;b;c", "\r\n",
]  # fmt: skip


@pytest.mark.parametrize("impostor", IMPOSTORS, ids=lambda value: ascii(value[:40]))
def test_T8_no_impostor_is_accepted_none_raises_and_none_hides_the_good_cookie(impostor: str) -> None:
    assert parse_cookies(impostor, NAME) == []
    for header in (f"{impostor}; {GOOD}", f"{GOOD}; {impostor}", f"{impostor}; {GOOD}; {impostor}"):
        assert parse_cookies(header, NAME) == ["good"]
        assert parse_cookies(header.encode("utf-8", "surrogatepass"), NAME) == ["good"]


@given(st.lists(texts.filter(lambda text: NAME not in text), max_size=6), st.integers(0, 6))
def test_T8_nothing_around_the_good_cookie_hides_it(noise: list[str], position: int) -> None:
    noise.insert(position, GOOD)
    header = ";".join(noise)
    assert parse_cookies(header, NAME) == ["good"]
    assert parse_cookies(header.encode("utf-8", "surrogatepass"), NAME) == ["good"]


@given(st.binary(max_size=200), texts)
def test_T8_no_header_raises(header: bytes, text: str) -> None:
    for value in (*parse_cookies(header, NAME), *parse_cookies(text, NAME), *parse_cookies(text, text)):
        assert value.isascii()


@given(st.characters(exclude_characters=" \t;="), st.integers(0, len(NAME)))
def test_T8_one_more_character_makes_another_name(character: str, position: int) -> None:
    assert parse_cookies(f"{NAME[:position]}{character}{NAME[position:]}=evil", NAME) == []


def test_D4_what_is_beyond_the_limit_is_not_read_and_nothing_is_cut() -> None:
    filler = "a" * (MAX_HEADER - len(GOOD) - 1)
    assert parse_cookies(f"{filler};{GOOD}", NAME) == ["good"]
    assert parse_cookies(f"{filler};{GOOD};{NAME}=late", NAME) == ["good"]
    assert parse_cookies(f"{filler}a;{GOOD}", NAME) == []
    assert parse_cookies(f"{GOOD};" + "a" * 10_000_000, NAME) == ["good"]
    assert parse_cookies(f"{GOOD}; {NAME}=second", NAME, limit=len(GOOD)) == ["good"]
    assert parse_cookies(f"{GOOD}; {NAME}=second", NAME, limit=len(GOOD) - 1) == []
    assert parse_cookies(f"{GOOD}; {NAME}=second", NAME, limit=len(GOOD) + 10) == ["good"]


def steps(header: str) -> int:
    """Return how many Python and C calls and lines parsing takes."""
    count = 0

    def on_line(*_event: Any) -> Any:
        nonlocal count
        count += 1
        return on_line

    def on_call(*_event: Any) -> None:
        nonlocal count
        count += 1

    tracing, profiling = sys.gettrace(), sys.getprofile()
    sys.settrace(on_line)
    sys.setprofile(on_call)
    try:
        parse_cookies(header, NAME, limit=2**20)
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)
    return count


@pytest.mark.parametrize(
    "unit",
    [
        ";",
        "=",
        " ",
        "; ",
        '"',
        "\\",
        "a=b; ",
        f"{NAME}=; ",
        f"{NAME}=a; ",
        f"{NAME} ",
        f'{NAME}="',
        "\t=\t;",
        "a",
        "$",
    ],
)
def test_D4_a_hostile_header_takes_steps_in_proportion_to_its_length(unit: str) -> None:
    def header(length: int) -> str:
        return unit * (length // len(unit))

    small, large = steps(header(4 * 1024)), steps(header(64 * 1024))
    assert large <= 16 * small + 64


# --- writing -----------------------------------------------------------------------------------------


def test_T4_the_defaults_are_the_safe_ones() -> None:
    assert set_cookie(CookieSettings(), "value", None) == (
        "__Host-session=value; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_T4_a_lifetime_is_written_as_max_age_alone() -> None:
    assert set_cookie(CookieSettings(), "value", 1209600) == (
        "__Host-session=value; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_T10_partitioned_is_written() -> None:
    assert set_cookie(CookieSettings(samesite="None", partitioned=True), "value", None) == (
        "__Host-session=value; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
    )


def test_T4_every_attribute_can_be_set() -> None:
    settings = CookieSettings(
        name="sid", path="/app", domain="example.com", secure=False, httponly=False, samesite=None
    )
    assert set_cookie(settings, "value", 60) == "sid=value; Max-Age=60; Path=/app; Domain=example.com"
    assert set_cookie(replace(settings, samesite="Strict"), "", None) == (
        "sid=; Path=/app; Domain=example.com; SameSite=Strict"
    )


@pytest.mark.parametrize(
    "settings",
    [
        CookieSettings(),
        CookieSettings(name="__Host-Http-session", samesite="None", partitioned=True),
        CookieSettings(name="__Secure-s", path="/a", domain=".example.com", httponly=False, samesite=None),
        CookieSettings(name="s", secure=False, samesite="Strict"),
    ],
    ids=lambda settings: settings.name,
)
def test_L4_the_cookie_is_deleted_with_identical_attributes(settings: CookieSettings) -> None:
    name_and_value, *attributes = set_cookie(settings, "value", None).split("; ")
    assert name_and_value == f"{settings.name}=value"
    assert delete_cookie(settings).split("; ") == [
        f"{settings.name}=",
        "Max-Age=0",
        "Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        *attributes,
    ]


@pytest.mark.parametrize(
    ("wrong", "fixes"),
    [
        ({"secure": False}, ["a name that starts with __Host- needs secure=True"]),
        ({"path": "/app"}, ["a name that starts with __Host- needs path='/'"]),
        ({"domain": "example.com"}, ["a name that starts with __Host- needs domain=None"]),
        ({"name": "__Host-Http-s", "httponly": False}, ["starts with __Host-Http- needs httponly=True"]),
        (
            {"name": "__Host-Http-s", "secure": False, "path": "/a", "domain": "a"},
            ["__Host-Http- needs secure=True", "needs path='/'", "needs domain=None"],
        ),
        ({"name": "__Http-s", "secure": False}, ["a name that starts with __Http- needs secure=True"]),
        ({"name": "__Http-s", "httponly": False}, ["a name that starts with __Http- needs httponly=True"]),
        ({"name": "__Secure-s", "secure": False}, ["a name that starts with __Secure- needs secure=True"]),
        ({"name": "__host-s"}, ["name '__host-s' must have its prefix written __Host-"]),
        ({"name": "__HOST-HTTP-s"}, ["name '__HOST-HTTP-s' must have its prefix written __Host-Http-"]),
        ({"name": "__SECURE-s", "secure": False}, ["written __Secure-", "__Secure- needs secure=True"]),
        ({"name": "s", "secure": False, "samesite": "None"}, ["samesite='None' needs secure=True"]),
        ({"name": "s", "secure": False, "partitioned": True}, ["partitioned=True needs secure=True"]),
        ({"samesite": "lax"}, ["samesite 'lax' must be 'Strict', 'Lax', 'None' or, to leave it out, None"]),
        ({"samesite": ""}, ["samesite ''"]),
        ({"name": ""}, ["name '' must be letters"]),
        ({"name": "a b"}, ["name 'a b' must be letters"]),
        ({"name": "s\u00e9ssion"}, ["name 's\\xe9ssion' must be letters"]),
        ({"name": "MAX-AGE"}, ["name 'MAX-AGE' must be another"]),
        ({"name": "path"}, ["name 'path' must be another"]),
        ({"name": "s" * 1025}, ["name has 1025 characters, the limit is 1024"]),
        ({"name": "s", "path": ""}, ["path '' must start with /"]),
        ({"name": "s", "path": "app"}, ["path 'app' must start with /"]),
        ({"name": "s", "path": "/a b"}, ["path '/a b'"]),
        ({"name": "s", "path": "/" * 1025}, ["path has 1025 characters, the limit is 1024"]),
        ({"name": "s", "domain": ""}, ["domain '' must be a host name"]),
        ({"name": "s", "domain": "a..b"}, ["domain 'a..b' must be a host name"]),
        ({"name": "s", "domain": "b\u00fccher.example"}, ["domain 'b\\xfccher.example' must be a host name"]),
        ({"name": "s", "domain": "a" * 1025}, ["domain has 1025 characters, the limit is 1024"]),
    ],
    ids=repr,
)  # fmt: skip
def test_T4_settings_that_contradict_each_other_refuse_to_start(
    wrong: dict[str, Any], fixes: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CookieSettings(**wrong)
    for fix in fixes:
        assert fix in str(caught.value)


def test_T5_the_prefix_that_keeps_scripts_from_setting_the_cookie_can_be_used() -> None:
    assert set_cookie(CookieSettings(name="__Host-Http-session"), "value", None) == (
        "__Host-Http-session=value; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_T6_attributes_may_have_1024_octets() -> None:
    path, domain = "/" + "p" * 1023, "d" * 1024
    header = set_cookie(CookieSettings(name="s", path=path, domain=domain), "value", None)
    assert f"; Path={path}; Domain={domain};" in header


@pytest.mark.parametrize("size", [4095, 4096])
def test_T6_name_and_value_may_have_4096_octets(size: int) -> None:
    value = "v" * (size - len(NAME))
    assert set_cookie(CookieSettings(), value, None).startswith(f"{NAME}={value}; ")


def test_T6_4097_octets_are_an_error_that_names_size_and_limit() -> None:
    with pytest.raises(
        PayloadTooLargeError, match=r"__Host-session has 4097 octets .* beyond 4096; keep less"
    ):
        set_cookie(CookieSettings(), "v" * (MAX_COOKIE + 1 - len(NAME)), None)


def test_T7_a_lifetime_is_at_most_400_days() -> None:
    assert f"; Max-Age={400 * 86400};" in set_cookie(CookieSettings(), "value", MAX_AGE)
    for wrong in (MAX_AGE + 1, 10 * 365 * 86400, 0, -1):
        with pytest.raises(ConfigurationError, match=r"write 1 to 34560000 \(400 days\)"):
            set_cookie(CookieSettings(), "value", wrong)


SECRETS = [
    "secret value",
    "secret;value",
    "secret\r\n",
    "secret\x00",
    "secr\u00e9t",
    'secret"',
    "secret,",
    "secret\\",
]


@pytest.mark.parametrize("value", SECRETS, ids=ascii)
def test_T9_a_value_a_cookie_cannot_carry_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(EncodeError, match="encode it as base64url") as caught:
        set_cookie(CookieSettings(), value, None)
    assert "secr" not in str(caught.value)


fields = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(texts, texts.map(lambda text: NAME + text)),
        "path": st.one_of(texts, texts.map(lambda text: "/" + text)),
        "domain": st.one_of(texts, texts.map(lambda text: "example.com" + text)),
        "samesite": st.one_of(texts, texts.map(lambda text: "Lax" + text), st.none()),
        "secure": st.booleans(),
        "httponly": st.booleans(),
        "partitioned": st.booleans(),
    },
)

ATTRIBUTES = {"Path", "Domain", "Secure", "HttpOnly", "SameSite", "Partitioned", "Max-Age", "Expires"}


@given(fields, texts, st.none() | st.integers())
def test_T9_no_field_smuggles_anything_into_the_header(
    chosen: dict[str, Any], value: str, max_age: int | None
) -> None:
    try:
        settings = CookieSettings(**chosen)
        headers = [delete_cookie(settings)]
        headers.append(set_cookie(settings, value, max_age))
    except SessionError as error:
        assert str(error).isascii() and str(error).isprintable()  # noqa: PT017, PT018
        if "settings" not in locals():
            return
    for header in headers:
        assert header.isascii()
        assert header.isprintable()
        first, *rest = header.split(";")
        assert first.partition("=")[0] == settings.name
        names = [part[1:].partition("=")[0] for part in rest]
        assert set(names) <= ATTRIBUTES
        assert len(names) == len(set(names))
        assert parse_cookies(first, settings.name) == [first.partition("=")[2]]


@pytest.mark.parametrize("field", ["name", "path", "domain", "samesite"])
@pytest.mark.parametrize(
    "character", [*map(chr, range(32)), ";", "\x7f", "\x80", "\u2028", "\ud800"], ids=ascii
)
def test_T9_control_characters_and_semicolons_are_refused_in_every_field(field: str, character: str) -> None:
    start = {"name": "s", "path": "/", "domain": "example.com", "samesite": "Lax"}[field]
    for text in (start + character, start + character + "x", character + start):
        with pytest.raises(ConfigurationError) as caught:
            CookieSettings(**{"name": "s", field: text})  # type: ignore[arg-type]
        assert str(caught.value).isprintable()
