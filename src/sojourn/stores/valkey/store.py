"""The Valkey store for threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from sojourn.errors import StoreError
from sojourn.stores.lines import AllBusyError, Pool, forget_after_fork
from sojourn.stores.valkey.connections import Deadline, TimedConnection, maker
from sojourn.stores.valkey.faults import all_busy, closed, translated
from sojourn.stores.valkey.operations import Operations

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from sojourn.clock import Clock
    from sojourn.record import Record, Version
    from sojourn.stores.valkey.nodes import Place
    from sojourn.stores.valkey.routing import Request, Steps

__all__ = ["ValkeyStore"]

T = TypeVar("T")


class ValkeyStore(Operations):
    """A :class:`~sojourn.store.Store` in Valkey or Redis (6.2 or later), with an index of subjects.

    ``servers``: one address, ``host:port`` or ``unix:/path``; with ``cluster=True`` some nodes of a Cluster,
    with ``sentinel`` (the name of the primary) the Sentinels, as a list or as a string with commas.

    ``username``, ``password``, ``database``, ``tls``: how to speak with the servers.
    ``sentinel_username``, ``sentinel_password``: likewise with the Sentinels.

    ``key_prefix`` begins each key, so that several applications can share a server.

    ``timeout``: seconds an operation may take in all, connecting and several round trips included.

    ``max_connections``: the most connections to each server; they stay open.

    ``max_sessions_per_subject`` caps how many sessions a subject may have; the one being written stays, the
    oldest ``created_at`` of the others end.  ``None``: no cap.  On a Cluster there may be more while sign-ins
    are under way, not once they have returned.

    The server's clock decides what has expired.  Each operation is one script or command, so atomic and one
    round trip; what a Cluster does differently is said at each.

    Thread-safe.  Safe to fork: the child opens connections of its own.
    """

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
        super().__init__(
            servers,
            cluster=cluster,
            sentinel=sentinel,
            username=username,
            password=password,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
            database=database,
            tls=tls,
            key_prefix=key_prefix,
            timeout=timeout,
            max_connections=max_connections,
            max_sessions_per_subject=max_sessions_per_subject,
            clock=clock,
        )
        self._deadline = Deadline(self._clock.monotonic)
        self._closed = False
        self._pools: dict[Place, Pool[TimedConnection]] = {}
        self._lock = threading.Lock()
        forget_after_fork(self)

    # Store

    def create(self, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.create`.

        On a Cluster a record with a subject is two round trips: its index first.
        """
        return self._run(self._create(record))

    def load(self, key: str) -> Record | None:
        """See :meth:`sojourn.store.Store.load`."""
        return self._run(self._load(key))

    def update(self, record: Record, expected_version: Version) -> Version:
        """See :meth:`sojourn.store.Store.update`.

        On a Cluster, one that brings a subject or outlives its index entry goes to the index first.
        """
        return self._run(self._update(record, expected_version))

    def touch(self, key: str, idle_deadline: int) -> bool:
        """See :meth:`sojourn.store.Store.touch`.

        On a Cluster, one that outlives its index entry goes to the index first.
        """
        return self._run(self._touch(key, idle_deadline))

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:
        """See :meth:`sojourn.store.Store.move`.

        On a Cluster it creates the new session and then ends the old one, or undoes the first; nobody has the
        new token before it returns.
        """
        return self._run(self._move(old_key, expected_version, record))

    def delete(self, key: str) -> bool:
        """See :meth:`sojourn.store.Store.delete`."""
        return self._run(self._delete(key))

    def close(self) -> None:
        """Close the connections; later operations raise ``StoreUnavailableError``."""
        with self._lock:
            self._closed = True
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    # SubjectIndex

    def find_subject(self, subject: bytes) -> Sequence[Record]:
        """See :meth:`sojourn.store.SubjectIndex.find_subject`.

        On a Cluster one round trip more for each session.
        """
        return self._run(self._find_subject(subject))

    def delete_subject(self, subject: bytes, *, except_key: str | None = None) -> int:
        """See :meth:`sojourn.store.SubjectIndex.delete_subject`.

        On a Cluster one after the other, until none is left.
        """
        return self._run(self._delete_subject(subject, except_key))

    def _run(self, steps: Steps[T]) -> T:
        until = self._clock.monotonic() + self._timeout
        try:
            request = next(steps)
            while True:
                try:
                    reply = self._exchange(request, until)
                except (StoreError, ResponseError) as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _exchange(self, request: Request, until: float) -> Any:
        """Return the reply.  Raises ``ResponseError`` if it is a refusal, else ``StoreUnavailableError``."""
        place, share = request.place, request.share
        if share < 1:
            now = self._clock.monotonic()
            until = now + (until - now) * share
        pool = self._pools.get(place) or self._pool(place)
        is_sent = False
        try:
            connection = pool.borrow(until)
            is_sent = True
            try:
                reply = connection.ask(request, until)
            except ResponseError:
                pool.give_back(connection)
                raise
            except BaseException:
                pool.drop(connection)
                raise
        except ResponseError:
            raise
        except AllBusyError as error:
            raise all_busy(self._max_connections, self._timeout) from error
        except Exception as error:  # whatever a parser raises when it is fed garbage
            raise translated(error, place, self._timeout, is_sent=is_sent) from error
        pool.give_back(connection)
        return reply

    def _pool(self, place: Place) -> Pool[TimedConnection]:
        with self._lock:
            if self._closed:
                raise closed()
            pool = self._pools.get(place)
            if pool is None:
                connect = maker(place, self._access, self._deadline)
                pool = self._pools[place] = Pool(connect, self._max_connections, self._clock.monotonic)
            return pool

    def after_fork_in_child(self) -> None:
        """Begin anew; the pools close the child's copies of their connections themselves."""
        self._pools = {}
        self._lock = threading.Lock()
