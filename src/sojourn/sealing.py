"""Payload ↔ sealed envelope.

An envelope is::

    format 1 octet │ key id 8 │ salt 24 │ commitment 20 │ AES-256-GCM ciphertext and tag

For each write a fresh salt is drawn, and keyed BLAKE2b over salt and token gives the encryption key, the
nonce and the commitment: no key is used twice, so no nonce can repeat under one.  A payload's keys need the
server secret *and* the token: the store and the server secret together reveal nothing, the store and a
cookie together forge nothing.  GCM does not commit to its key, hence the commitment, which is compared in
constant time before anything is decrypted.

Authenticated with the payload is what :func:`authenticated` returns.  Not authenticated, by design: the
idle deadline, which moves without re-sealing, and the version, which the store assigns; whoever can write
to the store can move the first and can put a whole former record back.

Cookies are sealed elsewhere (:mod:`sojourn.carriers.envelopes`), under keys of a purpose of their own.
"""

from __future__ import annotations

import secrets
import struct
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sojourn.errors import DecodeError
from sojourn.keyring import KEY_ID_LENGTH

if TYPE_CHECKING:
    from sojourn.keyring import Keyring, SecretKeys

__all__ = [
    "OVERHEAD",
    "Sealed",
    "Sealing",
    "UnknownSecretError",
    "Unsealed",
    "authenticated",
]

_FORMAT = b"\x01"
_SALT_AT = 1 + KEY_ID_LENGTH
_COMMITMENT_AT = _SALT_AT + 24
_BODY_AT = _COMMITMENT_AT + 20
_TAG = 16
#: Octets an envelope is longer than what is in it.
OVERHEAD = _BODY_AT + _TAG

#: created_at, absolute deadline, octets of the subject; the numbers that follow where there is none.
_FIELDS = struct.Struct(">qqi")
_NO_DEADLINE = -1
_NO_SUBJECT = -1


class UnknownSecretError(DecodeError):
    """The envelope names a server secret that is not listed (any more)."""


def authenticated(
    key: str, created_at: int, absolute_deadline: int | None, subject: bytes | None, info: bytes
) -> bytes:
    """Return the fields of a record that are authenticated with its payload, as unambiguous bytes.

    ``info`` is sealed first, with itself left out (``b""``).
    """
    deadline = _NO_DEADLINE if absolute_deadline is None else absolute_deadline
    if subject is None:
        return key.encode("ascii") + _FIELDS.pack(created_at, deadline, _NO_SUBJECT) + info
    return key.encode("ascii") + _FIELDS.pack(created_at, deadline, len(subject)) + subject + info


class Sealing(Protocol):
    """How payload and info are protected.  ``context`` comes from :meth:`context`.

    Opening raises ``DecodeError``, the same one whatever was changed; ``UnknownSecretError`` if the
    secret it was sealed under is not listed.
    """

    def context(
        self, key: str, created_at: int, absolute_deadline: int | None, subject: bytes | None, info: bytes, /
    ) -> bytes:
        """Return what of a record is authenticated: see :func:`authenticated`."""
        ...

    def seal(self, payload: bytes, token: str, context: bytes) -> bytes:
        """Return the envelope of ``payload``, which only ``token`` and a listed secret open."""
        ...

    def open(self, envelope: bytes, token: str, context: bytes) -> bytes:
        """Return the payload in ``envelope``."""
        ...

    def seal_info(self, info: bytes, context: bytes) -> bytes:
        """Return the envelope of ``info``, which a listed secret opens without the token."""
        ...

    def open_info(self, envelope: bytes, context: bytes) -> bytes:
        """Return the info in ``envelope``."""
        ...


class Unsealed:
    """No protection, for stores in the process's own memory, which holds everything in clear anyway."""

    __slots__ = ()

    @staticmethod
    def context(*_: object) -> bytes:
        """Return nothing."""
        return b""

    def seal(self, payload: bytes, token: str, context: bytes) -> bytes:  # noqa: ARG002 - see Sealing
        """Return ``payload`` as it is."""
        return payload

    def open(self, envelope: bytes, token: str, context: bytes) -> bytes:  # noqa: ARG002 - see Sealing
        """Return ``envelope`` as it is."""
        return envelope

    def seal_info(self, info: bytes, context: bytes) -> bytes:  # noqa: ARG002 - see Sealing
        """Return ``info`` as it is."""
        return info

    def open_info(self, envelope: bytes, context: bytes) -> bytes:  # noqa: ARG002 - see Sealing
        """Return ``envelope`` as it is."""
        return envelope


class Sealed:
    """AES-256-GCM under keys from ``keyring``, as the module describes."""

    __slots__ = ("_keyring",)

    context = staticmethod(authenticated)

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, payload: bytes, token: str, context: bytes) -> bytes:
        """See :meth:`Sealing.seal`."""
        keys = self._keyring.sealing
        return _seal(payload, _FORMAT + keys.key_id, keys.payload, token.encode(), context)

    def open(self, envelope: bytes, token: str, context: bytes) -> bytes:
        """See :meth:`Sealing.open`."""
        return _open(envelope, self._keys_of(envelope).payload, token.encode(), context)

    def seal_info(self, info: bytes, context: bytes) -> bytes:
        """See :meth:`Sealing.seal_info`."""
        keys = self._keyring.sealing
        return _seal(info, _FORMAT + keys.key_id, keys.info, b"", context)

    def open_info(self, envelope: bytes, context: bytes) -> bytes:
        """See :meth:`Sealing.open_info`."""
        return _open(envelope, self._keys_of(envelope).info, b"", context)

    def _keys_of(self, envelope: bytes) -> SecretKeys:
        if len(envelope) < OVERHEAD or envelope[:1] != _FORMAT:
            raise DecodeError(_REFUSED)
        keys = self._keyring.get(envelope[1:_SALT_AT])
        if keys is None:
            raise UnknownSecretError(_NOT_LISTED)
        return keys


_NOT_LISTED = "the record was sealed under a server secret that is not listed, or is damaged"
_REFUSED = "the record is damaged or was not written with this server secret"


def _derive(key: bytes, salt: bytes, token: bytes) -> bytes:
    """Return 64 octets: the encryption key (32), the nonce (12) and the commitment (20)."""
    keyed = _keyed(key).copy()
    keyed.update(salt + token)
    return keyed.digest()


@lru_cache(maxsize=64)  # two for each server secret
def _keyed(key: bytes) -> blake2b:
    return blake2b(key=key, person=b"sojourn seal")


def _seal(plain: bytes, header: bytes, key: bytes, token: bytes, context: bytes) -> bytes:
    salt = secrets.token_bytes(24)
    derived = _derive(key, salt, token)
    sealed = AESGCM(derived[:32]).encrypt(derived[32:44], plain, header + context)
    return header + salt + derived[44:] + sealed


def _open(envelope: bytes, key: bytes, token: bytes, context: bytes) -> bytes:
    derived = _derive(key, envelope[_SALT_AT:_COMMITMENT_AT], token)
    if not compare_digest(derived[44:], envelope[_COMMITMENT_AT:_BODY_AT]):
        raise DecodeError(_REFUSED)
    try:
        return AESGCM(derived[:32]).decrypt(
            derived[32:44], envelope[_BODY_AT:], envelope[:_SALT_AT] + context
        )
    except InvalidTag:
        raise DecodeError(_REFUSED) from None
