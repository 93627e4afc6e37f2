"""Every order in which the round trips of two requests can reach memcached.

Not only operations are shuffled but what each of them sends: a renewal's two writes, the second look after a
lost compare-and-set.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.stores.memcached import MemcachedStore
from sojourn.testing.clients import CLIENTS
from sojourn.testing.interleaving import Interleaver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.record import Record, Version
    from sojourn.steps import Steps as StoreSteps
    from sojourn.testing import FakeClock
    from tests.servers.memcached import Memcached

#: Those who need what memcached cannot do, or another clock than the server's.
_LEFT_OUT = ("expiry", "purge", "revoke", "revoke one")


class InSteps(MemcachedStore):
    """Offers the round trips of each operation one by one."""

    def _steps(self, operation: Any) -> StoreSteps[Any]:
        answer: Any = None
        while True:
            try:
                exchange = operation.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = yield self.round_trip, exchange

    def round_trip(self, exchange: Any) -> Any:
        def steps() -> Any:
            return (yield exchange)

        return self._run(steps())

    def create_steps(self, record: Record) -> StoreSteps[Any]:
        return self._steps(self._create(record))

    def load_steps(self, key: str) -> StoreSteps[Any]:
        return self._steps(self._load(key))

    def update_steps(self, record: Record, expected_version: Version) -> StoreSteps[Any]:
        return self._steps(self._update(record, expected_version))

    def touch_steps(self, key: str, idle_deadline: int) -> StoreSteps[Any]:
        return self._steps(self._touch(key, idle_deadline))

    def move_steps(self, old_key: str, expected_version: Version, record: Record) -> StoreSteps[Any]:
        return self._steps(self._move(old_key, expected_version, record))

    def delete_steps(self, key: str) -> StoreSteps[Any]:
        return self._steps(self._delete(key))


@pytest.fixture
def interleaver(memcached_nodes: list[Memcached]) -> Iterator[Interleaver]:
    addresses = [node.address for node in memcached_nodes]

    def make_store(clock: FakeClock) -> InSteps:
        return InSteps(addresses, timeout=20.0, clock=clock)

    # Keys are random, so nothing has to be emptied between schedules.
    interleaver = Interleaver(make_store, empty=lambda store: None)
    yield interleaver
    interleaver.close()


@pytest.mark.parametrize("start", ["signed in", "anonymous"])
def test_C1_C2_no_order_of_two_requests_revives_or_loses_anything(
    interleaver: Interleaver, start: str
) -> None:
    names = [name for name in CLIENTS if name not in _LEFT_OUT]
    played = sum(
        interleaver.play(*pair, start=start) for pair in itertools.combinations_with_replacement(names, 2)
    )
    assert played > 300


@pytest.mark.parametrize("decisive", ["logout", "renew"])
def test_C1_T3_no_order_of_three_requests_revives_or_loses_anything(
    interleaver: Interleaver, decisive: str
) -> None:
    assert interleaver.play("save", "touch", decisive) > 100
