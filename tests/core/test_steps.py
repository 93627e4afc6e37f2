"""The two loops that carry steps out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.errors import ConflictError, StoreUnavailableError
from sojourn.steps import Pause, run, run_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.steps import Steps


def _run(steps: Steps[Any], kind: str) -> Any:
    return run(steps) if kind == "plain" else asyncio.run(run_async(steps))


def _call(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return ``function`` as a call of a plain or an asynchronous store."""

    async def awaitable(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return function(*arguments)

    return function if kind == "plain" else awaitable


@pytest.fixture(params=["plain", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_answers_are_sent_back_in_order(kind: str) -> None:
    def steps() -> Steps[list[Any]]:
        one = yield _call(lambda a, b: a + b, kind), 1, 2
        two = yield (_call(lambda: None, kind),)
        return [one, two]

    assert _run(steps(), kind) == [3, None]


def test_no_step_at_all_is_fine(kind: str) -> None:
    def steps() -> Steps[str]:
        yield from ()
        return "done"

    assert _run(steps(), kind) == "done"


def test_what_a_call_raises_is_thrown_in_and_may_be_handled(kind: str) -> None:
    def fail() -> None:
        raise ConflictError("once")

    def steps() -> Steps[str]:
        try:
            yield (_call(fail, kind),)
        except ConflictError:
            answer: str = yield (_call(lambda: "went on", kind),)
            return answer
        return "was not told"

    assert _run(steps(), kind) == "went on"


def test_F1_what_nobody_handles_comes_out_as_it_was(kind: str) -> None:
    error = StoreUnavailableError("gone fishing")
    cleaned: list[bool] = []

    def fail() -> None:
        raise error

    def steps() -> Steps[None]:
        try:
            yield (_call(fail, kind),)
        finally:
            cleaned.append(True)

    with pytest.raises(StoreUnavailableError) as raised:
        _run(steps(), kind)
    assert raised.value is error
    assert cleaned == [True]


def test_an_error_of_the_steps_themselves_comes_out(kind: str) -> None:
    def steps() -> Steps[None]:
        yield (_call(lambda: None, kind),)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        _run(steps(), kind)


def test_a_pause_waits_and_answers_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def steps() -> Steps[Any]:
        return (yield Pause(0.25))

    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr("sojourn.steps.asyncio.sleep", sleep)
    assert _run(steps(), kind) is None
    assert slept == [0.25]


def test_C5_a_cancelled_task_cleans_up_and_ends() -> None:
    cleaned: list[str] = []

    async def forever() -> None:
        await asyncio.Event().wait()

    def steps() -> Steps[None]:
        try:
            yield (forever,)
        finally:
            cleaned.append("cleaned")

    async def main() -> None:
        task = asyncio.create_task(run_async(steps()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned == ["cleaned"]
