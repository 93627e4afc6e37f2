"""What failures mean: one translation for both ways of sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.errors import StoreTimeoutError, StoreUnavailableError
from sojourn.stores.valkey.protocol import GarbledReplyError, Refusal

if TYPE_CHECKING:
    from sojourn.stores.valkey.nodes import Node
    from sojourn.stores.valkey.protocol import Reply

__all__ = [
    "FAILURES",
    "NotSentError",
    "all_busy",
    "check_greeting",
    "closed",
    "not_reached",
    "refused",
    "translated",
]

#: What an exchange may raise.
FAILURES = (OSError, EOFError, GarbledReplyError)

_WHAT_TO_DO = {
    "LOADING": "it is still reading its data from the disk: wait",
    "READONLY": "it is a replica, where nothing can be written: give the primary, or the Sentinels",
    "NOREPLICAS": "too few replicas are in reach (min-replicas-to-write): start them or lower that",
    "MISCONF": "it cannot write to its disk, and so refuses writes: free some space, look into its log",
    "OOM": "its memory is full: raise maxmemory; sessions ask for maxmemory-policy noeviction",
    "NOAUTH": "it asks for a password: give password, and username if it has users",
    "WRONGPASS": "user or password are wrong: check username and password",
    "NOPERM": "its user may not do that: allow it the commands and keys that the documentation lists",
    "CLUSTERDOWN": "the Cluster misses some of its nodes: start them",
    "MASTERDOWN": "it has lost its primary: start that or let a replica take over",
    "TRYAGAIN": "the Cluster is moving these keys to another node: try again",
    "MOVED": "the servers form a Cluster: pass cluster=True (redis+cluster:// in an address)",
    "BUSY": "a script keeps it busy: wait, or end that by SCRIPT KILL",
    "WRONGTYPE": "another application keeps something else under our names: choose another key_prefix",
}


class NotSentError(StoreUnavailableError):
    """The request never left: whatever it was, it may be sent again."""


def translated(error: Exception, node: Node, timeout: float) -> StoreUnavailableError:
    """Translate what an exchange raised; name the server and what to do."""
    if isinstance(error, TimeoutError):
        return StoreTimeoutError(
            f"the server at {node} did not answer within {timeout:g} s; check that it runs and can be "
            "reached, or raise timeout"
        )
    return StoreUnavailableError(f"the server at {node} {_said(error)}")


def not_reached(error: Exception, node: Node, timeout: float) -> StoreUnavailableError:
    """Translate what connecting raised."""
    if isinstance(error, TimeoutError):
        return StoreTimeoutError(
            f"no connection to the server at {node} within {timeout:g} s; check that it runs and can be "
            "reached, or raise timeout"
        )
    return NotSentError(f"the server at {node} {_said(error)}")


def _said(error: Exception) -> str:
    if isinstance(error, GarbledReplyError):
        return "answered nonsense; check that it is a Redis or Valkey, and whether it expects TLS"
    if isinstance(error, EOFError):
        return "hung up; check that it runs, and whether it expects TLS"
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"cannot be reached ({reason}); check that it runs and listens there"


def refused(refusal: Refusal, node: Node) -> StoreUnavailableError:
    """Translate an error reply.  Only its first word is shown: the rest may quote what was sent."""
    hint = _WHAT_TO_DO.get(refusal.code)
    if hint is None:
        hint = "it has to be Redis 6.2 or later, or Valkey, with scripts allowed; look into its log"
    return StoreUnavailableError(f"the server at {node} answered {refusal.code}: {hint}")


def check_greeting(replies: list[Reply], node: Node) -> None:
    """Raise if a new connection was not received as it should be."""
    for reply in replies:
        if isinstance(reply, Refusal):
            raise refused(reply, node)
        if isinstance(reply, list) and reply[:1] != [b"master"]:  # what ROLE answers
            raise NotSentError(f"the server at {node} is not the primary any more; wait for the Sentinels")


def all_busy(node: Node, connections: int, timeout: float) -> StoreTimeoutError:
    """Return what to raise when no connection came back in time."""
    return StoreTimeoutError(
        f"all {connections} connections to the server at {node} were busy for {timeout:g} s; "
        "raise max_connections"
    )


def closed() -> StoreUnavailableError:
    """Return what to raise after ``close()``."""
    return StoreUnavailableError("this store was closed; make a new one")
