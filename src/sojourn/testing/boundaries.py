"""Ways to take steps other than :func:`sojourn.steps.run`: into composed stores, and without pauses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sojourn.steps import Pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.steps import Step, Steps

__all__ = ["in_no_time", "leaves", "name_of"]

T = TypeVar("T")


def leaves(steps: Steps[T]) -> Steps[T]:
    """Yield what ``steps`` yield, going into each call that is made of steps itself.

    That is one whose object offers them: ``load_steps`` beside ``load``.  So the operations of the stores
    inside a composed one are yielded, one by one, in the place of its own.
    """
    return _through(steps, _go_in)


def in_no_time(steps: Steps[T]) -> Steps[T]:
    """Yield what ``steps`` yield, except for pauses."""
    return _through(steps, _skip_pause)


def name_of(step: Step) -> str:
    """Return what is to be done, in a word."""
    if isinstance(step, Pause):
        return "(time passes)"
    call: Callable[..., Any] = partial(step[0]).func  # that of a partial is what is inside
    return getattr(call, "__name__", "a call")


def _through(steps: Steps[T], carry_out: Callable[[Step], Steps[Any]]) -> Steps[T]:
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            step = steps.send(answer) if error is None else steps.throw(error)
            answer, error = None, None
            try:
                answer = yield from carry_out(step)
            except Exception as raised:  # noqa: BLE001 - as in sojourn.steps.run
                error = raised
    except StopIteration as stop:
        result: T = stop.value
        return result


def _go_in(step: Step) -> Steps[Any]:
    if not isinstance(step, Pause):
        call = partial(step[0], *step[1:])
        inside = getattr(getattr(call.func, "__self__", None), f"{name_of(step)}_steps", None)
        if inside is not None:
            return (yield from leaves(inside(*call.args, **call.keywords)))
    return (yield step)


def _skip_pause(step: Step) -> Steps[Any]:
    return None if isinstance(step, Pause) else (yield step)
