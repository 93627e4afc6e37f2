"""The interleaving driver: it plays every order, tells the one that failed and plays it again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from sojourn.steps import Pause, run, run_async
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import AsyncInterleaver, Interleaver, Schedule, Violation, pairs, triples
from sojourn.testing.boundaries import leaves
from sojourn.testing.clients import CLIENTS, STARTS
from tests.testing.broken.changing import UpdateCreates, UpdateIgnoresTheVersion
from tests.testing.broken.moving import MoveLeavesBoth
from tests.testing.reference import FullAsyncReference, FullReferenceStore, ReferenceStore

if TYPE_CHECKING:
    from sojourn.record import Record, Version
    from sojourn.steps import Steps
    from sojourn.testing import FakeClock


def memory(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


# --- every order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "schedules"),
    [
        (("read", "purge"), 2),
        (("read", "read"), 1),  # the other order is the same under each other's names
        (("read", "read", "read"), 1),
        (("save", "read"), 3),
        (("save", "purge"), 3),
        (("save", "logout"), 6),
        (("save", "read", "purge"), 12),
        # 3 orders up to names; where both load first, the second loads and saves once more, alone.
        (("save", "save"), 3),
    ],
)
def test_every_order_is_played_once(clients: tuple[str, ...], schedules: int) -> None:
    assert Interleaver(memory).play(*clients) == schedules


def test_a_pause_counts_while_somebody_is_going_to_move_the_clock() -> None:
    """A save then has three turns, load, work and update, and the expiry has one."""
    assert Interleaver(memory).play("save", "expiry") == 4


def test_no_schedule_is_played_twice() -> None:
    interleaver, seen = Interleaver(memory), set[tuple[int, ...]]()
    turns: list[int] = []
    while True:
        choices = run(interleaver._play_one(("save", "renew", "logout"), "signed in", turns))
        played = tuple(turn for turn, _ in choices)
        assert played not in seen
        seen.add(played)
        while choices and choices[-1][0] == choices[-1][1][-1]:
            choices.pop()
        if not choices:
            break
        turn, ready = choices.pop()
        turns = [*(turn for turn, _ in choices), ready[ready.index(turn) + 1]]
    assert len(seen) == interleaver.play("save", "renew", "logout")


def test_a_sample_is_chosen_by_chance_and_always_the_same() -> None:
    with pytest.raises(Violation) as every:
        Interleaver(UpdateIgnoresTheVersion).play("save", "nested save", "login")
    chosen = set[str]()
    for _ in range(3):
        with pytest.raises(Violation) as sampled:
            Interleaver(UpdateIgnoresTheVersion).play("save", "nested save", "login", sample=50)
        chosen.add(str(sampled.value.schedule))
    assert len(chosen) == 1
    assert chosen != {str(every.value.schedule)}
    assert Interleaver(memory).play("save", "logout", sample=4) == 4


def test_pairs_and_triples_are_all_that_were_asked_for() -> None:
    count = len(CLIENTS)
    assert len(list(pairs())) == count * (count + 1) // 2
    decisive = {"logout", "revoke", "revoke one", "renew"}
    assert all(decisive & set(triple) for triple in triples())
    left = count - len(decisive)
    assert len(list(triples())) == (
        count * (count + 1) * (count + 2) // 6 - left * (left + 1) * (left + 2) // 6
    )
    assert not any("revoke" in pair for pair in pairs(without=("revoke", "revoke one")))
    assert not any("revoke one" in triple for triple in triples(without=("revoke", "revoke one")))


# --- told and played again --------------------------------------------------------------------------------


def test_a_violation_tells_the_schedule_in_words_and_how_to_play_it_again() -> None:
    with pytest.raises(Violation) as caught:
        Interleaver(UpdateCreates).play("save", "logout")
    [story] = caught.value.__notes__
    assert story.splitlines() == [
        "0 save    load            a session",
        "1 logout  load            a session",
        "1 logout  delete          signed out",
        "0 save    update          acknowledged",
        "to play it again: replay('signed in: save, logout: 0 1 1 0')",
    ]
    assert caught.value.kind == "revived"


def test_a_schedule_that_failed_fails_again_when_replayed() -> None:
    interleaver = Interleaver(MoveLeavesBoth)
    with pytest.raises(Violation) as caught:
        interleaver.play("renew", "read")
    schedule = caught.value.schedule
    assert isinstance(schedule, Schedule)
    for again in (schedule, str(schedule)):
        with pytest.raises(Violation) as replayed:
            interleaver.replay(again)
        assert str(replayed.value) == str(caught.value)
        assert replayed.value.schedule == schedule
    Interleaver(memory).replay(schedule)


@pytest.mark.parametrize("turns", [(), (0, 1, 1, 0)])
@pytest.mark.parametrize("start", STARTS)
def test_a_schedule_and_its_text_are_the_same(start: str, turns: tuple[int, ...]) -> None:
    schedule = Schedule(start, ("login as another", "save"), turns)
    assert Schedule.parse(str(schedule)) == schedule


def test_an_error_that_is_no_violation_tells_its_schedule_too() -> None:
    class Breaks(FullReferenceStore):
        def touch(self, key: str, idle_deadline: int) -> bool:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        Interleaver(Breaks).play("read", "touch")
    assert "replay('signed in: read, touch: 0 1 1')" in caught.value.__notes__[0]


def test_each_schedule_has_a_store_of_its_own_which_is_closed() -> None:
    made: list[ReferenceStore] = []
    closed: list[ReferenceStore] = []

    class Counted(FullReferenceStore):
        def __init__(self, clock: FakeClock) -> None:
            super().__init__(clock)
            made.append(self)

        def close(self) -> None:
            closed.append(self)

    count = Interleaver(Counted).play("save", "renew")
    assert len(made) == count
    assert made == closed


def test_a_store_that_can_be_emptied_serves_all_schedules() -> None:
    made: list[ReferenceStore] = []
    closed: list[ReferenceStore] = []
    found: list[int] = []

    class Counted(FullReferenceStore):
        def __init__(self, clock: FakeClock) -> None:
            super().__init__(clock)
            made.append(self)

        def close(self) -> None:
            closed.append(self)

    def empty(store: ReferenceStore) -> None:
        found.append(len(store.records))
        store.records.clear()

    interleaver = Interleaver(Counted, empty=empty)
    count = interleaver.play("save", "expiry") + interleaver.play("save", "renew")
    assert len(made) == 1
    assert len(found) == count - 1
    assert not closed
    interleaver.close()
    interleaver.close()
    assert closed == made


# --- asyncio ----------------------------------------------------------------------------------------------


async def test_an_asynchronous_store_is_played_in_the_same_orders() -> None:
    async def make_store(clock: FakeClock) -> AsyncMemoryStore:
        return AsyncMemoryStore(MemoryStore(clock=clock))

    awaited, plain = AsyncInterleaver(make_store), Interleaver(memory)
    for clients in (("save", "renew", "logout"), ("touch", "expiry", "purge")):
        assert await awaited.play(*clients) == plain.play(*clients)


async def test_a_broken_asynchronous_store_is_found_in_the_same_schedule() -> None:
    async def make_store(clock: FakeClock) -> FullAsyncReference:
        return FullAsyncReference(UpdateIgnoresTheVersion(clock))

    with pytest.raises(Violation) as plain:
        Interleaver(UpdateIgnoresTheVersion).play("save", "nested save")
    interleaver = AsyncInterleaver(make_store)
    with pytest.raises(Violation) as awaited:
        await interleaver.play("save", "nested save")
    assert awaited.value.schedule == plain.value.schedule
    with pytest.raises(Violation):
        await interleaver.replay(str(awaited.value.schedule))


async def test_an_asynchronous_store_can_be_emptied_too() -> None:
    made: list[FullAsyncReference] = []

    async def make_store(clock: FakeClock) -> FullAsyncReference:
        made.append(FullAsyncReference(FullReferenceStore(clock)))
        return made[-1]

    async def empty(store: FullAsyncReference) -> None:
        store.store.records.clear()

    interleaver = AsyncInterleaver(make_store, empty=empty)
    await interleaver.play("save", "logout")
    await interleaver.close()
    assert len(made) == 1


# --- composed stores --------------------------------------------------------------------------------------


class Cached(FullReferenceStore):
    """A cache in front of an origin that fills up when it is read, and no tombstones."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.cache = ReferenceStore(clock)
        self.origin = FullReferenceStore(clock)

    def load_steps(self, key: str) -> Steps[Record | None]:
        record: Record | None = yield self.cache.load, key
        if record is None:
            record = yield self.origin.load, key
            if record is not None:
                yield self.cache.records.__setitem__, key, record
        return record

    def delete_steps(self, key: str) -> Steps[bool]:
        lived: bool = yield self.origin.delete, key
        yield self.cache.delete, key
        return lived

    def load(self, key: str) -> Record | None:
        return run(self.load_steps(key))

    def delete(self, key: str) -> bool:
        return run(self.delete_steps(key))

    def create(self, record: Record) -> Version:
        return self.origin.create(record)


