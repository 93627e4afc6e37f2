"""Nothing that is shown anywhere shows a token, a full key, a secret or what a session holds."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.errors import ConflictError, DuplicateKeyError, SessionError, SessionGoneError, StoreTimeoutError
from sojourn.sealing import Sealed
from sojourn.testing import Fail
from tests.core.sites import KEYRING, SECRET, Site, World, key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.record import Record

_CANARY = "canary-5e1f0c"


class Witness:
    """Tries things on a site and keeps what they show."""

    def __init__(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self.world = world
        self.site = world.site(max_payload=2_000)
        self.shown: list[str] = []
        self.errors: list[SessionError] = []
        self.tokens: list[str] = []
        self._log = caplog

    async def new(self) -> str:
        token = await self.site.new(_CANARY, _subject=_CANARY, a=_CANARY)
        self.tokens.append(token)
        return token

    async def attempt(self, call: Any) -> None:
        """Wait for ``call``; keep what it returns or raises."""
        try:
            result = await call
        except SessionError as error:
            self.errors.append(error)
            for each in _chain(error):
                self.see(each, each.args, getattr(each, "__notes__", None))
        else:
            self.see(result)

    def see(self, *objects: object) -> None:
        for each in objects:
            self.shown += [repr(each), str(each), f"{each}"]

    async def check(self, *expected: type[SessionError]) -> None:
        """Check that each error of ``expected`` came, and that nothing was shown."""
        assert {type(error) for error in self.errors} >= set(expected)
        for entry in self._log.records:
            self.see(entry.getMessage(), entry.args, entry.exc_info, entry.__dict__)
        self.see(self._log.text, self.site.manager, self.site.manager._recorder, self.site.manager.policy)
        self.see(
            self.site.store,
            self.site.store.calls,
            self.world.store,
            KEYRING,
            KEYRING.sealing,
            Sealed(KEYRING),
        )
        public_ids = [key(token)[:12] for token in self.tokens]
        assert any(public_id in text for public_id in public_ids for text in self.shown), "nothing was shown"
        for text in self.shown:
            assert _CANARY not in text
            assert SECRET not in text
            for token in self.tokens:
                assert token not in text
                assert key(token) not in text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield what a traceback shows: the error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ if seen.__suppress_context__ else seen.__cause__ or seen.__context__


@pytest.fixture
def witness(world: World, caplog: pytest.LogCaptureFixture) -> Witness:
    return Witness(world, caplog)


async def test_T12_no_error_of_a_value_that_cannot_be_stored_shows_anything(witness: Witness) -> None:
    session = await witness.site.open(await witness.new())
    witness.see(session, session.record, session.changes(), witness.site.manager.plan(session))
    for values in (
        {"a": object()},
        {"a": {"b": [_CANARY, object()]}},
        {"a": {_CANARY, frozenset([_CANARY])}},
        {"a": _CANARY * 500},
        {"_session_expiry": _CANARY},
        {"a": _CANARY, "_session_expiry": [_CANARY]},
    ):
        session.clear()
        session.update(values)
        await witness.attempt(witness.site.commit(session))
        witness.see(session)
    await witness.check()


async def test_T12_no_error_of_a_damaged_record_shows_anything(witness: Witness) -> None:
    hour = 3_600_000
    for number in range(5):
        token = await witness.new()
        record: Record = await witness.world.record(token)
        edits = [
            record,
            replace(record, payload=_CANARY.encode() + record.payload),
            replace(record, payload=record.payload[:-1] + bytes([record.payload[-1] ^ 1])),
            replace(record, created_at=record.created_at + hour),
            replace(record, info=_CANARY.encode(), subject=None),
        ]
        await witness.world.plant(edits[number])
        await witness.attempt(witness.site.open(token))
        await witness.attempt(witness.site.exists(token))
        await witness.attempt(witness.site.delete(token))
        witness.see(edits[number])
    await witness.check()


@pytest.mark.parametrize("operation", ["load", "create", "update", "move", "touch", "delete"])
async def test_T12_no_error_of_a_store_shows_anything(witness: Witness, operation: Any) -> None:
    for error in (StoreTimeoutError, ConflictError, SessionGoneError, DuplicateKeyError):
        token = await witness.new()
        session = await witness.site.open(None if operation == "create" else token)
        if operation in ("update", "move", "create"):
            session["a"] = _CANARY * 2
        if operation == "move":
            session.renew()
        if operation == "delete":
            session.end()
        if operation == "touch":
            witness.world.clock.advance(3_600)
        witness.site.store.plan(Fail(operation, error=error, times=2))
        await witness.attempt(witness.site.commit(session, saves=True))
        await witness.attempt(witness.site.open(token))
        witness.site.store.heal()
        witness.see(session)
        if session.token is not None:
            witness.tokens.append(session.token)
    await witness.check(StoreTimeoutError)


async def test_T12_no_error_of_a_session_that_is_gone_shows_anything(witness: Witness) -> None:
    token = await witness.new()
    sessions = [await witness.site.open(token) for _ in range(3)]
    await witness.site.delete(token)
    sessions[0]["a"] = 1
    sessions[1].renew()
    witness.world.clock.advance(3_600)
    for session in sessions:
        await witness.attempt(witness.site.commit(session, saves=True))
        witness.see(session)
    assert len(witness.errors) == 3
    await witness.check(SessionGoneError)


async def test_T12_no_error_of_a_conflict_shows_anything(witness: Witness) -> None:
    token = await witness.new()
    sessions = [await witness.site.open(token) for _ in range(2)]
    for number, session in enumerate(sessions):
        session["_auth_user_id"] = f"{_CANARY} {number}"
        await witness.attempt(witness.site.commit(session))
        witness.see(session)
    session = await witness.site.open(token)
    session["a"] = 1

    async def somebody_saves() -> None:
        await Site(witness.world).save(token, b=witness.world.clock.monotonic())
        witness.world.clock.advance(2)

    witness.site.meanwhile("update", somebody_saves, times=None)
    await witness.attempt(witness.site.commit(session))
    assert len(witness.errors) == 2
    await witness.check(ConflictError)


async def test_T12_no_list_of_sessions_shows_a_full_key(witness: Witness) -> None:
    await witness.new()
    (summary,) = await witness.site.sessions_of(_CANARY)
    assert summary.subject == summary.label == _CANARY  # meant to be shown, to whom it belongs
    assert summary.key == key(witness.tokens[0])
    assert summary.key not in repr(summary)
    assert summary.public_id in repr(summary)
