"""One value in several cookies, and what a browser or an attacker may make of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.carriers.chunks import MOST_COOKIES, OVERHEAD, chunk_name, join_chunks, split_value, stale_chunks
from sojourn.cookie import MAX_HEADER, parse_cookies

NAME = "__Host-session"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def header(value: str, *, room: int, backwards: bool = False) -> str:
    """Return what a browser sends that was given ``value``."""
    pairs = [
        f"{chunk_name(NAME, number)}={chunk}"
        for number, chunk in enumerate(split_value(value, room=room), start=1)
    ]
    return "; ".join(reversed(pairs) if backwards else pairs)


@given(st.text(LETTERS, min_size=1, max_size=300), st.integers(20, 400), st.booleans())
def test_what_was_split_is_joined_in_whatever_order_it_comes(value: str, room: int, backwards: bool) -> None:
    chunks = split_value(value, room=room)
    assert len(chunks) <= MOST_COOKIES
    assert all(len(chunk) <= room for chunk in chunks)
    sent = header(value, room=room, backwards=backwards)
    assert join_chunks(sent, NAME) == [value]
    assert join_chunks(sent.encode(), NAME) == [value]
    assert len(sent) <= len(value) + len(chunks) * (OVERHEAD + len(NAME) + 3)


def test_a_value_that_fits_is_written_as_it_is() -> None:
    assert split_value("A" * 100, room=100) == ["A" * 100]
    assert split_value("A" * 101, room=100) == ["2." + "A" * 97, "A" * 4]


def test_the_tenth_cookie_comes_after_the_ninth() -> None:
    value = "".join(letter * 10 for letter in LETTERS[:12])
    sent = "; ".join(sorted(header(value, room=13).split("; ")))
    assert sent.index("session-10=") < sent.index("session-2=")
    assert join_chunks(sent, NAME) == [value]


@pytest.mark.parametrize("missing", range(2, 6))
def test_a_missing_cookie_makes_no_value_of_the_rest(missing: int) -> None:
    pairs = header("A" * 480, room=100).split("; ")
    del pairs[missing - 1]
    [found] = join_chunks("; ".join(pairs), NAME)
    assert found.startswith("5.")


@pytest.mark.parametrize(
    "first", ["1.A", "0.A", "21.A", "2.", ".A", "2.A.B", "-2.A", "02.A", "2,A", "99999.A"]
)
def test_what_says_a_count_that_is_none_is_left_as_it_is(first: str) -> None:
    assert join_chunks(f"{NAME}={first}; {NAME}-2=B; {NAME}-1=C", NAME) in ([first], [])


def test_others_without_a_first_are_nothing() -> None:
    assert join_chunks(f"{NAME}-2=B; {NAME}-3=C", NAME) == []


def test_cookies_of_two_paths_are_joined_each_with_its_own() -> None:
    sent = f"{NAME}=2.A; {NAME}=plain; {NAME}=3.X; {NAME}-2=B; {NAME}-2=Y; {NAME}-3=none; {NAME}-3=Z"
    assert join_chunks(sent, NAME) == ["AB", "plain", "XYZ"]


def test_stale_chunks_are_those_beyond_what_is_kept() -> None:
    sent = f"a=1; {NAME}=3.A; {NAME}-2=B; {NAME}-3=C; {NAME}-21=D; {NAME}-x=E"
    assert stale_chunks(sent, NAME, kept=3) == []
    assert stale_chunks(sent, NAME, kept=2) == [f"{NAME}-3"]
    assert stale_chunks(sent.encode(), NAME, kept=1) == [f"{NAME}-2", f"{NAME}-3"]
    assert stale_chunks(f"a=1; {NAME}=A", NAME, kept=1) == []


@given(st.text(max_size=200) | st.text(f"{LETTERS}=;. ", max_size=200))
def test_T8_no_header_raises(sent: str) -> None:
    for name in (NAME, "s"):
        assert all(isinstance(value, str) for value in join_chunks(sent, name))
        stale_chunks(sent, name, kept=1)


def test_D4_a_hostile_header_is_read_once_for_each_cookie_there_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = 0

    def counting(sent: str | bytes, name: str) -> list[str]:
        nonlocal reads
        reads += 1
        return parse_cookies(sent, name)

    monkeypatch.setattr("sojourn.carriers.chunks.parse_cookies", counting)
    sent = f"{NAME}=20.A; " * (MAX_HEADER // 24)
    assert set(join_chunks(sent, NAME)) == {"20.A"}
    assert reads == MOST_COOKIES
