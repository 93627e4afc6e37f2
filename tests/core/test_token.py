"""The secret in the cookie and its digest."""

from __future__ import annotations

import hashlib
import secrets
import string
from base64 import urlsafe_b64encode
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.record import day_of, public_id
from sojourn.token import TOKEN_LENGTH, is_token, key_for, new_token

_ALPHABET = frozenset(string.ascii_letters + string.digits + "-_")
_TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_xy"


def test_T1_a_token_is_thirty_octets_from_secrets_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []
    octets = bytes(range(226, 256))

    def token_bytes(size: int | None = None) -> bytes:
        asked.append(size)
        return octets

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    token = new_token()
    assert asked == [30]
    assert token == urlsafe_b64encode(octets).decode()
    assert token == new_token(), "something beside secrets has a part in a token"


def test_T1_a_token_has_forty_url_safe_characters() -> None:
    for token in (new_token() for _ in range(1_000)):
        assert len(token) == TOKEN_LENGTH == 40
        assert set(token) <= _ALPHABET
        assert is_token(token)


def test_T1_every_bit_of_a_token_varies() -> None:
    ones = zeros = 0
    for token in (new_token() for _ in range(200)):
        bits = int.from_bytes(b"".join(bytes([_ORDER.index(c)]) for c in token))
        ones |= bits
        zeros |= ~bits
    every = int.from_bytes(b"\x3f" * 40)
    assert ones & every == every
    assert zeros & every == every


_ORDER = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def test_T1_a_million_tokens_are_all_different() -> None:
    tokens = {token for _, token in zip(range(1_000_000), iter(new_token, None), strict=False)}
    assert len(tokens) == 1_000_000


def test_T1_a_token_that_names_a_day_has_twenty_six_octets_from_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    octets = bytes(range(230, 256))
    monkeypatch.setattr(secrets, "token_bytes", {26: octets}.__getitem__)
    token = new_token(20_783)
    assert token == ".512f" + urlsafe_b64encode(octets).decode().rstrip("=")
    assert len(token) == TOKEN_LENGTH
    assert is_token(token)
    assert repr(token) == "<token>"


def test_the_key_of_a_token_that_names_a_day_names_it_too_and_the_public_id_does_not() -> None:
    token = new_token(20_783)
    key = key_for(token, namespace="")
    assert len(key) == 64
    assert key.startswith("00000000512f")
    assert day_of(key) == 20_783
    assert public_id(key) == key[12:24]
    assert key[12:] in hashlib.sha256(b"sojourn key 1\0" + b"0\0\0" + token.encode()).hexdigest()


def test_other_tokens_name_no_day() -> None:
    key = key_for(_TOKEN, namespace="")
    assert day_of(key) is None
    assert public_id(key) == key[:12]


def test_keys_sort_by_the_day_they_name() -> None:
    keys = [key_for(new_token(day), namespace="") for day in (1, 255, 256, 20_783, 65_535)]
    assert keys == sorted(keys)


def test_what_only_begins_like_a_token_with_a_day_has_an_ordinary_key() -> None:
    assert day_of(key_for(".512f", namespace="")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        _TOKEN[:-1],
        "." + _TOKEN[1:],
        ".512F" + _TOKEN[5:],
        ".512f" + _TOKEN[5:] + "x",
        _TOKEN + "x",
        _TOKEN + "\n",
        " " + _TOKEN[1:],
        _TOKEN[:-1] + "=",
        _TOKEN[:-1] + "+",
        _TOKEN[:-1] + "/",
        _TOKEN[:-1] + "\0",
        _TOKEN[:-1] + "é",
        _TOKEN[:-1] + "\u0661",  # a digit, but not one of ours
        _TOKEN[:-1] + "\uff21",  # a letter, likewise
        _TOKEN[:-1] + "\ud800",
        "../../../../../../../etc/passwd0000000000",
        "x" * 1_000_000,
    ],
)
def test_D2_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert not is_token(text)


@given(st.text(alphabet=_ORDER, min_size=40, max_size=40))
def test_every_text_of_forty_such_characters_has_the_form(text: str) -> None:
    assert is_token(text)


def test_the_key_is_a_digest_that_other_implementations_can_work_out() -> None:
    expected = hashlib.sha256(b"sojourn key 1\x004\x00shop\x00" + _TOKEN.encode()).hexdigest()
    assert key_for(_TOKEN, namespace="shop") == expected
    assert len(expected) == 64


def test_S6_a_key_is_lower_case_hexadecimal() -> None:
    for token in islice(iter(new_token, None), 100):
        assert set(key_for(token, namespace="")) <= frozenset("0123456789abcdef")
        assert token not in key_for(token, namespace="")


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_another_namespace_or_token_is_another_key(one: tuple[str, str], two: tuple[str, str]) -> None:
    def key(namespace: str, text: str) -> str:
        # Of the form of a token: any text of forty such characters.
        return key_for(
            hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40], namespace=namespace
        )

    assert (key(*one) == key(*two)) == (one == two)
