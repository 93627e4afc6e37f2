"""What failures mean: one translation for both ways of sending."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redis import exceptions, sentinel
from redis.asyncio import sentinel as aio_sentinel

from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.project import TIMEOUT

if TYPE_CHECKING:
    from sojourn.stores.valkey.nodes import Place

__all__ = ["NotSentError", "NotThePrimaryError", "all_busy", "closed", "refused", "translated"]

#: Refusals that redis-py has a class for.  Subclasses come first.
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.BusyLoadingError, "it is still reading its data from the disk: wait"),
    (exceptions.AuthenticationError, "user or password are missing or wrong: check username and password"),
    (
        exceptions.NoPermissionError,
        "its user may not do that: allow it the commands and keys that the documentation lists",
    ),
    (
        exceptions.ReadOnlyError,
        "it is a replica, where nothing can be written: give the primary, or the Sentinels",
    ),
    (
        exceptions.OutOfMemoryError,
        "its memory is full: raise maxmemory; sessions ask for maxmemory-policy noeviction",
    ),
    (exceptions.ClusterDownError, "the Cluster misses some of its nodes: start them"),
    (exceptions.MasterDownError, "it has lost its primary: start that or let a replica take over"),
    (exceptions.TryAgainError, "the Cluster is moving these keys to another node: try again"),
    (
        exceptions.AskError,  # and MovedError, its subclass
        "the servers form a Cluster: pass cluster=True (redis+cluster:// in an address)",
    ),
)
#: The others, by their first word.
_WORDS: Final = {
    "NOREPLICAS": "too few replicas are in reach (min-replicas-to-write): start them or lower that",
    "MISCONF": "it cannot write to its disk, and so refuses writes: free some space, look into its log",
    "BUSY": "a script keeps it busy: wait, or end that by SCRIPT KILL",
    "WRONGTYPE": "another application keeps something else under our names: choose another key_prefix",
}
_HUNG_UP: Final = "hung up; check that it runs, and whether it expects TLS"
_WORD: Final = re.compile("[A-Z]{2,16}")


class NotSentError(StoreUnavailableError):
    """The request never left: whatever it was, it may be sent again."""


class NotThePrimaryError(exceptions.ConnectionError):
    """Whom the Sentinels named has become a replica."""


def refused(refusal: Exception, place: Place) -> StoreUnavailableError:
    """Translate an error reply.  Its text is not shown: it may quote what was sent."""
    word = str(refusal).partition(" ")[0]
    word = word if _WORD.fullmatch(word) else ""
    hint = _hint(refusal) or _WORDS.get(word)
    if hint is None:
        hint = "it has to be Redis 6.2 or later, or Valkey, with scripts allowed; look into its log"
    return StoreUnavailableError(f"{place} refused{word and f' ({word})'}: {hint}")


def _hint(refusal: Exception) -> str | None:
    return next((hint for kind, hint in _KINDS if isinstance(refusal, kind)), None)


def translated(error: Exception, place: Place, timeout: float, *, is_sent: bool) -> StoreUnavailableError:
    """Translate whatever came of connecting, or of sending and waiting for a reply."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        what = "did not answer" if is_sent else "could not be reached"
        return StoreTimeoutError(
            f"{place} {what} within {timeout:g} s; check that it runs and can be reached, or raise {TIMEOUT}"
        )
    if _hint(error) is not None:
        return refused(error, place)
    said = f"{place} {_said(error)}"
    return StoreUnavailableError(said) if is_sent else NotSentError(said)


def _said(error: Exception) -> str:
    if isinstance(error, EOFError):
        return _HUNG_UP
    if isinstance(error, sentinel.MasterNotFoundError | aio_sentinel.MasterNotFoundError):
        return "is not known to any Sentinel that answers; check that name and that the Sentinels run"
    if not isinstance(error, exceptions.ConnectionError | OSError):
        return "answered nonsense; check that it is a Redis or Valkey, and whether it expects TLS"
    below = error.__context__
    if isinstance(error, NotThePrimaryError) or isinstance(below, exceptions.ReadOnlyError):
        return "is a replica now; the next request asks the Sentinels again"
    reason = getattr(below, "strerror", None)
    if reason is None:
        return _HUNG_UP
    return f"cannot be reached ({reason}); check that it runs and listens there"


def all_busy(connections: int, timeout: float) -> StoreTimeoutError:
    """Return what to raise when no connection came back in time."""
    return StoreTimeoutError(
        f"all {connections} connections were busy for {timeout:g} s; raise max_connections"
    )


def closed() -> StoreUnavailableError:
    """Return what to raise after ``close()``."""
    return StoreUnavailableError("this store was closed; make a new one")
