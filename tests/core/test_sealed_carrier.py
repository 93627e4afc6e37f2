"""A record in a cookie's value and back: what is written, and that nothing else is accepted."""

from __future__ import annotations

import os
import random
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn import Keyring
from sojourn.carriers import envelopes, sealed
from sojourn.carriers.envelopes import Envelopes
from sojourn.carriers.lineage import ID_LENGTH, Lineage
from sojourn.carriers.sealed import LARGEST, SealedCarrier
from sojourn.cookie import parse_cookies
from sojourn.errors import DecodeError
from sojourn.record import Record
from sojourn.sealing import Sealed
from sojourn.token import key_for, new_token
from sojourn.values import frame
from tests.core.sites import OLD_SECRET, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

KEYRING = Keyring([SECRET], cookie_name="session")
NOW = 1_750_000_000_000
LINEAGE = Lineage(id=bytes(range(ID_LENGTH)), generation=3, epoch=77, latest=NOW + 2)
FRAME = frame({"a": b"1", "canary-5e1f0c": b"canary-5e1f0c"})

#: How many mutated cookies: a sample here, a million by ``make mutate``.
MUTATIONS = int(os.environ.get("SOJOURN_MUTATIONS", "20000"))


def record(payload: bytes = FRAME, **changes: object) -> Record:
    made = Record(
        key=key_for(LINEAGE.name, namespace=""),
        payload=payload,
        created_at=NOW,
        idle_deadline=NOW + 1,
        absolute_deadline=NOW + 3,
        subject=b"d" * 32,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture(params=["sealed", "signed"])
def carrier(request: pytest.FixtureRequest) -> SealedCarrier:
    return SealedCarrier(keyring=KEYRING, signed=request.param == "signed")


def raw(value: str) -> bytes:
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


def text(envelope: bytes) -> str:
    return urlsafe_b64encode(envelope).rstrip(b"=").decode()


# --- there and back ----------------------------------------------------------------------------------

instants = st.integers(-(1 << 62), 1 << 62)


@given(
    session_id=st.binary(min_size=ID_LENGTH, max_size=ID_LENGTH),
    generation=st.integers(0, (1 << 32) - 1),
    epoch=st.integers(0, (1 << 63) - 1),
    instants=st.tuples(instants, instants, instants, st.none() | st.integers(0, 1 << 62)),
    subject=st.none() | st.binary(min_size=32, max_size=32),
    payload=st.binary(max_size=3000) | st.builds(bytes, st.integers(0, 5000)),
    signed=st.booleans(),
    compress=st.booleans(),
)
def test_what_was_written_is_read(  # noqa: PLR0917 - what Hypothesis draws
    session_id: bytes,
    generation: int,
    epoch: int,
    instants: tuple[int, int, int, int | None],
    subject: bytes | None,
    payload: bytes,
    signed: bool,
    compress: bool,
) -> None:
    carrier = SealedCarrier(keyring=KEYRING, signed=signed, compress=compress)
    created_at, idle, latest, absolute = instants
    lineage = Lineage(id=session_id, generation=generation, epoch=epoch, latest=latest)
    made = Record(
        key=key_for(lineage.name, namespace=""),
        payload=payload,
        created_at=created_at,
        idle_deadline=idle,
        absolute_deadline=absolute,
        subject=subject,
    )
    value = carrier.write(lineage, made)
    assert carrier.accepts(value)
    assert parse_cookies(f"a=1; session={value}", "session") == [value]
    assert carrier.read(value) == (lineage, made)


def test_either_kind_is_read_whichever_is_written() -> None:
    both = [SealedCarrier(keyring=KEYRING, signed=signed) for signed in (False, True)]
    for writer in both:
        for reader in both:
            assert reader.read(writer.write(LINEAGE, record())) == (LINEAGE, record())


def test_CVE_2012_3458_equal_sessions_never_make_equal_cookies() -> None:
    carrier = SealedCarrier(keyring=KEYRING)
    values = {carrier.write(LINEAGE, record()) for _ in range(50)}
    assert len(values) == 50
    assert len({raw(value)[45:57] for value in values}) == 50, "a nonce is used twice"
    assert len({raw(value)[57:73] for value in values}) == 50, "a key stream is used twice"


def test_no_key_seals_more_cookies_than_random_nonces_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelopes, "_MOST_UNDER_ONE", 10)
    sealing, opening = Envelopes(KEYRING), Envelopes(KEYRING)
    made = [sealing.seal(b"a") for _ in range(45)]
    salts = [envelope[9:25] for envelope in made]
    assert [salts.count(salt) for salt in dict.fromkeys(salts)] == [10, 10, 10, 10, 5]
    nonces = [envelope[45:57] for envelope in made]
    assert len(set(nonces)) == len(nonces)
    assert {opening.open(envelope) for envelope in made} == {b"a"}


