"""One schedule in the making: who plays, what each does next, what happened so far."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sojourn.errors import StoreError
from sojourn.steps import Pause
from sojourn.testing.boundaries import leaves, name_of
from sojourn.testing.clients import CLIENTS, STARTS, Visit
from sojourn.testing.world import IDLE_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from sojourn.steps import Step, Steps
    from sojourn.testing.clients import Client
    from sojourn.testing.world import World

__all__ = ["Game", "Schedule"]

_NAME_WIDTH: Final = len("delete_subject")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who plays, from which start, and whose operation each turn is.  ``str()`` and back."""

    start: str
    clients: tuple[str, ...]
    turns: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.start}: {', '.join(self.clients)}: {' '.join(map(str, self.turns))}"

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Return what ``str()`` made this text of."""
        start, clients, turns = text.split(": ")
        return cls(start, tuple(clients.split(", ")), tuple(int(turn) for turn in turns.split()))


class _Actor:
    """A client on its way: the step it takes next, and the rest."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.started = False
        #: What it does next; ``None``: it is done.
        self.step: Step | None = None
        self._steps: Generator[Step, Any, Any]

    def set_out(self, visit: Visit) -> None:
        self._steps = leaves(self.client.act(visit))
        self.step = next(self._steps, None)

    def take_step(self) -> Steps[None]:
        """Take the step and go on to where the next one begins."""
        step, self.started = self.step, True
        assert step is not None  # noqa: S101 - a client that is done gets no turn
        try:
            answer = None if isinstance(step, Pause) else (yield step)
        except StoreError as error:
            self._go_on(partial(self._steps.throw, error))
        else:
            self._go_on(partial(self._steps.send, answer))

    def skip_pause(self) -> None:
        self._go_on(partial(next, self._steps))

    def _go_on(self, proceed: Callable[[], Step]) -> None:
        try:
            self.step = proceed()
        except StopIteration:
            self.step = None


class Game:
    """One schedule in the making."""

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self.world = world
        self._actors = [_Actor(name, CLIENTS[name]) for name in names]
        self._turns: list[tuple[_Actor, Step, list[str]]] = []

    def begin(self, start: str) -> Steps[None]:
        """Make the sessions there are before the clients come: theirs, and somebody else's."""
        world = self.world
        token = yield from leaves(STARTS[start](world))
        yield from leaves(world.new_session(user="bob"))
        deadline = world.clock.now() + IDLE_TIMEOUT * 1000
        world.clock.advance(IDLE_TIMEOUT // 3)
        world.remarks.clear()
        for number, actor in enumerate(self._actors):
            actor.set_out(Visit(world, number, token, deadline))

    def ready(self) -> list[int]:
        """Return the clients whose turn it may be.

        Of clients that do the same only the first may start: in another order they would play the same
        schedule under each other's names.
        """
        waiting = {actor.name for actor in self._actors if not actor.started}
        ready: list[int] = []
        for number, actor in enumerate(self._actors):
            if actor.step is None:
                continue
            if not actor.started:
                if actor.name not in waiting:
                    continue
                waiting.remove(actor.name)
            ready.append(number)
        return ready

    def turn(self, number: int) -> Steps[None]:
        """Let a client take its step."""
        actor = self._actors[number]
        if actor.step is not None:
            self._turns.append((actor, actor.step, self.world.remarks))
        try:
            yield from actor.take_step()
            while isinstance(actor.step, Pause) and not self._clock_may_move():
                actor.skip_pause()
        finally:
            self.world.remarks = []

    def _clock_may_move(self) -> bool:
        return any(actor.client.moves_clock and actor.step is not None for actor in self._actors)

    def story(self, schedule: Schedule) -> str:
        """Tell what happened, turn by turn."""
        width = max(len(actor.name) for actor in self._actors)
        lines: list[str] = []
        for actor, step, remarks in self._turns:
            number = self._actors.index(actor)
            said = "; ".join(remarks)
            lines.append(f"{number} {actor.name:{width}}  {name_of(step):{_NAME_WIDTH}}  {said}".rstrip())
        return "\n".join([*lines, f"to play it again: replay({str(schedule)!r})"])
