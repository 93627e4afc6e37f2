"""Every order in which the requests of two or three clients can reach a store.

The manager's logic is a generator of store operations, so no threads are needed: each client is one, and a
schedule says whose operation runs next.  :class:`Interleaver` plays all schedules, each on sessions of its
own, and holds every answer against :mod:`sojourn.testing.model`::

    interleaver = Interleaver(lambda clock: MyStore(clock=clock))
    interleaver.play("save", "logout")              # returns how many schedules there are
    for clients in (*pairs(), *triples()):
        interleaver.play(*clients)

The first :class:`~sojourn.testing.model.Violation` ends it.  Its notes tell the story and the line that plays
this one schedule again, ``interleaver.replay("signed in: save, logout: 0 1 1 0")``.

A client waits where it is about to ask the store something.  A store composed of others is gone into if it
offers the steps of an operation (``load_steps`` beside ``load``): then others may come in between the
operations of the stores inside it.  A ``Pause`` takes no time.  Others get their turn before the next
operation anyway, so it counts only while somebody is still going to move the clock, which is all that the
code between two operations can see of them.

Clients do not queue for one session, as threads of one process do: they are processes of their own.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any, Final

from sojourn.steps import run, run_async
from sojourn.testing.boundaries import leaves
from sojourn.testing.clients import CLIENTS
from sojourn.testing.clock import FakeClock
from sojourn.testing.game import Game, Schedule
from sojourn.testing.model import Violation
from sojourn.testing.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from sojourn.steps import Steps
    from sojourn.store import AsyncStore, Store

__all__ = ["AsyncInterleaver", "Interleaver", "Schedule", "pairs", "triples"]

#: A triple is played if one of these is in it.
_DECISIVE: Final = ("logout", "revoke", "revoke one", "renew")


def pairs(*, without: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Go through all pairs of clients, each with itself too.  ``without``: what the store cannot do."""
    clients = [name for name in CLIENTS if name not in without]
    return itertools.combinations_with_replacement(clients, 2)


def triples(*, without: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Go through all triples of clients in which one signs out, revokes or renews."""
    clients = [name for name in CLIENTS if name not in without]
    for triple in itertools.combinations_with_replacement(clients, 3):
        if any(name in _DECISIVE for name in triple):
            yield triple


class _Interleavings:
    """What both interleavers do, as steps."""

    def __init__(
        self, make_store: Callable[[FakeClock], Any], *, empty: Callable[[Any], Any] | None = None
    ) -> None:
        self._make_store = make_store
        self._empty = empty
        self._kept: tuple[Any, FakeClock] | None = None

    def _play(self, names: Sequence[str], start: str, sample: int | None) -> Steps[int]:
        if sample is not None:
            for number in range(sample):
                chance = random.Random(f"{start} {names} {number}")  # noqa: S311 - the same each time
                yield from self._play_one(names, start, (), chance)
            return sample
        count = 0
        turns: list[int] = []
        while True:
            choices = yield from self._play_one(names, start, turns)
            count += 1
            # Depth first: the last turn at which somebody else could have come.
            while choices and choices[-1][0] == choices[-1][1][-1]:
                choices.pop()
            if not choices:
                return count
            last, others = choices.pop()
            turns = [turn for turn, _ in choices]
            turns.append(others[others.index(last) + 1])

    def _replay(self, schedule: Schedule) -> Steps[None]:
        yield from self._play_one(schedule.clients, schedule.start, schedule.turns)

    def _play_one(
        self, names: Sequence[str], start: str, turns: Sequence[int], chance: random.Random | None = None
    ) -> Steps[list[tuple[int, Sequence[int]]]]:
        """Play the schedule that begins with ``turns``; return each turn with those who could have come.

        After ``turns`` it is the first one's turn that is ready, or whose ``chance`` chooses.
        """
        store, clock = yield from self._fresh_store()
        game = Game(World(store, clock), names)
        choices: list[tuple[int, Sequence[int]]] = []
        try:
            yield from game.begin(start)
            while ready := game.ready():
                if len(choices) < len(turns):
                    turn = turns[len(choices)]
                else:
                    turn = ready[0] if chance is None else chance.choice(ready)
                choices.append((turn, ready))
                yield from game.turn(turn)
            yield from leaves(game.world.check())
        except Exception as error:
            schedule = Schedule(start, tuple(names), tuple(turn for turn, _ in choices))
            if isinstance(error, Violation):
                error.schedule = schedule
            error.add_note(game.story(schedule))
            yield from self._let_go(store)
            raise
        yield from self._let_go(store)
        return choices

    def _fresh_store(self) -> Steps[tuple[Any, FakeClock]]:
        if self._kept is not None and self._empty is not None:
            yield self._empty, self._kept[0]
            return self._kept
        clock = FakeClock()
        store = yield self._make_store, clock
        if self._empty is not None:
            self._kept = store, clock
        return store, clock

    def _let_go(self, store: Any) -> Steps[None]:
        if self._kept is None:
            yield (store.close,)

    def _close(self) -> Steps[None]:
        if self._kept is not None:
            store, self._kept = self._kept[0], None
            yield (store.close,)


class Interleaver(_Interleavings):
    """Plays schedules on a :class:`~sojourn.store.Store`.

    ``make_store(clock)`` makes an empty one for each schedule.  Where that takes long, ``empty(store)`` says
    how to empty one: a single store then serves all schedules, its clock goes on, :meth:`close` closes it.
    """

    def __init__(
        self, make_store: Callable[[FakeClock], Store], *, empty: Callable[[Any], object] | None = None
    ) -> None:
        super().__init__(make_store, empty=empty)

    def play(self, *clients: str, start: str = "signed in", sample: int | None = None) -> int:
        """Play every schedule of ``clients`` (names in ``CLIENTS``); return how many there are.

        ``start`` is what there is before they come, one of ``STARTS``.  With a ``sample`` so many are played,
        chosen by chance, each time the same: a store whose operations consist of several has very many
        schedules.  Raises ``Violation``.
        """
        return run(self._play(clients, start, sample))

    def replay(self, schedule: Schedule | str) -> None:
        """Play one schedule.  Raises ``Violation``."""
        run(self._replay(Schedule.parse(schedule) if isinstance(schedule, str) else schedule))

    def close(self) -> None:
        """Close the store that ``empty`` keeps in use."""
        run(self._close())


class AsyncInterleaver(_Interleavings):
    """:class:`Interleaver` for an :class:`~sojourn.store.AsyncStore`: the same schedules, awaited.

    ``make_store`` and ``empty`` are coroutines.
    """

    def __init__(
        self,
        make_store: Callable[[FakeClock], Awaitable[AsyncStore]],
        *,
        empty: Callable[[Any], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__(make_store, empty=empty)

    async def play(self, *clients: str, start: str = "signed in", sample: int | None = None) -> int:
        """See :meth:`Interleaver.play`."""
        return await run_async(self._play(clients, start, sample))

    async def replay(self, schedule: Schedule | str) -> None:
        """See :meth:`Interleaver.replay`."""
        await run_async(self._replay(Schedule.parse(schedule) if isinstance(schedule, str) else schedule))

    async def close(self) -> None:
        """See :meth:`Interleaver.close`."""
        await run_async(self._close())
