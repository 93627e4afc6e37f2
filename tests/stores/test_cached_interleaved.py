"""Every order in which the steps of two or three requests reach the cache and the origin of a cached store.

Not only operations are shuffled but what each asks of the two: a refill comes between a sign-out's delete and
its tombstone.  See :mod:`tests.stores.cached_watch` for what is judged.
"""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.clock import SystemClock
from sojourn.stores.cached import copies
from sojourn.stores.memcached import MemcachedStore
from sojourn.stores.memory import MemoryStore
from sojourn.stores.valkey import ValkeyStore
from sojourn.testing import FakeClock, Interleaver, Violation, interleaving, triples
from tests.stores.cached_watch import OnlookingWorld, RememberingStore, WatchedStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.steps import Steps
    from tests.servers.memcached import Memcached
    from tests.servers.valkey import Valkey

#: Of clients that do the same to the store, one.
CLIENTS = ("save", "read", "touch", "renew", "logout", "revoke", "expiry")
PAIRS = tuple(itertools.combinations_with_replacement(CLIENTS, 2))
TRIPLES = tuple(three for three in triples() if set(three) <= {*CLIENTS, "login", "revoke one"})

#: Seconds, and what there is of the copy when the clients set out, ten minutes after the last request.
LEASES = {"no copy": 30.0, "a lapsed copy": 400.0, "a good copy": 3600.0}

SHARES = 2


@pytest.fixture(autouse=True)
def _judged_by_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaving, "World", OnlookingWorld)
    monkeypatch.setattr(copies, "_DIGITS", 16)  # a slot for each key: see WatchedStore


def on_memory(lease: float) -> Interleaver:
    def make(clock: FakeClock) -> WatchedStore:
        cache, origin = MemoryStore(clock=clock), RememberingStore(clock=clock)
        return WatchedStore(cache, origin, clock=clock, lease=lease)

    return Interleaver(make)


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("copy", LEASES)
def test_C1_C3_no_order_of_two_requests_lets_a_load_answer_with_what_is_past(
    copy: str, share: int, record_property: Callable[[str, object], None]
) -> None:
    interleaver = on_memory(LEASES[copy])
    schedules = sum(interleaver.play(*clients) for clients in PAIRS[share::SHARES])
    record_property("schedules", [f"cached, cache and origin, {copy} at first", "pairs", schedules])


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("copy", LEASES)
def test_C1_C3_no_order_of_three_requests_lets_a_load_answer_with_what_is_past(
    copy: str, share: int, record_property: Callable[[str, object], None]
) -> None:
    interleaver = on_memory(LEASES[copy])
    schedules = sum(interleaver.play(*clients, sample=10) for clients in TRIPLES[share::SHARES])
    record_property("schedules", [f"cached, cache and origin, {copy} at first", "triples", schedules])


class OnServer:
    """A cached store on a server that stays, as keys are random."""

    def __init__(self, make_cache: Callable[[FakeClock], Any], lease: float) -> None:
        def make(clock: FakeClock) -> WatchedStore:
            clock.advance_to(max(clock.now(), SystemClock().now()))  # a server may be told instants
            return WatchedStore(make_cache(clock), RememberingStore(clock=clock), clock=clock, lease=lease)

        self.interleaver = Interleaver(make, empty=lambda _: None)

    def play(self) -> int:
        schedules = sum(self.interleaver.play(*clients, sample=20) for clients in PAIRS)
        schedules += sum(self.interleaver.play(*clients, sample=2) for clients in TRIPLES)
        self.interleaver.close()
        return schedules


@pytest.mark.parametrize("copy", LEASES)
def test_C1_C3_no_order_of_requests_on_memcached_lets_a_load_answer_with_what_is_past(
    copy: str, memcached: Memcached, record_property: Callable[[str, object], None]
) -> None:
    def cache(clock: FakeClock) -> MemcachedStore:
        return MemcachedStore(memcached.address, timeout=20.0, clock=clock)

    schedules = OnServer(cache, LEASES[copy]).play()
    record_property("schedules", ["cached, memcached and origin", "pairs and triples", schedules])


@pytest.mark.parametrize("copy", LEASES)
def test_C1_C3_no_order_of_requests_on_valkey_lets_a_load_answer_with_what_is_past(
    copy: str, valkey: Valkey, record_property: Callable[[str, object], None]
) -> None:
    def cache(clock: FakeClock) -> ValkeyStore:
        prefix = f"{secrets.token_hex(8)}:"
        return ValkeyStore(valkey.address, key_prefix=prefix, timeout=20.0, clock=clock)

    schedules = OnServer(cache, LEASES[copy]).play()
    record_property("schedules", ["cached, Valkey and origin", "pairs and triples", schedules])


# What is broken on purpose is found


def _do_nothing(self: Any, key: str) -> Steps[None]:
    yield from ()


def _put_unseen(self: Any, record: Any, seen: Any, asked_at: int) -> Steps[bool]:
    found = yield from self.look(record.key)
    seen.token = found.token
    return (yield from _wins(self, record, seen, asked_at))


def _put_without_looking_again(
    self: Any, record: Any, seen: Any, asked_at: int, *, over: Any = None
) -> Steps[None]:
    seen.token = getattr(over, "token", None)
    yield from self.wins(record, seen, asked_at)


_wins = copies.Copies.wins


@pytest.mark.parametrize(
    ("method", "broken", "clients", "copy"),
    [
        ("bury", _do_nothing, ("read", "logout"), "a good copy"),
        ("wins", _put_unseen, ("read", "logout"), "no copy"),
        ("wins", _put_unseen, ("read", "save"), "a lapsed copy"),
        ("put", _put_without_looking_again, ("touch", "read", "save"), "a good copy"),
        ("outdate", _do_nothing, ("read", "touch"), "a good copy"),
    ],
)
def test_C3_a_store_that_leaves_out_a_rule_is_found(
    method: str, broken: Any, clients: tuple[str, ...], copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies.Copies, method, broken)
    with pytest.raises(Violation, match="past"):
        on_memory(LEASES[copy]).play(*clients)
