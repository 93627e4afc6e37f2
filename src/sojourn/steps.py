"""Operations as values, and the two loops that carry them out.

The manager (and every store composed of others) is written once, as generators that *yield* the store
operations they need and are *sent* the answers::

    record = yield self._store.load, key

:func:`run` carries them out with plain calls on a :class:`~sojourn.store.Store`, :func:`run_async` awaits
them on an :class:`~sojourn.store.AsyncStore`.  What a call raises is thrown into the generator at its
``yield``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

__all__ = ["Call", "Pause", "Step", "Steps", "run", "run_async"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait ``seconds`` before going on; ``None`` is sent back."""

    seconds: float


#: A call to make: ``(method, *arguments)``.
Call: TypeAlias = tuple[Callable[..., Any], *tuple[Any, ...]]
#: A call or a pause.
Step: TypeAlias = Call | Pause
#: A generator that yields steps, is sent their results and returns a ``T``.
Steps: TypeAlias = Generator[Step, Any, T]


def run(steps: Steps[T]) -> T:
    """Carry out ``steps`` with plain calls; return what they return."""
    answer: Any = None
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    answer = None
                else:
                    answer = step[0](*step[1:])
            except Exception as error:  # noqa: BLE001 - the generator decides what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def run_async(steps: Steps[T]) -> T:
    """Carry out ``steps``, awaiting each call; return what they return."""
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            step = steps.send(answer) if error is None else steps.throw(error)
            answer, error = None, None
            try:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    answer = await step[0](*step[1:])
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - as above
                error = raised
    except StopIteration as stop:
        result: T = stop.value
        return result
