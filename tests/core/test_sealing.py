"""Payload to sealed envelope and back."""

from __future__ import annotations

import pickle
import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from sojourn.errors import DecodeError
from sojourn.keyring import Keyring
from sojourn.sealing import (
    OVERHEAD,
    Sealed,
    UnknownSecretError,
    Unsealed,
    _derive,
    authenticated,
)
from sojourn.token import new_token

_SECRET = "one secret of a site: 0123456789 abcdefghijklm"
_OTHER = "the next secret of it: 0123456789 abcdefghijkl"
_CONTEXT = b"a context"
_PAYLOAD = b"canary payload: \xff\x00 and more of it"

_SALT_AT, _COMMITMENT_AT, _BODY_AT = 9, 33, 53


@pytest.fixture
def keyring() -> Keyring:
    return Keyring([_SECRET])


@pytest.fixture
def sealed(keyring: Keyring) -> Sealed:
    return Sealed(keyring)


@given(st.binary(max_size=500), st.binary(max_size=100))
def test_what_was_sealed_opens(payload: bytes, context: bytes) -> None:
    sealed, token = Sealed(Keyring([_SECRET])), new_token()
    envelope = sealed.seal(payload, token, context)
    assert len(envelope) == len(payload) + OVERHEAD
    assert sealed.open(envelope, token, context) == payload
    info = sealed.seal_info(payload, context)
    assert len(info) == len(payload) + OVERHEAD
    assert sealed.open_info(info, context) == payload


def test_S1_an_envelope_shows_neither_payload_nor_token(sealed: Sealed) -> None:
    token = new_token()
    envelope = sealed.seal(_PAYLOAD, token, _CONTEXT)
    assert b"canary" not in envelope
    assert token.encode() not in envelope
    assert b"canary" not in sealed.seal_info(_PAYLOAD, _CONTEXT)


def test_S3_no_byte_of_an_envelope_can_be_flipped(sealed: Sealed) -> None:
    token = new_token()
    envelope = sealed.seal(_PAYLOAD, token, _CONTEXT)
    info = sealed.seal_info(_PAYLOAD, _CONTEXT)
    for at in range(len(envelope)):
        for bit in (0x01, 0x80):
            with pytest.raises(DecodeError):
                sealed.open(_flipped(envelope, at, bit), token, _CONTEXT)
            with pytest.raises(DecodeError):
                sealed.open_info(_flipped(info, at, bit), _CONTEXT)


def _flipped(octets: bytes, at: int, bit: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ bit]) + octets[at + 1 :]


def test_S3_an_envelope_cannot_be_cut_or_lengthened(sealed: Sealed) -> None:
    token = new_token()
    envelope = sealed.seal(_PAYLOAD, token, _CONTEXT)
    for damaged in [envelope[:size] for size in range(len(envelope))] + [envelope + b"\0", b"\0" + envelope]:
        with pytest.raises(DecodeError):
            sealed.open(damaged, token, _CONTEXT)


def test_S3_whatever_was_changed_beyond_the_key_id_the_answer_is_the_same(sealed: Sealed) -> None:
    token = new_token()
    envelope = sealed.seal(_PAYLOAD, token, _CONTEXT)
    answers = set()
    for at in (0, _SALT_AT, _COMMITMENT_AT, _BODY_AT, len(envelope) - 1):
        with pytest.raises(DecodeError) as refusal:
            sealed.open(_flipped(envelope, at, 0x01), token, _CONTEXT)
        answers.add((type(refusal.value), str(refusal.value), refusal.value.__cause__))
    for other in ((new_token(), _CONTEXT), (token, b"another context")):
        with pytest.raises(DecodeError) as refusal:
            sealed.open(envelope, *other)
        answers.add((type(refusal.value), str(refusal.value), refusal.value.__cause__))
    assert len(answers) == 1


def test_S2_an_envelope_made_without_the_server_secret_does_not_open(sealed: Sealed) -> None:
    token = new_token()
    theirs = Sealed(Keyring([_OTHER])).seal(_PAYLOAD, token, _CONTEXT)
    with pytest.raises(UnknownSecretError):
        sealed.open(theirs, token, _CONTEXT)
    ours = sealed.seal(_PAYLOAD, token, _CONTEXT)
    with pytest.raises(DecodeError):  # and pretends to be ours
        sealed.open(ours[:_SALT_AT] + theirs[_SALT_AT:], token, _CONTEXT)


