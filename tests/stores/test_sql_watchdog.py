"""The thread that cuts connections off: those whose time is up, and no others."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from sojourn.stores.sql.watchdog import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds after which a test says that nobody is cut off.
PATIENCE = 20.0
SOON = 0.05


class Line:
    """A connection as drivers have it, and its other end."""

    def __init__(self) -> None:
        self.mine, self.theirs = socket.socketpair()
        self.theirs.settimeout(PATIENCE)

    def fileno(self) -> int:
        return self.mine.fileno()

    def wait_until_cut(self) -> None:
        """Raises ``TimeoutError``."""
        assert self.theirs.recv(1) == b""

    @property
    def is_whole(self) -> bool:
        self.mine.sendall(b"x")
        return self.theirs.recv(1) == b"x"

    def close(self) -> None:
        self.mine.close()
        self.theirs.close()


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    opened = [Line() for _ in range(3)]
    yield opened
    for line in opened:
        line.close()


def test_F3_a_connection_is_cut_off_when_its_time_is_up_and_others_are_not(lines: list[Line]) -> None:
    late, in_time, forever = lines
    watches = [Watch() for _ in lines]
    watches[2].begin(forever, PATIENCE * 10)
    watches[1].begin(in_time, SOON)
    watches[1].end()
    watches[0].begin(late, SOON)
    late.wait_until_cut()
    assert watches[0].is_over
    assert not watches[2].is_over
    assert in_time.is_whole
    assert forever.is_whole


def test_F3_one_with_little_time_is_not_left_waiting_by_one_with_much(lines: list[Line]) -> None:
    patient, hasty, again = lines
    watches = [Watch() for _ in lines]
    watches[0].begin(patient, PATIENCE * 10)
    for number, line in ((1, hasty), (2, again)):
        watches[number].begin(line, SOON)
        line.wait_until_cut()
    assert patient.is_whole


def test_F3_a_connection_made_after_the_time_was_up_is_cut_off(lines: list[Line]) -> None:
    late, other, _ = lines
    watch, witness = Watch(), Watch()
    watch.begin(None, 0.0)
    witness.begin(other, SOON)
    other.wait_until_cut()
    watch.connected(late)
    late.wait_until_cut()


def test_a_watch_serves_one_operation_after_the_other_by_one_thread(lines: list[Line]) -> None:
    before = threading.active_count()
    watch = Watch()
    for _ in range(100):
        watch.begin(lines[0], PATIENCE)
        watch.end()
    assert lines[0].is_whole
    watch.begin(lines[0], SOON)
    lines[0].wait_until_cut()
    watch.end()
    watch.begin(lines[1], SOON)
    lines[1].wait_until_cut()
    assert threading.active_count() <= before + 1


def test_a_socket_that_has_got_the_number_of_a_closed_one_is_left_alone(lines: list[Line]) -> None:
    closed, other, witness = lines
    watch, last = Watch(), Watch()
    watch.begin(closed, SOON)
    os.dup2(other.fileno(), closed.fileno())  # the number means another socket from now on
    last.begin(witness, SOON * 2)
    witness.wait_until_cut()
    assert other.is_whole


def test_what_is_no_connection_is_left_alone() -> None:
    watch = Watch()
    for driver in (None, object(), socket.socket()):
        watch.begin(driver, PATIENCE)
        if isinstance(driver, socket.socket):
            driver.close()
            watch.connected(driver)
        watch.end()


def _is_right_in_the_child(kept: Watch, parents: Watch) -> bool:
    own = Line()
    kept.begin(own, SOON)
    own.wait_until_cut()
    return parents.left == math.inf


def test_C5_a_forked_child_cuts_off_its_own_connections_and_not_its_parents(lines: list[Line]) -> None:
    kept, parents = Watch(), Watch()
    kept.begin(lines[0], PATIENCE)
    kept.end()
    parents.begin(lines[1], PATIENCE * 10)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: sys.exit(not _is_right_in_the_child(kept, parents))
    )
    child.start()
    child.join(3 * PATIENCE)
    assert child.exitcode == 0
    assert lines[1].is_whole
