"""Test a store, ours or your own, and whatever uses one.

:class:`FakeClock` holds time still, :class:`FaultyStore` (and :class:`AsyncFaultyStore`) counts operations
and fails by plan.  :class:`StoreContract` and :class:`AsyncStoreContract` put any store to the promises of
:mod:`sojourn.store`; see :mod:`sojourn.testing.contract`.
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
from sojourn.testing.records import new_record

__all__ = [
    "AsyncFaultyStore",
    "AsyncStoreContract",
    "Call",
    "Delay",
    "Fail",
    "FakeClock",
    "Fault",
    "FaultyStore",
    "Meanwhile",
    "Operation",
    "PurgeContract",
    "ScanContract",
    "StoreContract",
    "SubjectIndexContract",
    "new_record",
]