def test_S2_the_server_secret_opens_no_payload_without_the_token(sealed: Sealed) -> None:
    envelope = sealed.seal(_PAYLOAD, new_token(), _CONTEXT)
    with pytest.raises(DecodeError):
        sealed.open(envelope, new_token(), _CONTEXT)
    with pytest.raises(DecodeError):
        sealed.open(envelope, "", _CONTEXT)
    with pytest.raises(DecodeError):
        sealed.open_info(envelope, _CONTEXT)


def test_S5_info_and_payload_never_open_as_each_other(sealed: Sealed) -> None:
    info = sealed.seal_info(_PAYLOAD, _CONTEXT)
    with pytest.raises(DecodeError):
        sealed.open(info, "", _CONTEXT)
    with pytest.raises(DecodeError):
        sealed.open_info(sealed.seal(_PAYLOAD, "", _CONTEXT), _CONTEXT)


@pytest.mark.parametrize("settings", [{"namespace": "shop"}, {"cookie_name": "sid"}])
def test_S5_nothing_opens_under_another_namespace_or_cookie_name(
    sealed: Sealed, settings: dict[str, Any]
) -> None:
    token = new_token()
    elsewhere = Sealed(Keyring([_SECRET], **settings))
    with pytest.raises(DecodeError):
        elsewhere.open(sealed.seal(_PAYLOAD, token, _CONTEXT), token, _CONTEXT)
    with pytest.raises(DecodeError):
        elsewhere.open_info(sealed.seal_info(_PAYLOAD, _CONTEXT), _CONTEXT)


def test_CVE_2012_3458_equal_plaintext_never_gives_equal_ciphertext(sealed: Sealed) -> None:
    token = new_token()
    blocks: set[bytes] = set()
    for _ in range(200):
        envelope = sealed.seal(b"\0" * 64, token, _CONTEXT)
        parts = [envelope[_SALT_AT:_COMMITMENT_AT], envelope[_COMMITMENT_AT:_BODY_AT]]
        parts += [envelope[at : at + 16] for at in range(_BODY_AT, len(envelope), 16)]
        assert not blocks & set(parts), "a salt, a commitment or a block of ciphertext came twice"
        blocks.update(parts)
    assert len(blocks) == 200 * 7, "blocks of one envelope are alike"


def test_the_salt_comes_from_secrets(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    salt, token = bytes(range(24)), new_token()
    monkeypatch.setattr(secrets, "token_bytes", {24: salt}.__getitem__)
    assert sealed.seal(_PAYLOAD, token, _CONTEXT)[_SALT_AT:_COMMITMENT_AT] == salt


def _forged(keyring: Keyring, token: str, *, commitment: bytes | None = None) -> bytes:
    """Seal by hand; with ``commitment`` in place of the right one the ciphertext is still a valid one."""
    keys = keyring.sealing
    header, salt = b"\x01" + keys.key_id, bytes(24)
    derived = _derive(keys.payload, salt, token.encode())
    body = AESGCM(derived[:32]).encrypt(derived[32:44], _PAYLOAD, header + _CONTEXT)
    return header + salt + (derived[44:] if commitment is None else commitment) + body


def test_the_commitment_is_checked_although_the_ciphertext_is_valid(sealed: Sealed, keyring: Keyring) -> None:
    token = new_token()
    assert sealed.open(_forged(keyring, token), token, _CONTEXT) == _PAYLOAD
    for commitment in (bytes(20), b"\xff" * 20, secrets.token_bytes(20)):
        with pytest.raises(DecodeError):
            sealed.open(_forged(keyring, token, commitment=commitment), token, _CONTEXT)


def test_CVE_2019_16782_the_commitment_is_compared_in_constant_time_and_before_anything_is_decrypted(
    sealed: Sealed, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def compare(one: bytes, two: bytes) -> bool:
        compared.append(len(one))
        assert len(one) == len(two)
        return one == two

    def decrypt(*_: Any) -> Any:
        raise AssertionError("decrypted under a key that is not committed to")

    token = new_token()
    forged = _forged(keyring, token, commitment=bytes(20))
    monkeypatch.setattr("sojourn.sealing.compare_digest", compare)
    monkeypatch.setattr("sojourn.sealing.AESGCM", decrypt)
    with pytest.raises(DecodeError):
        sealed.open(forged, token, _CONTEXT)
    assert compared == [20]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x01",
        b"\x01" * 8,
        b"\x00" * 500,
        b"\xff" * 500,
        pickle.dumps({"a": object}),
        b"!!python/object/apply:os.system ['true']\n",
        b'{"a": 1}',
        b"\x01" + b"a" * (OVERHEAD - 2),
        b"\x01" + b"a" * (OVERHEAD - 1),
    ],
)
def test_S4_garbage_does_not_open_and_nothing_but_a_decode_error_comes_out(
    sealed: Sealed, keyring: Keyring, garbage: bytes
) -> None:
    token = new_token()
    for hostile in (garbage, b"\x01" + keyring.sealing.key_id + garbage):
        with pytest.raises(DecodeError) as refusal:
            sealed.open(hostile, token, _CONTEXT)
        with pytest.raises(DecodeError):
            sealed.open_info(hostile, _CONTEXT)
        assert token not in str(refusal.value)


