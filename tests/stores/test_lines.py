"""A wait of a thread for a server ends when its time is over, whatever comes."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import pytest

from sojourn.stores.lines import Line


def test_F3_bytes_that_never_stop_coming_hold_no_thread_beyond_its_time() -> None:
    ours, theirs = socket.socketpair()
    with theirs, closing(Line(ours, time.monotonic)) as line:
        theirs.sendall(b"two")
        assert line.receive(time.monotonic() + 60, 1) == b"t"
        over = time.monotonic()
        with pytest.raises(TimeoutError):
            line.receive(over, 1)
