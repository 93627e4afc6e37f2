"""Under asyncio all tasks share one connection to a server: nobody waits for it, or gets another's reply."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.record import Record
from sojourn.stores.memcached import AsyncMemcachedStore, MemcachedStore
from sojourn.stores.valkey import AsyncValkeyStore, ValkeyStore
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.proxy import Proxy

CLOCK = SystemClock()
#: Seconds; a busy machine is no fault.
PATIENCE = 60.0
#: Seconds for answers that will not come.
SHORT = 0.25
TASKS = 100


@pytest.fixture(params=["memcached_proxy", "valkey_proxy"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    found: Proxy = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def store(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[Any]:
    kind = AsyncMemcachedStore if "memcached" in request.node.callspec.params["proxy"] else AsyncValkeyStore
    made = kind(proxy.address, timeout=PATIENCE)
    yield made
    await made.close()


async def created(store: Any, count: int = TASKS) -> list[Record]:
    records = [new_record(CLOCK, payload=b"%d" % number) for number in range(count)]
    for record in records:
        await store.create(record)
    return records


def hers(loaded: object, record: Record) -> bool:
    return isinstance(loaded, Record) and (loaded.key, loaded.payload) == (record.key, record.payload)


async def test_F3_what_tasks_ask_at_once_goes_out_in_one_write_on_one_connection(
    store: Any, proxy: Proxy
) -> None:
    records = await created(store)
    before = proxy.round_trips
    found = await asyncio.gather(*[store.load(record.key) for record in records])
    assert all(map(hers, found, records))
    assert (proxy.round_trips - before, proxy.accepted) == (1, 1)


async def test_F3_tasks_that_come_while_it_is_being_opened_wait_for_the_same_connection(
    store: Any, proxy: Proxy
) -> None:
    assert await asyncio.gather(*[store.load(new_record(CLOCK).key) for _ in range(TASKS)]) == [None] * TASKS
    assert proxy.accepted == 1


async def test_C5_the_reply_to_a_cancelled_call_is_dropped_and_the_connection_kept(
    store: Any, proxy: Proxy
) -> None:
    records = await created(store)
    calls = [asyncio.ensure_future(store.load(record.key)) for record in records]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in found[::2])
    assert all(hers(outcome, record) for outcome, record in zip(found[1::2], records[1::2], strict=True))
    assert hers(await store.load(records[0].key), records[0])
    assert proxy.accepted == 1


async def test_F1_F3_an_answer_that_does_not_come_ends_all_that_wait_and_the_next_call_works(
    store: Any, proxy: Proxy
) -> None:
    records = await created(store)
    proxy.fail("blackhole")
    patient = [asyncio.ensure_future(store.load(record.key)) for record in records[1:]]
    await asyncio.sleep(0)
    store._timeout = SHORT
    with pytest.raises(StoreTimeoutError):
        await store.load(records[0].key)
    outcomes = await asyncio.gather(*patient, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
    store._timeout = PATIENCE
    proxy.heal()
    assert hers(await store.load(records[0].key), records[0])


async def test_F3_a_call_cancelled_while_the_connection_is_being_opened_takes_nobody_with_it(
    store: Any, proxy: Proxy
) -> None:
    first = asyncio.ensure_future(store.load(new_record(CLOCK).key))
    second = asyncio.ensure_future(store.load(new_record(CLOCK).key))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None
    assert first.cancelled()
    assert proxy.accepted == 1


class _Request:
    """What a web framework keeps in a context variable."""


_request: ContextVar[_Request] = ContextVar("_request")


async def test_a_connection_keeps_nothing_of_the_request_that_opened_it(store: Any) -> None:
    async def view() -> weakref.ref[_Request]:
        request = _Request()
        _request.set(request)
        assert await store.load(new_record(CLOCK).key) is None
        return weakref.ref(request)

    seen = await asyncio.create_task(view())
    assert await store.load(new_record(CLOCK).key) is None  # another turn, so that callbacks are over
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("kind", [AsyncMemcachedStore, AsyncValkeyStore])
def test_F3_an_event_loop_that_is_over_leaves_no_connection_behind(
    kind: type, request: pytest.FixtureRequest
) -> None:
    """``asyncio.run``, and with it Django's ``async_to_sync``, makes one for each call."""
    name = kind.__name__.removeprefix("Async").removesuffix("Store").lower()
    proxy: Proxy = request.getfixturevalue(f"{name}_proxy")
    store, record = kind(proxy.address, timeout=PATIENCE), new_record(CLOCK)
    asyncio.run(store.create(record))
    for _ in range(9):
        assert hers(asyncio.run(store.load(record.key)), record)
    assert proxy.accepted == 10
    deadline = time.monotonic() + PATIENCE
    while proxy.connections:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("kind", [AsyncMemcachedStore, AsyncValkeyStore])
async def test_F3_a_store_that_is_forgotten_leaves_no_connection_behind(
    kind: type, request: pytest.FixtureRequest
) -> None:
    name = kind.__name__.removeprefix("Async").removesuffix("Store").lower()
    proxy: Proxy = request.getfixturevalue(f"{name}_proxy")
    store = kind(proxy.address, timeout=PATIENCE)
    assert await store.load(new_record(CLOCK).key) is None
    assert proxy.connections == 1
    del store
    async with asyncio.timeout(PATIENCE):
        while proxy.connections:
            gc.collect()
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", [MemcachedStore, ValkeyStore])
async def test_a_session_larger_than_the_buffers_between_is_sent_and_read_whole(
    kind: type, request: pytest.FixtureRequest
) -> None:
    """So that a send takes several writes, and a reply several reads."""
    proxy: Proxy = request.getfixturevalue(f"{kind.__name__.removesuffix('Store').lower()}_proxy")
    twin_kind = AsyncMemcachedStore if kind is MemcachedStore else AsyncValkeyStore
    size = 900_000 if kind is MemcachedStore else 12_000_000
    store, twin = kind(proxy.address, timeout=PATIENCE), twin_kind(proxy.address, timeout=PATIENCE)
    for number in range(2):
        record = new_record(CLOCK, payload=bytes([number]) * size)
        store.create(record)
        assert hers(store.load(record.key), record)
        assert hers(await twin.load(record.key), record)
        again = new_record(CLOCK, payload=record.payload)
        await twin.create(again)
        assert hers(store.load(again.key), again)
    store.close()
    await twin.close()