def test_the_operations_inside_a_composed_store_are_where_others_come_in_between() -> None:
    """A reader that has loaded from the origin fills the cache after the session was ended."""
    with pytest.raises(Violation) as caught:
        Interleaver(Cached).play("read", "logout")
    assert caught.value.kind == "revived"
    names = [line.split()[2] for line in caught.value.__notes__[0].splitlines()[:-1]]
    assert names.count("load") > 2


def test_a_composed_store_is_gone_into_through_partials_and_its_errors_come_back() -> None:
    asked: list[tuple[str, int]] = []

    class Composed:
        def outer_steps(self, first: int, *, second: int) -> Steps[int]:
            found: int = yield self.inner, first
            yield Pause(0)
            try:
                yield self.fails, second
            except ValueError:
                return found
            return 0

        def outer(self, first: int, *, second: int) -> int:
            raise AssertionError("its steps are taken instead")

        def inner(self, number: int) -> int:
            asked.append(("inner", number))
            return 10 * number

        def fails(self, number: int) -> None:
            asked.append(("fails", number))
            raise ValueError

    def steps() -> Steps[int]:
        answer: int = yield partial(Composed().outer, second=3), 4
        return answer

    assert run(leaves(steps())) == 40
    assert asked == [("inner", 4), ("fails", 3)]


async def test_steps_of_an_asynchronous_composed_store_are_awaited() -> None:
    class Composed:
        def load_steps(self, key: str) -> Steps[str]:
            found: str = yield self.fetch, key
            return found + "!"

        async def load(self, key: str) -> str:
            raise AssertionError("its steps are taken instead")

        async def fetch(self, key: str) -> str:
            return key

    composed = Composed()

    def steps() -> Steps[str]:
        found: str = yield composed.load, "here"
        return found

    assert await run_async(leaves(steps())) == "here!"
