"""Test a store, ours or your own, and whatever uses one.

:class:`FakeClock` holds time still, :class:`FaultyStore` (and :class:`AsyncFaultyStore`) counts operations
and fails by plan.  :class:`StoreContract` and :class:`AsyncStoreContract` put any store to the promises of
:mod:`sojourn.store`; see :mod:`sojourn.testing.contract`.

With the manager on top, :class:`Interleaver` (and :class:`AsyncInterleaver`) plays every order in which two
or three requests can reach a store, and :class:`sojourn.testing.machine.SessionMachine` plays long histories
with faults that Hypothesis thinks of.
"""

from __future__ import annotations

import pytest

# Before they are imported: a promise that is broken then says what it found.
pytest.register_assert_rewrite("sojourn.testing.contract")

from sojourn.testing.clock import FakeClock
from sojourn.testing.contract import (
    AsyncStoreContract,
    PurgeContract,
    ScanContract,
    StoreContract,
    SubjectIndexContract,
)
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
from sojourn.testing.game import Schedule
from sojourn.testing.interleaving import AsyncInterleaver, Interleaver, pairs, triples
from sojourn.testing.model import Violation
from sojourn.testing.records import new_record

__all__ = [
    "AsyncFaultyStore",
    "AsyncInterleaver",
    "AsyncStoreContract",
    "Call",
    "Delay",
    "Fail",
    "FakeClock",
    "Fault",
    "FaultyStore",
    "Interleaver",
    "Meanwhile",
    "Operation",
    "PurgeContract",
    "ScanContract",
    "Schedule",
    "StoreContract",
    "SubjectIndexContract",
    "Violation",
    "new_record",
    "pairs",
    "triples",
]