def test_a_listed_secret_opens_what_another_one_seals_over() -> None:
    token = new_token()
    before = Sealed(Keyring([_OTHER])).seal(_PAYLOAD, token, _CONTEXT)
    after = Sealed(Keyring([_SECRET, _OTHER]))
    assert after.open(before, token, _CONTEXT) == _PAYLOAD
    with pytest.raises(UnknownSecretError):
        Sealed(Keyring([_OTHER])).open(after.seal(_PAYLOAD, token, _CONTEXT), token, _CONTEXT)


# What is authenticated with a payload

_instants = st.integers(0, 2**62)
_fields = st.tuples(
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    _instants,
    st.none() | _instants,
    st.none() | st.binary(max_size=40),
    st.binary(max_size=40),
)


@given(_fields, _fields)
def test_S3_records_that_differ_in_any_authenticated_field_have_different_contexts(
    one: tuple[Any, ...], two: tuple[Any, ...]
) -> None:
    assert (authenticated(*one) == authenticated(*two)) == (one == two)
    for at in range(5):  # and if they differ in one field only
        mixed = (*one[:at], two[at], *one[at + 1 :])
        assert (authenticated(*one) == authenticated(*mixed)) == (one == mixed)


@given(st.binary(max_size=40), st.data())
def test_S3_octets_cannot_move_between_subject_and_info(octets: bytes, data: st.DataObject) -> None:
    cuts = [data.draw(st.integers(0, len(octets))) for _ in range(2)]
    one, two = (authenticated("0" * 64, 1, None, octets[:cut], octets[cut:]) for cut in cuts)
    assert (one == two) == (cuts[0] == cuts[1])


def test_S3_no_subject_is_not_an_empty_one() -> None:
    assert authenticated("0" * 64, 1, None, None, b"") != authenticated("0" * 64, 1, None, b"", b"")


def test_S3_a_subject_of_any_length_can_be_authenticated() -> None:
    # One planted by whoever can write to the store: refused when opened, not an error before.
    assert authenticated("0" * 64, 1, None, b"x" * 300, b"") != authenticated(
        "0" * 64, 1, None, b"x" * 44, b""
    )


def test_no_protection_is_none() -> None:
    unsealed = Unsealed()
    assert unsealed.open(unsealed.seal(_PAYLOAD, "t", b""), "u", b"x") == _PAYLOAD
    assert unsealed.open_info(unsealed.seal_info(_PAYLOAD, b""), b"x") == _PAYLOAD


def test_T12_no_repr_of_a_sealing_shows_a_secret(sealed: Sealed) -> None:
    for shown in (repr(sealed), repr(Unsealed())):
        assert _SECRET not in shown
