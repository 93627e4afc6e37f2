"""Server secrets, and the keys derived from them.

Every key is bound to one purpose, one namespace and one cookie name by keyed BLAKE2b, so that what was
sealed for one thing never opens as another (checklist S5).  The first secret seals; all of them open.
To rotate, add the new secret at the end everywhere, then move it to the front, then drop the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from sojourn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KEY_ID_LENGTH", "MIN_SECRET_BYTES", "Keyring", "SecretKeys"]

#: Octets of a key id.
KEY_ID_LENGTH = 8
#: A server secret has at least this many octets (checklist S9).
MIN_SECRET_BYTES = 32

_FEWEST_DIFFERENT = 8

_KNOWN_SAMPLES = ("django-insecure-", "change-me", "changeme", "your-secret-key")


@dataclass(frozen=True, repr=False)
class SecretKeys:
    """The keys derived from one server secret.  ``repr`` shows only the key id."""

    root: bytes

    @cached_property
    def key_id(self) -> bytes:
        """Eight octets that name the secret in an envelope without telling it."""
        return self._derive(b"key id", size=KEY_ID_LENGTH)

    @cached_property
    def payload(self) -> bytes:
        """32-octet key from which, with a token, each record's encryption key is derived."""
        return self._derive(b"payload")

    @cached_property
    def info(self) -> bytes:
        """32-octet key from which each listing entry's encryption key is derived."""
        return self._derive(b"info")

    @cached_property
    def cookie(self) -> bytes:
        """32-octet key from which each sealed cookie's encryption key is derived."""
        return self._derive(b"cookie")

    @cached_property
    def signature(self) -> bytes:
        """32-octet key that signs readable cookies."""
        return self._derive(b"signed cookie")

    @cached_property
    def subject(self) -> bytes:
        """32-octet key of the subject digest."""
        return self._derive(b"subject")

    def _derive(self, purpose: bytes, size: int = 32) -> bytes:
        return blake2b(key=self.root, person=purpose, digest_size=size).digest()

    def __repr__(self) -> str:
        """Show the key id only."""
        return f"<SecretKeys {self.key_id.hex()}>"


class Keyring:
    """Server secrets in force: ``secrets[0]`` seals, all open.  Text is taken as its UTF-8.

    ``namespace`` and ``cookie_name`` separate sites that share a store or a secret.  Raises
    ``ConfigurationError`` for an empty list and, unless ``strict`` is false (Django's own SECRET_KEY is
    taken as Django takes it), for a secret shorter than 32 octets or known from a sample.
    """

    def __init__(
        self,
        secrets: Sequence[str | bytes],
        *,
        namespace: str = "",
        cookie_name: str = "",
        strict: bool = True,
    ) -> None:
        if isinstance(secrets, str | bytes):
            raise ConfigurationError("server secrets come in a list: write [secret], not secret")
        if not secrets or not all(secrets):
            raise ConfigurationError(
                "no server secret: give at least one secret of 32 or more random octets, "
                "for example from secrets.token_urlsafe(48)"
            )
        context = b"".join(
            len(part).to_bytes(4, "big") + part for part in (namespace.encode(), cookie_name.encode())
        )
        keys: list[SecretKeys] = []
        for position, secret in enumerate(secrets):
            octets = secret.encode() if isinstance(secret, str) else secret
            if strict:
                _refuse_weak(octets, position)
            digest = blake2b(octets, person=b"sojourn secret").digest()
            keys.append(SecretKeys(blake2b(context, key=digest, person=b"sojourn root").digest()))
        #: What separates this site from others that share its store.
        self.namespace = namespace
        #: The keys new envelopes are sealed with.
        self.sealing = keys[0]
        self._by_id = {secret_keys.key_id: secret_keys for secret_keys in keys}

    def get(self, key_id: bytes) -> SecretKeys | None:
        """Return the keys named ``key_id``, or ``None`` if that secret is not listed (any more)."""
        return self._by_id.get(key_id)

    def subject_digest(self, subject: str) -> bytes:
        """Return the 32-octet digest under which new records are indexed for ``subject``."""
        return _digest(self.sealing.subject, subject)

    def subject_digests(self, subject: str) -> list[bytes]:
        """Return the digests of ``subject`` under every listed secret, the sealing one first."""
        return [_digest(keys.subject, subject) for keys in self._by_id.values()]

    def __repr__(self) -> str:
        """Show how many secrets there are."""
        return f"<Keyring of {len(self._by_id)}, sealing with {self.sealing.key_id.hex()}>"


@lru_cache(maxsize=1024)  # the same user's sessions are written one after the other
def _digest(key: bytes, subject: str) -> bytes:
    return blake2b(subject.encode("utf-8", "surrogatepass"), key=key, digest_size=32).digest()


def _refuse_weak(secret: bytes, position: int) -> None:
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"server secret number {position + 1} has {len(secret)} octets, at least {MIN_SECRET_BYTES} are "
            "needed: use secrets.token_urlsafe(48)"
        )
    if (
        secret.decode("utf-8", "replace").lower().startswith(_KNOWN_SAMPLES)
        or len(set(secret)) < _FEWEST_DIFFERENT
    ):
        raise ConfigurationError(
            f"server secret number {position + 1} is a known sample or has almost no variety: "
            "use secrets.token_urlsafe(48)"
        )
