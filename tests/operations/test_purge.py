"""Purging, as somebody sees it who started it."""

from __future__ import annotations

import io
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.cli import main
from sojourn.clock import SystemClock
from sojourn.errors import ConfigurationError, StoreUnavailableError
from sojourn.operations.purge import purge, rate, store_purging
from sojourn.purging import purge_steps
from sojourn.stores.embedded import EmbeddedStore
from sojourn.testing.records import new_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLOCK = SystemClock()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """One with 250 dead records and a living one."""
    store = EmbeddedStore(tmp_path / "sessions.sqlite3", purge_every=None)
    for number in range(251):
        store.create(new_record(CLOCK, lives=-1 if number else 60, key=f"{number:064x}"))
    yield store
    store.close()


class Failing:
    """Purges two batches of a store, then this happens."""

    def __init__(self, store: EmbeddedStore, error: BaseException) -> None:
        self._store = store
        self._error = error
        self._batches = 0

    def purge(self, *, limit: int) -> int:
        if self._batches == 2:
            raise self._error
        self._batches += 1
        return self._store.purge(limit=limit)


def failing(store: EmbeddedStore, error: BaseException) -> Any:
    return store_purging(Failing(store, error))  # type: ignore[arg-type]  # it only purges


def test_D6_purging_removes_the_dead_and_says_how_many(store: EmbeddedStore) -> None:
    out = io.StringIO()
    assert purge(store_purging(store), rate=None, out=out) == 0
    assert out.getvalue().startswith("250 expired sessions removed in ")
    assert store.load(f"{0:064x}") is not None


def test_ctrl_c_ends_purging_and_says_how_many_were_removed(store: EmbeddedStore) -> None:
    out = io.StringIO()
    assert purge(failing(store, KeyboardInterrupt()), rate=None, out=out) == 130
    assert out.getvalue().startswith("200 expired sessions removed in ")
    assert out.getvalue().endswith("; interrupted; the rest waits for the next time\n")
    assert store.purge() == 50


def test_an_error_is_raised_after_saying_how_many_were_removed(store: EmbeddedStore) -> None:
    out = io.StringIO()
    with pytest.raises(StoreUnavailableError):
        purge(failing(store, StoreUnavailableError("gone")), rate=None, out=out)
    assert out.getvalue().startswith("200 expired sessions removed in ")


def test_a_terminal_sees_a_counter_and_a_file_one_line(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.operations.purge._OFTEN", 0.0)
    out, file = Terminal(), io.StringIO()
    purge(store_purging(store), rate=None, out=out)
    purge(store_purging(store), rate=None, out=file)
    shown = out.getvalue().split("\r")
    assert [text.partition(" removed, ")[0] for text in shown[1:]] == ["100", "200", "250"]
    assert shown[-1].splitlines()[-1].startswith("250 expired sessions removed in ")
    assert file.getvalue().count("\n") == 1
    assert "\r" not in file.getvalue()


def test_between_batches_are_pauses_as_the_rate_says(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("sojourn.steps.time", SimpleNamespace(sleep=pauses.append))
    assert store_purging(store)(rate=400, tell=str) == 250
    assert pauses == [0.25, 0.25]


def test_without_a_rate_are_no_pauses(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.steps.time", None)
    assert store_purging(store)(rate=None, tell=str) == 250


def test_a_rate_is_a_number_of_sessions_and_none_is_no_limit() -> None:
    assert rate("250") == 250
    assert rate("0") is None
    for wrong in ("-1", "inf", "nan", "fast"):
        with pytest.raises(ValueError, match=r"rate|convert"):
            rate(wrong)


def test_a_rate_that_removes_nothing_is_refused(store: EmbeddedStore) -> None:
    with pytest.raises(ConfigurationError, match="rate=0"):
        next(purge_steps(store, rate=0))


def test_D6_the_command_line_purges_the_store_at_an_address(
    store: EmbeddedStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["purge", f"sqlite://{store.path}", "--rate", "0"]) == 0
    assert capsys.readouterr().out.startswith("250 expired sessions removed in ")
    monkeypatch.setenv("SOJOURN_STORE", f"sqlite://{store.path}")
    assert main(["purge"]) == 0
    assert capsys.readouterr().out.startswith("0 expired sessions removed in ")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "which store?"),
        ("sqlite:///nowhere/at/all.sqlite3", "there is no file /nowhere/at/all.sqlite3"),
        ("memcached://127.0.0.1:1/", "memcached"),
        ("redis://127.0.0.1:1/0", "127.0.0.1"),
        ("postgresql://postgres@127.0.0.1:1/sessions", "127.0.0.1"),
    ],
)
def test_the_command_line_says_in_one_line_what_keeps_it_from_purging(
    address: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["purge", address]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("fixture", "template"),
    [
        pytest.param("memcached", "memcached://{}/", marks=pytest.mark.asks_for("memcached")),
        pytest.param("valkey", "redis://{}/0", marks=pytest.mark.asks_for("valkey")),
    ],
)
def test_a_server_that_removes_expired_sessions_itself_needs_no_purge_and_that_is_no_failure(
    fixture: str, template: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["purge", template.format(request.getfixturevalue(fixture).address)]) == 0
    assert "has no need of it: expired sessions go by themselves" in capsys.readouterr().out


def test_the_database_of_a_django_project_is_purged_by_its_own_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sojourn_session (x)")
        connection.commit()
    path.chmod(0o600)
    assert main(["purge", f"sqlite://{path}"]) == 2
    assert "manage.py sojourn_purge" in capsys.readouterr().err


def test_ctrl_c_on_the_command_line_exits_with_130_and_no_traceback(store: EmbeddedStore) -> None:
    # Whoever starts the tests in the background has them, and what they start, ignore SIGINT.
    heeding = ["env", "--default-signal=INT", sys.executable]
    command = [*heeding, "-m", "sojourn.cli", "purge", f"sqlite://{store.path}", "--rate", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while len(_rows(store)) == 251:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[0]
    assert process.returncode == 130
    assert said.partition(" ")[0] in ("0", "100")  # the signal may come before the batch is counted
    assert said.count("\n") == 1


def _rows(store: EmbeddedStore) -> list[object]:
    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute("SELECT id FROM session").fetchall()
