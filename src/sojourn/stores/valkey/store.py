"""The Valkey store for threads."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from sojourn.errors import StoreError
from sojourn.stores.valkey.connections import Deadline, pool_to
from sojourn.stores.valkey.faults import all_busy, closed, translated
from sojourn.stores.valkey.operations import Operations

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from redis.connection import ConnectionPool

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
        self._deadline = Deadline(self._clock)
        self._closed = False
        self._pools: dict[Place, ConnectionPool] = {}
        self._lock = threading.Lock()
        self._room = _room_for(max_connections)

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
            pool.disconnect(inuse_connections=False)  # the others when they have come back

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
        self._deadline.at = self._clock.monotonic() + self._timeout
        room = self._room
        try:
            room.get(timeout=self._timeout)
        except Empty:
            raise all_busy(self._max_connections, self._timeout) from None
        try:
            request = next(steps)
            while True:
                try:
                    reply = self._exchange(request)
                except (StoreError, ResponseError) as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            room.put(None)

    def _exchange(self, request: Request) -> Any:
        """Return the reply.  Raises ``ResponseError`` if it is a refusal, else ``StoreUnavailableError``."""
        pool, deadline = self._pool(request.place), self._deadline
        until, is_sent = deadline.at, False
        if request.share < 1:
            deadline.at -= deadline.left(1 - request.share)
        try:
            connection = pool.get_connection()
            try:
                is_sent = True
                if request.asking:
                    connection.send_command("ASKING")
                    connection.read_response()
                connection.send_command(*request.words)
                return connection.read_response()
            except ResponseError:
                raise
            except BaseException:  # the rest of a reply may still come: nobody else is to get it
                connection.disconnect()
                raise
            finally:
                pool.release(connection)
        except ResponseError:
            raise
        except Exception as error:  # redis-py's parsers raise anything when they are fed garbage
            raise translated(error, request.place, self._timeout, is_sent=is_sent) from error
        finally:
            deadline.at = until

    def _pool(self, place: Place) -> ConnectionPool:
        pool = self._pools.get(place)
        if pool is not None:
            return pool
        with self._lock:
            if self._closed:
                raise closed()
            return self._pools.setdefault(place, pool_to(place, self._access, self._deadline))

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent: redis-py closes the child's copies, not what they lead to."""
        self._pools = {}
        self._lock = threading.Lock()
        self._room = _room_for(self._max_connections)


def _room_for(most: int) -> SimpleQueue[None]:
    """Return a place for each of so many connections: a semaphore that costs a tenth of Python's own."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(most):
        room.put(None)
    return room