def test_processes_forked_before_their_first_cookie_have_keys_of_their_own() -> None:
    loaded = Envelopes(KEYRING)
    salts = {copy(loaded).seal(b"a")[9:25] for _ in range(3)}
    assert len(salts) == 3


def test_ciphers_of_other_processes_are_kept_and_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelopes, "_MOST_KEPT", 3)
    opening = Envelopes(KEYRING)
    made = [Envelopes(KEYRING).seal(b"a") for _ in range(8)]
    for envelope in (*made, *made):
        assert opening.open(envelope) == b"a"
        assert 0 < len(opening._kept) <= 3
    kept = dict(opening._kept)
    for wrong in (made[0][:20] + b"x" + made[0][21:], made[0][:-1] + b"x", made[0][:50]):
        with pytest.raises(DecodeError):
            opening.open(wrong)
    assert opening._kept == kept, "nothing is kept of what does not open"


def test_S1_a_sealed_cookie_shows_nothing_and_a_signed_one_can_be_read() -> None:
    shut, readable = (
        raw(SealedCarrier(keyring=KEYRING, signed=signed).write(LINEAGE, record()))
        for signed in (False, True)
    )
    assert b"canary" not in shut
    assert LINEAGE.id not in shut
    assert b"d" * 32 not in shut
    assert b"canary" in readable


# --- what is refused ---------------------------------------------------------------------------------


def test_S3_no_changed_octet_is_accepted(carrier: SealedCarrier) -> None:
    envelope = raw(carrier.write(LINEAGE, record()))
    for position in range(len(envelope)):
        for bit in (1, 128):
            changed = bytearray(envelope)
            changed[position] ^= bit
            assert carrier.read(text(bytes(changed))) is None
    for size in range(len(envelope)):
        assert carrier.read(text(envelope[:size])) is None
    assert carrier.read(text(envelope + b"\0")) is None


def test_S3_no_other_way_to_write_the_same_octets_is_accepted(carrier: SealedCarrier) -> None:
    value = carrier.write(LINEAGE, record(payload=frame({"a": b"12"})))
    while len(value) % 4 == 0:  # so that bits of the last character are not used
        value = carrier.write(LINEAGE, record(payload=frame({"a": b"1" * len(value)})))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [value[:-1] + letter for letter in alphabet if letter != value[-1]]
    assert any(raw(other) == raw(value) for other in others)
    others += [
        value + "=",
        value + "==",
        value[:9] + "!" + value[9:],
        value[:9] + "\n" + value[9:],
        f" {value}",
    ]
    others += [value.replace("-", "+"), value.replace("_", "/"), value.upper(), value + "\u212a"]
    for other in others:
        assert other == value or carrier.read(other) is None


@pytest.mark.parametrize("form", [b"\x00", b"\x01", b"\x02", b"\x03", b"\x04"])
def test_S5_neither_kind_passes_as_another(carrier: SealedCarrier, form: bytes) -> None:
    envelope = raw(carrier.write(LINEAGE, record()))
    if envelope[:1] != form:
        assert carrier.read(text(form + envelope[1:])) is None


