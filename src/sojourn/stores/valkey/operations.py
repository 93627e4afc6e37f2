"""The operations, written once: what to ask of the server and what to make of the replies.

As generators that yield a :class:`~sojourn.stores.valkey.routing.Request` and are sent the reply;
:mod:`~sojourn.stores.valkey.store` and :mod:`~sojourn.stores.valkey.aio` carry them out.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NoReturn

from redis.exceptions import NoScriptError

from sojourn.clock import SystemClock
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    SessionGoneError,
    StoreError,
    StoreUnavailableError,
)
from sojourn.record import Version
from sojourn.stores.valkey import scripts
from sojourn.stores.valkey.item import ForeignItemError, decode, encode, instant_bytes, version_bytes
from sojourn.stores.valkey.nodes import Access, Primary, nodes_of
from sojourn.stores.valkey.routing import ClusterRoutes, OnePlace

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record
    from sojourn.stores.valkey.item import Item
    from sojourn.stores.valkey.nodes import Node
    from sojourn.stores.valkey.routing import Routes, Steps, Word
    from sojourn.stores.valkey.scripts import Script

__all__ = ["Operations"]

_KEY: Final = re.compile("[0-9a-f]{64}")
_PREFIX: Final = re.compile("[0-9A-Za-z_.:/-]{1,64}")
_OLDEST_FIRST = attrgetter("created_at", "key")


class Operations:
    """What :class:`ValkeyStore` and :class:`AsyncValkeyStore` share: settings and operations."""

    def __init__(
        self,
        servers: str | Sequence[str] = "127.0.0.1:6379",
        *,
        cluster: bool = False,
        sentinel: str | None = None,
        username: str | None = None,
        password: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        database: int = 0,
        tls: ssl.SSLContext | None = None,
        key_prefix: str = "sojourn:",
        timeout: float = 2.0,
        max_connections: int = 16,
        max_sessions_per_subject: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        if _PREFIX.fullmatch(key_prefix) is None:
            raise ConfigurationError(
                f"key_prefix={key_prefix!r} cannot begin our keys; "
                "give 1 to 64 letters, digits and characters of '_.:/-'"
            )
        if timeout <= 0:
            raise ConfigurationError(f"timeout={timeout} leaves no time; give seconds, such as 2.0")
        if max_connections < 1:
            raise ConfigurationError(f"max_connections={max_connections} reaches nobody; give 1 or more")
        if max_sessions_per_subject is not None and max_sessions_per_subject < 1:
            raise ConfigurationError(
                f"max_sessions_per_subject={max_sessions_per_subject} admits nobody; give 1 or more or None"
            )
        if database < 0:
            raise ConfigurationError(f"database={database} is no database; give 0 or more")
        if cluster and database:
            raise ConfigurationError(f"database={database}: a Cluster has database 0 only; leave it out")
        if username is not None and password is None:
            raise ConfigurationError("username without password; give both, or password alone")
        self.nodes = nodes_of(servers, default_port=26379 if sentinel is not None else 6379)
        self._routes = _routes(self.nodes, cluster=cluster, sentinel=sentinel)
        self._is_cluster = cluster
        self._begin_keys_with(key_prefix)
        self._access = Access(
            username=username,
            password=password,
            database=database,
            sentinels=() if sentinel is None else self.nodes,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
            tls=tls,
        )
        self._timeout = timeout
        self._max_connections = max_connections
        self._cap = max_sessions_per_subject
        self._clock: Clock = SystemClock() if clock is None else clock

    def _begin_keys_with(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._index_prefix = self._prefix + b"of:"
        #: What scripts get first: see :mod:`sojourn.stores.valkey.scripts`.
        self._names = (b"" if self._is_cluster else self._index_prefix, self._prefix)

    # Store

    def _create(self, record: Record, *, moved_from: str | None = None) -> Steps[Version]:
        key, version = self._key(record.key), Version.first()
        if record.subject is None or self._is_cluster:
            until = yield from self._index_first(record)
            value = encode(record, version, indexed_until=until, moved_from=moved_from)
            answer = yield from self._routes.ask(key, "SET", key, value, "PXAT", _expiry(record), "NX")
            if answer != b"OK":
                _refuse(scripts.TAKEN if answer is None else answer)
        else:
            words = self._put(record, version)
            answer = yield from self._script(scripts.CREATE, [key], *words)
            if answer != scripts.DONE:
                _refuse(answer)
        yield from self._trim_to_cap(record)
        return version

    def _load(self, key: str) -> Steps[Record | None]:
        item = yield from self._item(key)
        return None if item is None else item.record

    def _item(self, key: str) -> Steps[Item | None]:
        name = self._key(key)
        value = yield from self._routes.ask(name, "GET", name)
        return None if value is None else _decoded(key, value)

    def _update(self, record: Record, expected_version: Version) -> Steps[Version]:
        if self._is_cluster:
            return (yield from self._update_apart(record, expected_version))
        version = expected_version.next()
        answer = yield from self._script(
            scripts.UPDATE,
            [self._key(record.key)],
            *self._put(record, version),
            version_bytes(expected_version),
        )
        if answer != scripts.DONE:
            _refuse(answer)
        return version

    def _put(self, record: Record, version: Version) -> tuple[Word, ...]:
        """Return what scripts are told of a record that they are to put, where one node has all keys."""
        index = b"" if record.subject is None else self._index(record.subject)
        return encode(record, version), _expiry(record), record.key, self._cap or 0, index

    def _update_apart(self, record: Record, expected_version: Version) -> Steps[Version]:
        version = expected_version.next()
        # A sign-in, as a rule, so that there is no entry yet.
        is_first = record.subject is not None and expected_version.counter == 1
        until = (yield from self._index_first(record)) if is_first else 0
        answer = yield from self._write_apart(record, version, expected_version, until)
        if answer == scripts.INDEX_FIRST:
            is_first = True
            until = yield from self._index_first(record)
            answer = yield from self._write_apart(record, version, expected_version, until)
        if answer != scripts.DONE:
            _refuse(answer)
        if is_first:
            yield from self._trim_to_cap(record)
        return version

    def _write_apart(
        self, record: Record, version: Version, expected_version: Version, until: int
    ) -> Steps[object]:
        value = encode(record, version, indexed_until=until)
        return (
            yield from self._script(
                scripts.UPDATE_APART,
                [self._key(record.key)],
                value,
                _expiry(record),
                version_bytes(expected_version),
            )
        )

    def _touch(self, key: str, idle_deadline: int) -> Steps[bool]:
        name = self._key(key)
        words = (instant_bytes(idle_deadline), idle_deadline, key)
        answer = yield from self._script(scripts.TOUCH, [name], *words, b"")
        if self._is_cluster and isinstance(answer, bytes):  # whose it is
            until = self._lasting(idle_deadline)
            yield from self._enter(answer, key, until)
            answer = yield from self._script(scripts.TOUCH, [name], *words, instant_bytes(until))
        return _lived(answer)

    def _move(self, old_key: str, expected_version: Version, record: Record) -> Steps[Version]:
        if self._is_cluster:
            return (yield from self._move_between_nodes(old_key, expected_version, record))
        version = Version.first()
        answer = yield from self._script(
            scripts.MOVE,
            [self._key(old_key), self._key(record.key)],
            *self._put(record, version),
            version_bytes(expected_version),
            old_key,
        )
        if answer != scripts.DONE:
            _refuse(answer)
        return version

    def _move_between_nodes(self, old_key: str, expected_version: Version, record: Record) -> Steps[Version]:
        """Create the new session, end the old one if nobody has changed it, else undo.

        Cut off in between, it leaves a session whose token nobody has; it ends with the others of its subject
        and else by itself.
        """
        version = yield from self._create(record, moved_from=old_key)
        try:
            answer = yield from self._end(old_key, expected_version=expected_version)
        except StoreError:
            yield from self._undo(record, version)
            raise
        if answer != scripts.DONE:
            yield from self._undo(record, version)
            _refuse(answer)
        return version

    def _undo(self, record: Record, version: Version) -> Steps[None]:
        try:
            yield from self._end(record.key, expected_version=version)
        except StoreUnavailableError:
            return  # nobody has its token, and why it was to be undone is the error to raise

    def _delete(self, key: str) -> Steps[bool]:
        return _lived((yield from self._end(key)))

    def _end(
        self, key: str, *, expected_version: Version | None = None, subject: bytes = b""
    ) -> Steps[object]:
        version = b"" if expected_version is None else version_bytes(expected_version)
        return (yield from self._script(scripts.DELETE, [self._key(key)], key, version, subject))

    # SubjectIndex

    def _find_subject(self, subject: bytes) -> Steps[list[Record]]:
        items = yield from self._items_of(subject)
        keys = {item.record.key for item in items}
        return [item.record for item in items if item.moved_from not in keys]

    def _items_of(self, subject: bytes) -> Steps[list[Item]]:
        """Return the subject's living sessions, oldest first, moves under way under both keys."""
        found = yield from (self._look_around(subject) if self._is_cluster else self._look(subject))
        hers = [item for item in found if item.record.subject == subject]
        return sorted(hers, key=lambda item: _OLDEST_FIRST(item.record))

    def _look(self, subject: bytes) -> Steps[list[Item]]:
        answer = yield from self._script(scripts.FIND, [self._index(subject)])
        words = _strings(answer)
        pairs = zip(words[::2], words[1::2], strict=True)
        return [_decoded(member.decode(), value) for member, value in pairs]

    def _look_around(self, subject: bytes) -> Steps[list[Item]]:
        """Fetch each session from its node.

        Where one is gone it may have moved on meanwhile, so look again until nothing has changed.
        """
        before: tuple[list[bytes], list[str]] | None = None
        while True:
            members = _strings((yield from self._script(scripts.FIND, [self._index(subject)])))
            found: list[Item] = []
            for member in members:
                item = yield from self._item(member.decode())
                if item is not None:
                    found.append(item)
            seen = sorted(members), sorted(item.record.key for item in found)
            if len(found) == len(members) or seen == before:
                return found
            before = seen

    def _delete_subject(self, subject: bytes, except_key: str | None) -> Steps[int]:
        if not self._is_cluster:
            answer = yield from self._script(scripts.DELETE_SUBJECT, [self._index(subject)], except_key or "")
            if not isinstance(answer, int):
                raise _nonsense()
            return answer
        ended: set[str] = set()
        moves: dict[str, str] = {}
        while True:
            # Again until there is nothing left: a session may be renewed between the look and its end.
            items = [item for item in (yield from self._items_of(subject)) if item.record.key != except_key]
            if not items:
                return len(ended - {new for new, old in moves.items() if old in ended})
            for item in items:
                if (yield from self._end(item.record.key, subject=subject)) == scripts.DONE:
                    ended.add(item.record.key)
                    if item.moved_from is not None:
                        moves[item.record.key] = item.moved_from

    # The index on a Cluster, where it lies on another node than the session.  It is written first: an entry
    # without a session is harmless, a session without an entry could not be found.

    def _index_first(self, record: Record) -> Steps[int]:
        """Enter the record into its subject's index; return until when the entry lasts.

        That is twice as long as the record, so that most of the writes after it need not come here.
        """
        if not self._is_cluster or record.subject is None:
            return 0
        until = self._lasting(record.expires_at)
        yield from self._enter(record.subject, record.key, until)
        return until

    def _enter(self, subject: bytes, key: str, until: int) -> Steps[None]:
        yield from self._script(scripts.INDEX, [self._index(subject)], key, until)

    def _lasting(self, expires_at: int) -> int:
        return expires_at + max(0, expires_at - self._clock.now())

    def _trim_to_cap(self, record: Record) -> Steps[None]:
        """On a Cluster, end the subject's oldest sessions beyond the cap.

        Each sign-in looks after it has written, so the one that looks last sees all of them.
        """
        if not self._is_cluster or record.subject is None or self._cap is None:
            return
        others = [item.record for item in (yield from self._items_of(record.subject))]
        others = [other for other in others if other.key != record.key]
        for other in others[: max(0, len(others) + 1 - self._cap)]:
            yield from self._end(other.key, subject=record.subject)

    # On the wire

    def _script(self, script: Script, keys: Sequence[bytes], *words: Word) -> Steps[object]:
        """Run a script by its digest; a server that does not know it yet is sent the text."""
        rest = (len(keys), *keys, *self._names, *words)
        try:
            return (yield from self._routes.ask(keys[0], "EVALSHA", script.digest, *rest))
        except NoScriptError:  # nothing was done
            return (yield from self._routes.ask(keys[0], "EVAL", script.text, *rest))

    def _key(self, key: str) -> bytes:
        if _KEY.fullmatch(key) is None:
            raise ValueError("a session's key is 64 lower-case hexadecimal digits; this one is not")
        return self._prefix + key.encode()

    def _index(self, subject: bytes) -> bytes:
        return self._index_prefix + subject.hex().encode()


