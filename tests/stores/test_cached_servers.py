"""A database with a cache before it, both real servers: what is promised of either holds for the pair."""

from __future__ import annotations

import secrets
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import StoreTimeoutError
from sojourn.stores.cached import CachedStore
from sojourn.stores.memcached import MemcachedStore
from sojourn.stores.sql import SQLStore
from sojourn.stores.valkey import ValkeyStore
from sojourn.testing import new_record
from tests.servers.proxy import Proxy
from tests.stores.asking import refuses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sojourn.record import Record

CLOCK = SystemClock()

#: A busy machine is no fault.
PATIENCE = 20.0
#: Seconds an operation may take where the tests wait for it.
SHORT = 1.0

PAIRS = [
    pytest.param((cache, origin), marks=pytest.mark.asks_for(cache, origin), id=f"{cache} before {origin}")
    for cache, origin in (("memcached", "postgresql"), ("valkey", "mariadb"))
]
URLS = {"postgresql": "postgresql://postgres@", "mariadb": "mysql://root@"}


@dataclass
class Servers:
    """What makes stores on one cache and one table, and the ways there."""

    store: Callable[..., Any]
    to_cache: Proxy
    to_origin: Proxy


@pytest.fixture(params=PAIRS)
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    cache, origin = request.param
    make_cache: Any = MemcachedStore if cache == "memcached" else ValkeyStore
    prefix, table = f"{secrets.token_hex(8)}:", f"session_{secrets.token_hex(8)}"
    with ExitStack() as stack:
        to_cache, to_origin = (
            stack.enter_context(Proxy(request.getfixturevalue(name).port)) for name in request.param
        )

        def store(*, timeout: float = PATIENCE, **options: Any) -> CachedStore:
            made = CachedStore(
                make_cache(to_cache.address, key_prefix=prefix, timeout=timeout),
                SQLStore(
                    f"{URLS[origin]}{to_origin.address}/sessions", table=table, timeout=timeout, **options
                ),
            )
            stack.callback(made.close)
            return made

        store().origin.create_table()  # type: ignore[attr-defined]  # a SQLStore
        yield Servers(store, to_cache, to_origin)


def created(store: CachedStore, **fields: Any) -> Record:
    record = new_record(CLOCK, **fields)
    return record.at(store.create(record))


@pytest.mark.parametrize("value", [b"'; DROP TABLE x; --", b"%s%(a)s?:a$1", b"\x00\r\nset x 0 0 1\r\n"])
def test_S8_whatever_a_session_holds_is_a_parameter_and_no_command(servers: Servers, value: bytes) -> None:
    store = servers.store()
    record = created(store, payload=value, subject=value, info=value)
    assert store.load(record.key) == record  # a copy
    assert servers.store().origin.load(record.key) == record
    record = replace(record, version=store.update(record, record.version))
    assert store.load(record.key) == record
    assert list(store.find_subject(value)) == [record]
    assert store.delete_subject(value) == 1
    assert store.load(record.key) is None


@pytest.mark.parametrize("key", ["", "zz", "0" * 65, "'" * 64, "%s" * 32, "\x00" * 64])
def test_S8_only_digests_are_keys(servers: Servers, key: str) -> None:
    store = servers.store()
    record = created(store)
    refuses(store, key, record)
    assert store.load(record.key) == record


def test_L7_fifty_racing_sign_ins_never_leave_more_sessions_than_the_cap(servers: Servers) -> None:
    """What the database has at any time; a copy of one that the cap ended may be served for a lease more."""
    stores = [servers.store(max_sessions_per_subject=5) for _ in range(2)]  # two processes
    seen: list[int] = []

    def sign_in_often(number: int) -> None:
        store = stores[number % 2]
        for _ in range(5):
            record = created(store)
            store.move(record.key, record.version, new_record(CLOCK, subject=b"hers"))
            seen.append(len(store.find_subject(b"hers")))

    threads = [threading.Thread(target=sign_in_often, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 50
    assert max(seen) <= 5
    assert len(stores[0].find_subject(b"hers")) == 5


def test_F3_a_database_that_does_not_answer_is_not_waited_for_beyond_its_deadline(servers: Servers) -> None:
    lasting, store = servers.store(), servers.store(timeout=SHORT)
    record = created(lasting)
    lasting.touch(record.key, record.idle_deadline + 1)  # its copy is out of date now
    servers.to_origin.fail("blackhole")
    for call in (
        partial(store.load, record.key),
        partial(store.update, record, record.version),
        partial(store.delete, record.key),
    ):
        with pytest.raises(StoreTimeoutError):
            call()
    servers.to_origin.heal()
    assert lasting.load(record.key) is not None


def test_F3_a_cache_that_does_not_answer_is_not_waited_for_beyond_its_deadline(servers: Servers) -> None:
    lasting, store = servers.store(), servers.store(timeout=SHORT)
    record = created(lasting)
    servers.to_cache.fail("blackhole")
    assert store.load(record.key) == record
    record = record.at(store.update(replace(record, payload=b"changed"), record.version))
    assert store.delete(record.key)
    assert store.load(record.key) is None
    servers.to_cache.heal()
