"""Test a store, ours or your own, and whatever uses one.

:class:`FakeClock` holds time still, :class:`FaultyStore` (and :class:`AsyncFaultyStore`) counts operations
and fails by plan.
"""

from __future__ import annotations

from sojourn.testing.clock import FakeClock
from sojourn.testing.faulty import (
    AsyncFaultyStore,
    Call,
    Delay,
    Fail,
    Fault,
    FaultyStore,
    Meanwhile,
    Operation,
)
from sojourn.testing.records import new_record

__all__ = [
    "AsyncFaultyStore",
    "Call",
    "Delay",
    "Fail",
    "FakeClock",
    "Fault",
    "FaultyStore",
    "Meanwhile",
    "Operation",
    "new_record",
]
