"""psycopg connections that do not wait for an answer for ever.

libpq has no read timeout, and PostgreSQL's ``statement_timeout`` helps only while the server can be reached.
psycopg looks up ten times a second while it waits; here it also looks at the clock then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["connect_with"]


class _Connection(psycopg.Connection[Any]):
    """A connection that closes if an answer takes longer than ``seconds``."""

    seconds = 5.0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Carry ``gen`` out; raises ``OperationalError`` if that takes too long."""
        try:
            return super().wait(_until(gen, time.monotonic() + self.seconds), *args, **kwargs)
        except TimeoutError as error:
            self.close()
            raise psycopg.OperationalError(f"no answer within {self.seconds:g} s") from error


def _until(waiting: Generator[Any, Any, Any], give_up: float) -> Generator[Any, Any, Any]:
    """Do as ``waiting``, and raise ``TimeoutError`` when woken after ``give_up`` (monotonic seconds)."""
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if time.monotonic() > give_up:
                waiting.close()
                raise TimeoutError
            wanted = waiting.send(ready)
    except StopIteration as stop:
        return stop.value


def connect_with(seconds: float) -> Callable[..., psycopg.Connection[Any]]:
    """Return what SQLAlchemy is to open connections with."""

    def connect(_dialect: object, _record: object, args: Any, settings: Any) -> psycopg.Connection[Any]:
        connection = _Connection.connect(*args, **settings)
        connection.seconds = seconds
        return connection

    return connect
