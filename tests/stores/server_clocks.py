"""The contract of stores whose server decides what has expired, and so has to be waited for."""

from __future__ import annotations

from typing import TypeVar

from sojourn.testing.contract.expiring import Expiring

__all__ = ["expiry_is_tested_elsewhere"]

T = TypeVar("T")

#: Promises of deadlines that need no waiting.
_AT_ONCE = ("in_the_past", "thirty_days", "no_session_ends")


def expiry_is_tested_elsewhere(contract: type[T]) -> type[T]:
    """Leave out what waits for the server's clock: deadlines are set the same way everywhere."""
    for name in dir(contract):
        waits = name in vars(Expiring) and not any(words in name for words in _AT_ONCE)
        if name.startswith("test_") and (waits or "expired" in name):
            setattr(contract, name, None)
    return contract
