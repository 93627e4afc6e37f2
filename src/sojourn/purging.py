"""Removing what has expired from a store, in batches with pauses, so that the others hardly notice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from sojourn.errors import ConfigurationError
from sojourn.steps import Pause
from sojourn.store import AsyncPurge, Purge

if TYPE_CHECKING:
    from sojourn.steps import Steps
    from sojourn.store import AsyncStore, Store

__all__ = ["PURGE_RATE", "Tell", "purge_steps"]

#: Is told how many records a batch removed.
Tell: TypeAlias = Callable[[int], object]

#: Dead records a second, at most: what the others hardly notice (docs: *A million sessions*).
PURGE_RATE: Final = 5_000.0
_BATCH: Final = 100


def purge_steps(
    store: Store | AsyncStore, *, rate: float | None = PURGE_RATE, tell: Tell | None = None
) -> Steps[int]:
    """Remove every dead record of ``store``, in batches with pauses; return how many.

    ``rate``: how many a second at most, ``None``: as fast as the store can.  ``tell`` is called with the
    number of each batch.
    """
    if rate is not None and rate <= 0:
        raise ConfigurationError(f"rate={rate:g} removes nothing; give records per second, or None: no limit")
    if not isinstance(store, Purge | AsyncPurge):
        return 0
    purge = partial(store.purge, limit=_BATCH)
    removed = 0
    while True:
        batch: int = yield (purge,)
        removed += batch
        if tell is not None:
            tell(batch)
        if batch < _BATCH:
            return removed
        if rate is not None:
            yield Pause(_BATCH / rate)
