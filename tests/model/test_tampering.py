"""S2, S3: what somebody edits, swaps or plants in a store is no session, on every store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from sojourn import Keyring, Manager, Policy
from sojourn.testing import FakeClock
from sojourn.token import key_for, new_token
from tests.model.stores import NAMES, STORES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.record import Record
    from sojourn.store import Store

_DAY: Final = 86_400
_OURS: Final = Keyring(["the server's secret: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
_THEIRS: Final = Keyring(["somebody else's secret: 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ"])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(name: str, place: Any, clock: FakeClock) -> Iterator[Store]:
    store = STORES[name].make(place, clock)
    yield store
    store.close()


def site(store: Store, clock: FakeClock, keyring: Keyring = _OURS) -> Manager:
    return Manager(
        store,
        keyring,
        clock=clock,
        policy=Policy(idle_timeout=_DAY, absolute_timeout=2 * _DAY),
        max_payload=100_000,
    )


def signed_in(manager: Manager, user: str) -> str:
    session = manager.new_session()
    session.update(_subject=user, a=1)
    manager.commit(session)
    return str(session.token)


def record_of(store: Store, token: str) -> Record:
    record = store.load(key_for(token, namespace=""))
    assert record is not None
    return record


def edits(record: Record) -> Iterator[tuple[str, Record]]:
    """Yield the record with a bit changed in each part of what it holds, and with each field changed."""
    for at in (0, 5, 20, 40, 60, len(record.payload) - 1):
        yield f"payload {at}", replace(record, payload=flipped(record.payload, at))
    for at in (0, 5, 20, 40, 60, len(record.info) - 1):
        yield f"info {at}", replace(record, info=flipped(record.info, at))
    assert record.subject is not None
    assert record.absolute_deadline is not None
    yield "subject", replace(record, subject=flipped(record.subject, 3))
    yield "no subject", replace(record, subject=None)
    yield "no info", replace(record, info=b"")
    yield "no payload", replace(record, payload=b"")
    yield "beginning", replace(record, created_at=record.created_at - 1)
    yield "later limit", replace(record, absolute_deadline=record.absolute_deadline + 1_000)
    yield "no limit", replace(record, absolute_deadline=None)


def flipped(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 0x01]) + octets[at + 1 :]


@pytest.mark.parametrize("name", NAMES)
def test_S3_whatever_is_edited_in_the_store_there_is_no_session_and_no_error(
    store: Store, clock: FakeClock
) -> None:
    manager = site(store, clock)
    token = signed_in(manager, "ann")
    written = record_of(store, token)
    for what, edited in edits(written):
        at_present = record_of(store, token).version
        store.update(edited, at_present)
        session = manager.open(token)
        assert (session.record, session.unknown_token) == (None, True), what
    store.update(written, record_of(store, token).version)
    assert manager.open(token)["a"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_S3_two_records_cannot_be_swapped_in_the_store(store: Store, clock: FakeClock) -> None:
    manager = site(store, clock)
    ann, ben = signed_in(manager, "ann"), signed_in(manager, "ben")
    first, second = record_of(store, ann), record_of(store, ben)
    store.update(replace(second, key=first.key), first.version)
    store.update(replace(first, key=second.key), second.version)
    assert not manager.exists(ann)
    assert not manager.exists(ben)


@pytest.mark.parametrize("name", NAMES)
def test_S2_a_record_planted_in_the_store_is_no_session(store: Store, clock: FakeClock) -> None:
    manager = site(store, clock)
    token = signed_in(site(store, clock, _THEIRS), "admin")
    assert not manager.exists(token)
    planted = new_token()
    store.create(replace(record_of(store, signed_in(manager, "ann")), key=key_for(planted, namespace="")))
    assert not manager.exists(planted)
