"""C4: two browsers, a clock and a store that fails, against one model, on every store.

A short run in ``make test``, the same each time; ``make test-deep`` goes on for ``SOJOURN_DEEP`` minutes,
with other histories each time.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.stores import STORES

if TYPE_CHECKING:
    from sojourn.testing.machine import SessionMachine

#: Minutes for all machines together; 0: a short run, the same each time.
DEEP = float(os.environ.get("SOJOURN_DEEP", "0"))

#: All but those whose operations are gone into: nobody comes in between here.
MACHINES = [
    pytest.param(name, asynchronous, marks=pytest.mark.asks_for(kind.place), id=f"{name}-{word}")
    for name, kind in STORES.items()
    if not kind.in_steps
    for asynchronous, word in ((False, "plain"), (True, "async"))
]


def run_machine(machine: type[SessionMachine], *, examples: int, derandomize: bool) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            derandomize=derandomize,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(("name", "asynchronous"), MACHINES)
def test_C4_a_store_does_as_the_model_does(name: str, place: Any, *, asynchronous: bool) -> None:
    kind = STORES[name]
    machine = kind.async_machine(place) if asynchronous else kind.machine(place)
    if not DEEP:
        run_machine(machine, examples=60, derandomize=True)
        return
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    end = time.monotonic() + 60 * DEEP * min(1, workers / len(MACHINES))
    while time.monotonic() < end:
        run_machine(machine, examples=250, derandomize=False)
