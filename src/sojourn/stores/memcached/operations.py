"""The six operations, written once: what to ask of memcached and what to make of the replies.

As generators that yield an :class:`~sojourn.stores.memcached.protocol.Exchange` and are sent the answer,
``None`` if no connection could stand for its witness; :mod:`~sojourn.stores.memcached.store` and
:mod:`~sojourn.stores.memcached.aio` carry them out.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    PayloadTooLargeError,
    SessionGoneError,
    StoreError,
    StoreUnavailableError,
)
from sojourn.record import Version
from sojourn.stores.memcached import protocol
from sojourn.stores.memcached.item import (
    ForeignItemError,
    Proven,
    decode,
    encode,
    flags_of,
    is_past,
    ttl,
)
from sojourn.stores.memcached.nodes import nodes_of
from sojourn.stores.memcached.protocol import Answer, Exchange, Witness

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record
    from sojourn.stores.memcached.protocol import Reply

__all__ = ["Operations", "Steps"]

T = TypeVar("T")

Steps: TypeAlias = Generator[Exchange, Any, T]

_KEY: Final = re.compile("[0-9a-f]{64}")
_PREFIX: Final = re.compile("[!-~]{0,128}")


class Operations:
    """What :class:`MemcachedStore` and :class:`AsyncMemcachedStore` share: settings and operations."""

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        key_prefix: str = "sojourn:",
        timeout: float = 2.0,
        max_connections: int = 16,
        max_payload: int = 1_000_000,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        if _PREFIX.fullmatch(key_prefix) is None:
            raise ConfigurationError(
                f"key_prefix={key_prefix!r} cannot be part of a memcached key; "
                "give at most 128 visible ASCII characters"
            )
        if timeout <= 0:
            raise ConfigurationError(f"timeout={timeout} leaves no time; give seconds, such as 2.0")
        if max_connections < 1:
            raise ConfigurationError(f"max_connections={max_connections} reaches nobody; give 1 or more")
        if max_payload < 1:
            raise ConfigurationError(f"max_payload={max_payload} has room for nothing; give bytes")
        self.nodes = nodes_of(servers)
        self._prefix = key_prefix.encode()
        self._timeout = timeout
        self._max_connections = max_connections
        self._max_payload = max_payload
        self._tls = tls
        self._clock: Clock = SystemClock() if clock is None else clock
        self._prepare()

    def _prepare(self) -> None:
        """Make what carries the exchanges out."""
        raise NotImplementedError

    def _create(self, record: Record) -> Steps[Version]:
        key = self._key(record.key)
        self._check_size(record)
        version = Version.first()
        value = encode(record, version)
        while True:
            now = self._clock.now()
            flags = flags_of(record.absolute_deadline)
            answer: Answer = yield protocol.add(key, value, ttl=ttl(record.expires_at, now=now), flags=flags)
            [reply] = answer.replies
            if reply.status == b"HD":
                return _proven(version, record, reply, answer.witness)
            if (yield from self._load(record.key)) is not None:
                raise DuplicateKeyError(
                    "a living session has this key already, nothing was written; use a new token"
                )

    def _load(self, key: str) -> Steps[Record | None]:
        """Return the living record, its version proven; bury one that is past its absolute deadline."""
        wire_key = self._key(key)
        answer: Answer = yield protocol.fetch(wire_key)
        [reply] = answer.replies
        if reply.status == b"EN":
            return None
        now = self._clock.now()
        try:
            record = decode(key, reply, answer.witness, now=now)
        except ForeignItemError as error:
            raise StoreUnavailableError(
                "memcached holds something under a session's key that this release did not write; run one "
                "release on all workers, and give applications that share a memcached a key_prefix each"
            ) from error
        if record.absolute_deadline is None or now < record.absolute_deadline:
            return record
        cas = cast("Proven", record.version).cas
        yield protocol.delete_unchanged(wire_key, cas=cas, witness=answer.witness)
        return None

    def _update(self, record: Record, expected_version: Version) -> Steps[Version]:
        key = self._key(record.key)
        self._check_size(record)
        version = expected_version.next()
        value = encode(record, version)
        proof = yield from self._prove(record.key, expected_version)
        while True:
            answer: Answer | None = yield protocol.replace(
                key,
                value,
                ttl=ttl(record.expires_at, now=self._clock.now()),
                flags=flags_of(record.absolute_deadline),
                cas=proof.cas,
                witness=cast("Witness", proof.witness),
            )
            if answer is not None:
                [reply] = answer.replies
                if reply.status == b"HD":
                    return _proven(version, record, reply, answer.witness)
                if reply.status == b"NF":
                    raise _gone()
            proof = yield from self._look(record.key, expected_version)

    def _touch(self, key: str, idle_deadline: int) -> Steps[bool]:
        now = self._clock.now()
        answer: Answer = yield protocol.touch(self._key(key), ttl=ttl(idle_deadline, now=now))
        return _lived(answer, now=now)

    def _move(self, old_key: str, expected_version: Version, record: Record) -> Steps[Version]:
        """Create the new one, delete the old one if it is unchanged, else take the new one back.

        Until this returns nobody else knows the new token, so nobody sees both alive.
        """
        self._check_size(record)
        proof = yield from self._prove(old_key, expected_version)
        version = yield from self._create(record)
        try:
            yield from self._delete_unchanged(old_key, expected_version, proof)
        except StoreError:
            with suppress(StoreError):  # what remains is unreachable, and expires
                yield protocol.delete(self._key(record.key))
            raise
        return version

    def _delete_unchanged(self, old_key: str, expected_version: Version, proof: Proven) -> Steps[None]:
        key = self._key(old_key)
        while True:
            witness = cast("Witness", proof.witness)
            answer: Answer | None = yield protocol.delete_unchanged(key, cas=proof.cas, witness=witness)
            if answer is not None:
                [reply] = answer.replies
                if reply.status == b"HD":
                    return
                if reply.status == b"NF":
                    raise _gone()
            proof = yield from self._look(old_key, expected_version)

    def _delete(self, key: str) -> Steps[bool]:
        answer: Answer = yield protocol.delete(self._key(key))
        return _lived(answer, now=self._clock.now())

    # Parts of them

    def _key(self, key: str) -> bytes:
        if _KEY.fullmatch(key) is None:
            raise ValueError("a key is 64 lower-case hexadecimal digits: the digest of a token")
        return self._prefix + key.encode()

    def _check_size(self, record: Record) -> None:
        size = len(record.payload) + len(record.info)
        if size > self._max_payload:
            raise PayloadTooLargeError(
                f"the session has {size} bytes, memcached may hold {self._max_payload}; "
                "keep less in it, or raise both memcached's -I and max_payload"
            )

    def _prove(self, key: str, version: Version) -> Steps[Proven]:
        """Return ``version`` with its proof: the one it brought, or else after a look at the record."""
        if isinstance(version, Proven):
            deadline = version.absolute_deadline
            if deadline is None or self._clock.now() < deadline:
                return version
        return (yield from self._look(key, version))

    def _look(self, key: str, version: Version) -> Steps[Proven]:
        record = yield from self._load(key)
        if record is None:
            raise _gone()
        if record.version != version:
            raise ConflictError(
                "the session was written by somebody else since; load it and apply the change again"
            )
        return cast("Proven", record.version)


def _proven(version: Version, record: Record, reply: Reply, witness: Witness) -> Version:
    if reply.cas is None:
        return version
    return Proven.of(version.origin, version.counter, reply.cas, record.absolute_deadline, witness)


def _lived(answer: Answer, *, now: int) -> bool:
    before, done = answer.replies
    if done.status != b"HD":
        return False
    return before.flags is None or not is_past(int(before.flags), now=now)


def _gone() -> SessionGoneError:
    return SessionGoneError("the session has ended; nothing was written")
