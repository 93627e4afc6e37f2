"""What is in a cookie ↔ a sealed or signed envelope.

Sealed, so that nobody but the server reads it::

    format 1 octet │ key id 8 │ salt 16 │ commitment 20 │ nonce 12 │ AES-256-GCM ciphertext and tag

Signed, so that everybody reads it and nobody changes it::

    format 1 octet │ key id 8 │ keyed BLAKE2b of all the rest 32 │ content

Keys come from the server secret, bound to purpose, namespace and cookie name (:mod:`sojourn.keyring`), and
for sealing from the salt, too.  A salt, and so a key, is drawn by a process at its first cookie (its forks
go on with it) and after each 2²⁰: nonces are random, and NIST SP 800-38D (8.3) allows 2³² under one key.  To
make a cipher takes several times as long as to use it, hence not one for each cookie.  GCM does not commit to
its key; the commitment does, and is compared in constant time before anything is decrypted.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sojourn.errors import DecodeError
from sojourn.frozen import frozen
from sojourn.keyring import KEY_ID_LENGTH
from sojourn.sealing import UnknownSecretError

if TYPE_CHECKING:
    from sojourn.keyring import Keyring, SecretKeys

__all__ = ["Envelopes"]

_SEALED: Final = b"\x02"
_SIGNED: Final = b"\x03"
_KEY_ID_ENDS: Final = 1 + KEY_ID_LENGTH
_SALT: Final = 16
_HEAD_ENDS: Final = _KEY_ID_ENDS + _SALT
_NONCE_AT: Final = _HEAD_ENDS + 20
_BODY_AT: Final = _NONCE_AT + 12
_SIGNED_AT: Final = _KEY_ID_ENDS + 32

#: Cookies sealed under one salt.  Threads may overrun it by a few.
_MOST_UNDER_ONE: Final = 1 << 20
#: Ciphers of other processes that are kept.
_MOST_KEPT: Final = 256

_NOT_LISTED: Final = "the cookie was sealed under a server secret that is not listed, or is damaged"
_REFUSED: Final = "the cookie is damaged or was not written with this server secret"


@frozen(kw_only=False)
class _Cipher:
    """The cipher of one salt."""

    #: Format, key id and salt.
    head: bytes
    commitment: bytes
    aead: AESGCM

    @classmethod
    def of(cls, head: bytes, key: bytes) -> _Cipher:
        derived = blake2b(head[_KEY_ID_ENDS:], key=key, person=b"sojourn cookie").digest()
        return cls(head, derived[32:52], AESGCM(derived[:32]))


class Envelopes:
    """Seals and signs under the first secret of ``keyring``, opens under all.  Many threads may use it."""

    __slots__ = ("_kept", "_keyring", "_left", "_own")

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._own = self._new()
        self._left = 0  # so that processes forked before their first cookie have keys of their own
        self._kept: dict[bytes, _Cipher] = {}

    def _new(self) -> _Cipher:
        keys = self._keyring.sealing
        return _Cipher.of(_SEALED + keys.key_id + secrets.token_bytes(_SALT), keys.cookie)

    def seal(self, plain: bytes) -> bytes:
        """Return the envelope of ``plain``, which a listed secret opens."""
        if self._left <= 0:
            self._own, self._left = self._new(), _MOST_UNDER_ONE
        self._left -= 1
        own, nonce = self._own, secrets.token_bytes(12)
        return own.head + own.commitment + nonce + own.aead.encrypt(nonce, plain, own.head)

    def sign(self, plain: bytes) -> bytes:
        """Return ``plain``, which everybody can read, with a signature that only a listed secret makes."""
        keys = self._keyring.sealing
        header = _SIGNED + keys.key_id
        return header + _signature(keys, header, plain) + plain

    def open(self, envelope: bytes) -> bytes:
        """Return what was sealed or signed; each kind has keys of its own, so neither passes as the other.

        Raises ``DecodeError``, the same one whatever was changed; ``UnknownSecretError`` if the secret is not
        listed.
        """
        form = envelope[:1]
        if form not in {_SEALED, _SIGNED}:
            raise DecodeError(_REFUSED)
        keys = self._keyring.get(envelope[1:_KEY_ID_ENDS])
        if keys is None:
            raise UnknownSecretError(_NOT_LISTED)
        if form == _SEALED:
            return self._unsealed(envelope, keys)
        plain = envelope[_SIGNED_AT:]
        signature = _signature(keys, envelope[:_KEY_ID_ENDS], plain)
        if not compare_digest(envelope[_KEY_ID_ENDS:_SIGNED_AT], signature):
            raise DecodeError(_REFUSED)
        return plain

    def _unsealed(self, envelope: bytes, keys: SecretKeys) -> bytes:
        head = envelope[:_HEAD_ENDS]
        cipher = self._kept.get(head)
        is_kept = cipher is not None
        if cipher is None:
            cipher = _Cipher.of(head, keys.cookie)
        if not compare_digest(envelope[_HEAD_ENDS:_NONCE_AT], cipher.commitment):
            raise DecodeError(_REFUSED)
        try:
            plain = cipher.aead.decrypt(envelope[_NONCE_AT:_BODY_AT], envelope[_BODY_AT:], head)
        except (InvalidTag, ValueError):  # ValueError: a nonce cut short
            raise DecodeError(_REFUSED) from None
        if not is_kept:
            self._keep(cipher)
        return plain

    def _keep(self, cipher: _Cipher) -> None:
        if len(self._kept) >= _MOST_KEPT:
            self._kept = {}
        self._kept[cipher.head] = cipher


def _signature(keys: SecretKeys, header: bytes, plain: bytes) -> bytes:
    return blake2b(header + plain, key=keys.signature, digest_size=32, person=b"sojourn sign").digest()