def test_S5_what_was_sealed_for_a_store_is_no_cookie_and_the_other_way_round() -> None:
    carrier, stored = SealedCarrier(keyring=KEYRING), Sealed(KEYRING)
    plain = Envelopes(KEYRING).open(raw(carrier.write(LINEAGE, record())))
    for envelope in (
        stored.seal(plain, "", b""),
        stored.seal(plain, new_token(), b""),
        stored.seal_info(plain, b""),
    ):
        assert carrier.read(text(envelope)) is None
        assert carrier.read(text(b"\x02" + envelope[1:])) is None


@pytest.mark.parametrize(
    "other",
    [
        Keyring([SECRET], cookie_name="another"),
        Keyring([SECRET], cookie_name="session", namespace="another site"),
        Keyring([OLD_SECRET], cookie_name="session"),
    ],
    ids=["cookie name", "site with the same secret", "secret"],
)
def test_S5_a_cookie_of_another_name_site_or_secret_is_refused(
    carrier: SealedCarrier, other: Keyring
) -> None:
    theirs = SealedCarrier(keyring=other, signed=carrier.signed)
    assert carrier.read(theirs.write(LINEAGE, record())) is None
    assert theirs.read(theirs.write(LINEAGE, record())) is not None


def test_a_listed_secret_opens_and_a_removed_one_is_refused(carrier: SealedCarrier) -> None:
    former = SealedCarrier(keyring=Keyring([OLD_SECRET], cookie_name="session"), signed=carrier.signed)
    both = SealedCarrier(keyring=Keyring([SECRET, OLD_SECRET], cookie_name="session"), signed=carrier.signed)
    value = former.write(LINEAGE, record())
    assert both.read(value) == (LINEAGE, record())
    assert carrier.read(value) is None
    assert carrier.read(both.write(LINEAGE, record())) is not None, "the first secret seals"


#: What becomes of a good cookie in the hands of somebody who tries.
MUTATORS: list[Callable[[random.Random, str, str], str]] = [
    lambda chance, value, _: _replaced(chance, value, 1),
    lambda chance, value, _: _replaced(chance, value, chance.randint(2, 30)),
    lambda chance, value, _: value[: chance.randrange(len(value))],
    lambda chance, value, _: value[chance.randrange(1, len(value)) :],
    lambda chance, value, _: value + _letters(chance, chance.randint(1, 40)),
    lambda chance, value, other: value[: (at := chance.randrange(1, len(value)))] + other[at:],
    lambda chance, value, other: other[: (at := chance.randrange(1, len(other)))] + value[at:],
    lambda chance, value, _: value[: (at := chance.randrange(len(value)))] + _letters(chance, 1) + value[at:],
    lambda chance, value, _: value[: (at := chance.randrange(len(value)))] + value[at + 1 :],
    lambda chance, value, _: text(_flipped(chance, raw(value))),
    lambda chance, value, _: text(raw(value)[:9] + chance.randbytes(len(value))),
    lambda chance, value, _: value[:at] + chance.choice('\0\n ;,"\\=\u00e9\u2000\U0001f36a.:') + value[at:]
    if (at := chance.randrange(len(value)))
    else "",
]  # fmt: skip


def _letters(chance: random.Random, count: int) -> str:
    return text(chance.randbytes(count))[:count]


def _replaced(chance: random.Random, value: str, count: int) -> str:
    letters = list(value)
    for _ in range(count):
        letters[chance.randrange(len(letters))] = _letters(chance, 1)
    return "".join(letters)


