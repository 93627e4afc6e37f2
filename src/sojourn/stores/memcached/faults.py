"""What failures mean: one translation for both ways of sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.errors import PayloadTooLargeError, StoreError, StoreTimeoutError, StoreUnavailableError
from sojourn.project import TIMEOUT
from sojourn.stores.memcached.protocol import GarbledReplyError, RefusedError

if TYPE_CHECKING:
    from sojourn.errors import SessionError
    from sojourn.stores.memcached.nodes import Node

__all__ = ["FAILURES", "all_busy", "closed", "translated"]

#: What an exchange may raise.
FAILURES = (OSError, EOFError, GarbledReplyError, RefusedError)


def translated(error: Exception, node: Node, timeout: float) -> SessionError:
    """Translate what an exchange raised; name the server and what to do."""
    if isinstance(error, TimeoutError):
        return StoreTimeoutError(
            f"memcached {node} did not answer within {timeout:g} s; check that it runs and can be reached, "
            f"or raise {TIMEOUT}"
        )
    if isinstance(error, RefusedError):
        if "too large" in str(error):
            return PayloadTooLargeError(
                f"memcached {node} answered {error}; "
                "lower max_payload below its item size limit, or raise that (-I)"
            )
        return StoreUnavailableError(
            f"memcached {node} answered {error}; it has to be memcached 1.6 with memory to spare (-m)"
        )
    if isinstance(error, GarbledReplyError):
        return StoreUnavailableError(f"memcached {node} answered nonsense; check that it is a memcached")
    if isinstance(error, EOFError):
        return StoreUnavailableError(f"memcached {node} hung up; check that it runs")
    reason = getattr(error, "strerror", None) or type(error).__name__
    return StoreUnavailableError(f"memcached {node}: {reason}; check that it runs and can be reached")


def all_busy(node: Node, connections: int, timeout: float) -> StoreError:
    """Return what to raise when no connection came back in time."""
    return StoreTimeoutError(
        f"memcached {node}: all {connections} connections were busy for {timeout:g} s; raise max_connections"
    )


def closed() -> StoreError:
    """Return what to raise after ``close()``."""
    return StoreUnavailableError("this store was closed; make a new one")
