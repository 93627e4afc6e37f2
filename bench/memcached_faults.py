"""``python -m bench.memcached_faults``: what clients make of servers and networks that fail.

Starts memcacheds of its own.  Each question is one a session store has to answer; why is explained in
``docs/explanation/memcached.md``.  ``pip install pymemcache meta-memcache`` for the clients beside the store.
"""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from meta_memcache import CacheClient, ServerAddress
from meta_memcache.connection.pool import ConnectionPool
from pymemcache.client.base import PooledClient

from sojourn.clock import SystemClock
from sojourn.stores.memcached import MemcachedStore
from sojourn.testing.records import new_record
from tests.servers.certificates import self_signed
from tests.servers.memcached import Memcached
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds: the timeout each client is given.
_TIMEOUT = 0.25
#: The most connections each client is given, and the threads that want one.
_CONNECTIONS = 3
_THREADS = 20
_HOST = "127.0.0.1"


class _Store:
    """Sojourn's store as a client."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        host = _HOST if tls is None else "localhost"
        self._store = MemcachedStore(
            f"{host}:{port}", timeout=_TIMEOUT, max_connections=_CONNECTIONS, tls=tls, max_payload=1 << 30
        )

    def set(self, key: str, value: bytes) -> object:
        self._store.delete(key)
        return self._store.create(new_record(SystemClock(), key=key, payload=value))

    def get(self, key: str) -> object:
        return self._store.load(key)


class _MetaMemcache:
    """meta-memcache, with sockets of one's own: its documentation's way to TLS."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        def connect() -> socket.socket:
            connected = socket.create_connection((_HOST, port), timeout=_TIMEOUT)
            return connected if tls is None else tls.wrap_socket(connected, server_hostname="localhost")

        def pool(address: ServerAddress) -> ConnectionPool:
            return ConnectionPool(str(address), connect, 0, _CONNECTIONS)

        self._client: Any = CacheClient.cache_client_from_servers(
            servers=[ServerAddress(_HOST, port)], connection_pool_factory_fn=pool
        )

    def set(self, key: str, value: bytes) -> object:
        return self._client.set(key, value, ttl=600)

    def get(self, key: str) -> object:
        return self._client.get(key)


class _Pymemcache:
    """pymemcache."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._client: Any = PooledClient(
            (_HOST if tls is None else "localhost", port),
            timeout=_TIMEOUT,
            connect_timeout=_TIMEOUT,
            max_pool_size=_CONNECTIONS,
            default_noreply=False,
            tls_context=tls,
        )

    def set(self, key: str, value: bytes) -> object:
        return self._client.set(key, value, expire=600)

    def get(self, key: str) -> object:
        return self._client.get(key)


_CLIENTS = {"Sojourn's store": _Store, "meta-memcache": _MetaMemcache, "pymemcache": _Pymemcache}

_key = secrets.token_hex(32)


def _outcome(call: Callable[[], object]) -> str:
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - that is what is asked
        cause = "" if error.__cause__ is None else f" from {error.__cause__!r}"
        return f"{type(error).__name__}: {error}{cause}"
    return "a value" if answer else f"{answer!r}"


def _slow_reply(make: Callable[..., Any]) -> str:
    with Memcached() as server, Proxy(server.port) as proxy:
        client = make(proxy.port)
        client.set(_key, bytes(100))
        proxy.fail("slow")
        begun = time.monotonic()
        outcome = _outcome(lambda: client.get(_key))
        return f"after {time.monotonic() - begun:.1f} s {outcome}"


def _many_threads(make: Callable[..., Any]) -> str:
    with Memcached() as server, Proxy(server.port) as proxy:
        client = make(proxy.port)
        client.set(_key, b"1")
        proxy.fail("blackhole")

        def ask() -> None:
            with suppress(Exception):
                client.get(_key)

        threads = [threading.Thread(target=ask) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        time.sleep(_TIMEOUT / 2)
        at_once = proxy.accepted
        for thread in threads:
            thread.join()
        return f"{at_once} connections"


def _restart(make: Callable[..., Any]) -> str:
    with Memcached() as server:
        client = make(server.port)
        client.set(_key, b"1")
        server.kill()
        server.start()
        return _outcome(lambda: client.get(_key))


def _too_large(make: Callable[..., Any]) -> str:
    with Memcached() as server:
        return _outcome(lambda: make(server.port).set(_key, secrets.token_bytes(2_000_000)))


def _tls(make: Callable[..., Any]) -> str:
    with TemporaryDirectory() as folder:
        certificate, private = self_signed(Path(folder))
        with Memcached("-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={private}") as server:
            client = make(server.port, ssl.create_default_context(cafile=str(certificate)))
            return _outcome(lambda: client.set(_key, b"1"))


QUESTIONS: dict[str, Callable[[Callable[..., Any]], str]] = {
    f"a reply that drips in, timeout {_TIMEOUT} s": _slow_reply,
    f"{_THREADS} threads at once, at most {_CONNECTIONS} connections, no answers": _many_threads,
    "the first read after the server was restarted": _restart,
    "a value larger than the server takes": _too_large,
    "a write over TLS": _tls,
}


def main() -> None:
    """Ask and print."""
    logging.disable(logging.CRITICAL)
    for question, ask in QUESTIONS.items():
        sys.stdout.write(f"{question}\n")
        for name, make in _CLIENTS.items():
            sys.stdout.write(f"  {name:<16} {ask(make)}\n")


if __name__ == "__main__":
    main()
