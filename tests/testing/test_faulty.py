"""The store that counts, and fails when told to."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import pytest

from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.record import Version
from sojourn.store import AsyncPurge, AsyncScan, AsyncSubjectIndex, Purge, Scan, SubjectIndex
from sojourn.testing import AsyncFaultyStore, Delay, Fail, FakeClock, FaultyStore, Meanwhile, new_record
from tests.testing.reference import (
    AsyncReference,
    FullAsyncReference,
    FullReferenceStore,
    ReferencePurge,
    ReferenceScan,
    ReferenceStore,
    ReferenceSubjectIndex,
)

CAPABILITIES = (ReferenceSubjectIndex, ReferencePurge, ReferenceScan)


def test_every_operation_is_passed_on_and_counted() -> None:
    clock = FakeClock()
    store: Any = FaultyStore(FullReferenceStore(clock))
    record, renewed = new_record(clock, subject=b"s"), new_record(clock, subject=b"s")
    version = store.create(record)
    version = store.update(record, version)
    assert store.touch(record.key, record.idle_deadline)
    version = store.move(record.key, version, renewed)
    assert store.load(renewed.key).version == version
    assert store.find_subject(b"s") == store.scan(after="", limit=5) == [store.inner.load(renewed.key)]
    assert store.delete_subject(b"s", except_key=renewed.key) == 0
    assert store.purge(limit=1) == 0
    assert store.delete(renewed.key)
    store.close()
    assert [call.name for call in store.calls] == [
        *("create", "update", "touch", "move", "load", "find_subject", "scan", "delete_subject"),
        *("purge", "delete"),
    ]
    assert store.calls[0].args == (record,)
    assert store.calls[6].kwargs == {"after": "", "limit": 5}


def test_counts_compare_with_a_plain_dictionary_and_can_be_forgotten() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()))
    store.load("a")
    store.load("b")
    store.delete("a")
    assert store.counts == {"load": 2, "delete": 1}
    store.forget()
    assert store.counts == {}


def test_T12_the_calls_show_no_key() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()))
    key = new_record(FakeClock()).key
    store.load(key)
    assert key not in repr(store.calls)


@pytest.mark.parametrize("number", range(4))
def test_it_has_exactly_the_capabilities_of_the_wrapped_store(number: int) -> None:
    for bases in itertools.combinations(CAPABILITIES, number):
        inner = type("Inner", bases or (ReferenceStore,), {})(FakeClock())
        for wrapped in (FaultyStore(inner), FaultyStore(FaultyStore(inner))):
            for capability in (SubjectIndex, Purge, Scan):
                assert isinstance(wrapped, capability) == isinstance(inner, capability)
            assert isinstance(wrapped, FaultyStore)
            assert type(wrapped).__name__ == "FaultyStore"


def test_a_failure_before_leaves_the_operation_undone() -> None:
    clock = FakeClock()
    store = FaultyStore(ReferenceStore(clock), Fail("create"))
    record = new_record(clock)
    with pytest.raises(StoreUnavailableError, match="not applied"):
        store.create(record)
    assert store.inner.load(record.key) is None
    store.create(record)
    assert store.counts == {"create": 2}


def test_a_failure_after_has_applied_the_operation() -> None:
    clock = FakeClock()
    store = FaultyStore(ReferenceStore(clock), Fail("create", after=True, error=StoreTimeoutError))
    record = new_record(clock)
    with pytest.raises(StoreTimeoutError, match="answer lost"):
        store.create(record)
    assert store.inner.load(record.key) is not None


def test_an_outage_lasts_until_it_is_healed() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()))
    store.plan(Fail("*", times=None))
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            store.load("a")
    store.heal()
    assert store.load("a") is None


def test_a_failure_can_let_the_first_calls_through() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()), Fail("*", skip=2, times=2))
    outcomes = []
    for _ in range(6):
        try:
            store.load("a")
            outcomes.append("answered")
        except StoreUnavailableError:
            outcomes.append("failed")
    assert outcomes == ["answered", "answered", "failed", "failed", "answered", "answered"]


def test_only_the_named_operation_fails() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()), Fail("update"))
    assert store.load("a") is None
    assert store.delete("a") is False
    with pytest.raises(StoreUnavailableError):
        store.update(new_record(store.inner.clock), Version.first())  # type: ignore[attr-defined]


def test_a_capability_fails_like_any_operation() -> None:
    store: Any = FaultyStore(FullReferenceStore(FakeClock()), Fail("purge"))
    with pytest.raises(StoreUnavailableError):
        store.purge()
    assert store.purge() == 0


def test_an_unknown_operation_is_refused_in_a_plan() -> None:
    with pytest.raises(ValueError, match="no such operation: 'save'"):
        Fail("save")  # type: ignore[arg-type]


def test_an_operation_can_be_made_slow() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()), Delay("load", seconds=0.05))
    start = time.perf_counter()
    store.load("a")
    assert time.perf_counter() - start >= 0.05


def test_somebody_else_can_get_in_between() -> None:
    clock = FakeClock()
    inner = ReferenceStore(clock)
    record = new_record(clock)
    store = FaultyStore(inner, Meanwhile("load", lambda: inner.create(record)))
    store.plan(Meanwhile("load", lambda: inner.delete(record.key), after=True))
    assert store.load(record.key) is not None
    assert store.load(record.key) is None


def test_threads_can_be_made_to_meet_at_an_operation() -> None:
    store = FaultyStore(ReferenceStore(FakeClock()))
    store.plan(Meanwhile("load", threading.Barrier(3, timeout=10).wait, times=3))
    threads = [threading.Thread(target=store.load, args=("a",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts == {"load": 3}


def test_the_asynchronous_store_counts_and_fails_alike() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        inner = FullAsyncReference(FullReferenceStore(clock))
        record = new_record(clock)
        store: Any = AsyncFaultyStore(inner, Fail("load", skip=1), Fail("purge", after=True))
        assert await store.load("a") is None
        with pytest.raises(StoreUnavailableError):
            await store.load("a")
        with pytest.raises(StoreUnavailableError):
            await store.purge()
        assert await store.purge(limit=3) == 0
        store.plan(Meanwhile("delete", lambda: inner.create(record)))
        store.plan(Delay("delete", seconds=0.01, after=True))
        assert await store.delete(record.key) is True
        await store.close()
        assert store.counts == {"load": 2, "purge": 2, "delete": 1}

    asyncio.run(scenario())


def test_the_asynchronous_store_has_exactly_the_capabilities_of_the_wrapped_one() -> None:
    for inner in (AsyncReference, FullAsyncReference):
        store = inner(FullReferenceStore(FakeClock()))
        for capability in (AsyncSubjectIndex, AsyncPurge, AsyncScan):
            assert isinstance(AsyncFaultyStore(store), capability) == isinstance(store, capability)