def _flipped(chance: random.Random, envelope: bytes) -> bytes:
    changed = bytearray(envelope)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_S3_of_mutated_cookies_none_is_accepted_and_none_raises() -> None:
    chance = random.Random(6)
    carriers = [SealedCarrier(keyring=KEYRING, signed=signed) for signed in (False, True)]
    payloads = [FRAME, frame({"long": b"abc" * 700}), frame({"random": random.Random(1).randbytes(900)})]
    good = [carrier.write(LINEAGE, record(payload)) for carrier in carriers for payload in payloads]
    assert all(carriers[0].read(value) is not None for value in good)
    known, tried = set(good), 0
    while tried < MUTATIONS:
        mutate = chance.choice(MUTATORS)
        value = mutate(chance, chance.choice(good), chance.choice(good))
        if value not in known:
            tried += 1
            assert carriers[0].read(value) is None
    print(f"{tried:,} mutated cookies: 0 exceptions, 0 accepted")  # noqa: T201 - for the record


@given(st.text(max_size=300) | st.binary(max_size=300).map(text))
def test_whatever_is_sent_is_no_session_and_no_error(value: str) -> None:
    assert SealedCarrier(keyring=KEYRING).read(value) is None


@given(st.binary(max_size=300))
def test_not_even_what_was_sealed_here_but_is_no_session_raises(plain: bytes) -> None:
    carrier = SealedCarrier(keyring=KEYRING)
    for envelope in (carrier.envelopes.seal(plain), carrier.envelopes.sign(plain)):
        carrier.read(text(envelope))


# --- compression -------------------------------------------------------------------------------------


def test_up_to_1_KB_nothing_is_compressed() -> None:
    carrier = SealedCarrier(keyring=KEYRING)
    sizes = [len(raw(carrier.write(LINEAGE, record(b"a" * size)))) for size in (0, 1, 500, 1024, 1025)]
    assert [size - sizes[0] for size in sizes[:4]] == [0, 1, 500, 1024]
    assert sizes[4] < sizes[3]


def test_compressed_sessions_have_sizes_in_steps_of_256() -> None:
    carrier = SealedCarrier(keyring=KEYRING)
    chance = random.Random(5)
    seen = set()
    for count in range(1025, 9000, 37):
        payload = bytes(chance.choice(b"abcdefgh") for _ in range(count))
        value = carrier.write(LINEAGE, record(payload))
        plain = Envelopes(KEYRING).open(raw(value))
        assert len(plain) % 256 == 0
        assert carrier.read(value) == (LINEAGE, record(payload))
        seen.add(len(plain))
    assert len(seen) > 5


def test_what_does_not_get_shorter_is_left_as_it_is() -> None:
    payload = random.Random(1).randbytes(2000)
    carriers = [SealedCarrier(keyring=KEYRING, compress=compress) for compress in (True, False)]
    values = [carrier.write(LINEAGE, record(payload)) for carrier in carriers]
    assert len(values[0]) == len(values[1])
    assert carriers[0].read(values[0]) == (LINEAGE, record(payload))


def test_compression_can_be_turned_off() -> None:
    carrier = SealedCarrier(keyring=KEYRING, compress=False)
    empty, long = (len(raw(carrier.write(LINEAGE, record(b"a" * size)))) for size in (0, 5000))
    assert long - empty == 5000


@pytest.mark.parametrize("protect", [Envelopes.seal, Envelopes.sign])
@pytest.mark.parametrize("size", [LARGEST + 1, 100 << 20])
def test_D4_a_bomb_is_no_session_even_if_it_was_sealed_here(
    protect: Callable[[Envelopes, bytes], bytes], size: int
) -> None:
    carrier = SealedCarrier(keyring=KEYRING)
    plain = Envelopes(KEYRING).open(raw(carrier.write(LINEAGE, record(b"a" * 2000))))
    head = plain[: sealed._FIELDS.size + 32]
    deflate = zlib.compressobj(9, wbits=-15)
    squeezed = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(size >> 20))
    squeezed += deflate.compress(bytes(size % (1 << 20))) + deflate.flush()
    assert carrier.read(text(protect(carrier.envelopes, head + squeezed))) is None
    deflate = zlib.compressobj(9, wbits=-15)
    largest = deflate.compress(bytes(LARGEST)) + deflate.flush()
    assert carrier.read(text(protect(carrier.envelopes, head + largest))) == (LINEAGE, record(bytes(LARGEST)))