def _routes(nodes: Sequence[Node], *, cluster: bool, sentinel: str | None) -> Routes:
    if cluster and sentinel is not None:
        raise ConfigurationError("cluster and sentinel exclude each other; give one of them")
    if cluster or sentinel is not None:
        if any(node.path is not None for node in nodes):
            raise ConfigurationError("a Cluster and Sentinels are reached by host and port, not by a socket")
        return ClusterRoutes(nodes) if sentinel is None else OnePlace(Primary(sentinel))
    if len(nodes) > 1:
        raise ConfigurationError(
            f"{len(nodes)} servers given; say cluster=True if they form a Cluster, sentinel='name' if they "
            "are Sentinels, else give one"
        )
    return OnePlace(nodes[0])


def _strings(reply: object) -> list[bytes]:
    if not isinstance(reply, list):
        raise _nonsense()
    return reply


def _expiry(record: Record) -> int:
    """Return when the server is to let it go; it takes no instant before 1."""
    return max(1, record.expires_at)


def _decoded(key: str, value: object) -> Item:
    try:
        return decode(key, value if isinstance(value, bytes) else b"")
    except ForeignItemError as error:
        raise StoreUnavailableError(
            "what is kept for this session was not written by this store: choose a key_prefix that no other "
            "application uses"
        ) from error


def _lived(answer: object) -> bool:
    if answer not in (scripts.DONE, scripts.GONE):
        _refuse(answer)
    return answer == scripts.DONE


def _refuse(answer: object) -> NoReturn:
    if answer == scripts.GONE:
        raise SessionGoneError("the session has ended; nothing was written")
    if answer == scripts.TAKEN:
        raise DuplicateKeyError("a living session has this key already, nothing was written; use a new token")
    if answer == scripts.CONFLICT:
        raise ConflictError(
            "the session was written by somebody else since; load it and apply the change again"
        )
    raise _nonsense()


def _nonsense() -> StoreUnavailableError:
    return StoreUnavailableError(
        "what came is no answer to what was asked; check that the server is a Redis or Valkey"
    )
