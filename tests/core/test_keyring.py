"""Server secrets and the keys derived from them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sojourn.errors import ConfigurationError
from sojourn.keyring import KEY_ID_LENGTH, MIN_SECRET_BYTES, Keyring, SecretKeys

_SECRET = "one secret of a site: 0123456789 abcdefghijklm"
_OTHER = "the next secret of it: 0123456789 abcdefghijkl"

_secrets = st.binary(min_size=MIN_SECRET_BYTES, max_size=200)
_names = st.text(max_size=20)
_settings = st.tuples(_secrets, _names, _names)


def _keys(secret: str | bytes, namespace: str = "", cookie_name: str = "") -> SecretKeys:
    return Keyring([secret], namespace=namespace, cookie_name=cookie_name, strict=False).sealing


def _derived(keys: SecretKeys) -> set[bytes]:
    return {keys.payload, keys.info, keys.subject}


@given(_settings, _settings)
def test_S5_another_secret_namespace_or_cookie_name_never_derives_the_same_key(
    one: tuple[bytes, str, str], two: tuple[bytes, str, str]
) -> None:
    assume(one != two)
    assert not _derived(_keys(*one)) & _derived(_keys(*two))
    assert _keys(*one).key_id != _keys(*two).key_id


@given(_secrets, _names, _names, st.data())
def test_S5_a_character_that_moves_from_the_namespace_to_the_cookie_name_changes_every_key(
    secret: bytes, namespace: str, cookie_name: str, data: st.DataObject
) -> None:
    whole = namespace + cookie_name
    cut = data.draw(st.integers(0, len(whole)))
    assume(cut != len(namespace))
    assert not _derived(_keys(secret, namespace, cookie_name)) & _derived(
        _keys(secret, whole[:cut], whole[cut:])
    )


@given(_settings)
def test_S5_no_two_purposes_share_a_key(settings: tuple[bytes, str, str]) -> None:
    keys = _keys(*settings)
    for one, two in combinations((keys.payload, keys.info, keys.subject, keys.root), 2):
        assert one != two
        assert len(one) == len(two) == 32 or keys.root in (one, two)
    assert len(keys.key_id) == KEY_ID_LENGTH
    assert not any(keys.key_id in key for key in (keys.payload, keys.info, keys.subject, keys.root))


@given(_settings)
def test_the_same_settings_derive_the_same_keys_in_every_process(settings: tuple[bytes, str, str]) -> None:
    assert _derived(_keys(*settings)) == _derived(_keys(*settings))


def test_a_secret_is_the_same_as_text_and_as_its_octets() -> None:
    assert _keys(_SECRET) == _keys(_SECRET.encode())


# S9: secrets that are none


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("secrets", [[], [""], [b""], [_SECRET, ""]])
def test_S9_no_secret_refuses_to_start(secrets: list[str | bytes], *, strict: bool) -> None:
    with pytest.raises(ConfigurationError, match="token_urlsafe"):
        Keyring(secrets, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("secret", [_SECRET, _SECRET.encode()])
def test_S9_a_secret_in_place_of_a_list_of_secrets_refuses_to_start(
    secret: str | bytes, *, strict: bool
) -> None:
    # A str is a sequence of str: each character would be a server secret.
    with pytest.raises(ConfigurationError, match="list"):
        Keyring(secret, strict=strict)  # type: ignore[arg-type]


def test_S9_a_secret_shorter_than_32_octets_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match="number 2 has 31 octets"):
        Keyring([_SECRET, _OTHER[:31]])
    Keyring([_SECRET, _OTHER[:32]])


def test_S9_octets_count_not_characters() -> None:
    Keyring(["éèàùçœæâêîôûäëïö"])  # 16 characters, 32 octets


@pytest.mark.parametrize(
    "secret",
    [
        "django-insecure-q0w9e8r7t6y5u4i3o2p1a0s9d8f7g6h5j4",
        "change-me-change-me-change-me-change-me-0123456789",
        "CHANGEME 0123456789 abcdefghijklmnopqrstuvwxyz",
        "your-secret-key-0123456789abcdefghijklmnopqrstuvwxyz",
        "x" * 64,
        b"\0" * 64,
        "abcdefg" * 10,
    ],
)
def test_S9_a_known_sample_or_a_secret_of_no_variety_refuses_to_start(secret: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="number 1 is a known sample") as refusal:
        Keyring([secret])
    assert str(secret) not in str(refusal.value)
    Keyring([secret], strict=False)  # Django's own SECRET_KEY is taken as Django takes it


# Rotation


def test_the_first_secret_seals_and_every_listed_one_is_found_by_its_id() -> None:
    keyring = Keyring([_SECRET, _OTHER])
    assert keyring.sealing == _keys(_SECRET)
    for secret in (_SECRET, _OTHER):
        assert keyring.get(_keys(secret).key_id) == _keys(secret)
    assert keyring.get(b"\0" * KEY_ID_LENGTH) is None
    assert keyring.get(b"") is None


def test_L6_a_subject_is_looked_up_under_every_secret_the_sealing_one_first() -> None:
    keyring = Keyring([_SECRET, _OTHER])
    assert keyring.subject_digests("42") == [
        keyring.subject_digest("42"),
        Keyring([_OTHER]).subject_digest("42"),
    ]


def test_L6_a_secret_listed_twice_is_one_secret() -> None:
    # Django's SECRET_KEY is easily left in SECRET_KEY_FALLBACKS: each session would be listed twice.
    assert len(Keyring([_SECRET, _OTHER, _SECRET]).subject_digests("42")) == 2


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_subjects_never_share_a_digest(one: str, two: str) -> None:
    keyring = Keyring([_SECRET])
    assert (keyring.subject_digest(one) == keyring.subject_digest(two)) == (one == two)


def test_a_subject_may_be_any_text() -> None:
    digests = {Keyring([_SECRET]).subject_digest(text) for text in ("", "\ud800", "\0", "é", "x" * 10_000)}
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {32}


def test_S5_a_subject_digest_tells_nothing_without_the_secret() -> None:
    assert Keyring([_SECRET]).subject_digest("42") != Keyring([_OTHER]).subject_digest("42")
    assert b"42" not in Keyring([_SECRET]).subject_digest("42")


def test_T12_no_repr_shows_a_secret_or_a_key() -> None:
    keyring = Keyring([_SECRET, _OTHER])
    keys = keyring.sealing
    for shown in (repr(keyring), repr(keys), f"{keyring}", f"{keys}"):
        assert keys.key_id.hex() in shown
        for secret in (_SECRET, _OTHER):
            assert secret not in shown
        for key in (keys.root, keys.payload, keys.info, keys.subject):
            assert key.hex() not in shown
            assert repr(key)[2:-1] not in shown
