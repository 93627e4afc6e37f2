"""What whoever can read or write the store learns and can do; what changes with the server secrets."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Keyring, Policy
from sojourn.errors import SessionGoneError
from sojourn.policy import EXPIRY_KEY, Action
from sojourn.sealing import OVERHEAD, Sealed, authenticated
from sojourn.token import new_token
from tests.core.sites import OLD_SECRET, SECRET, answer, key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sojourn.record import Record
    from sojourn.testing import FakeClock
    from tests.core.sites import Site, World

_POLICY = Policy(absolute_timeout=86_400)
_CANARY = "canary-5e1f0c"


@pytest.fixture
def site(world: World) -> Site:
    return world.site(policy=_POLICY)


async def _is_no_session(site: Site, token: str) -> None:
    """Check that there is no session for this request, and that record and cookie are left alone."""
    site.store.forget()
    session = await site.open(token)
    assert session.unknown_token
    assert session.token is None
    assert session.record is None
    assert not session
    assert await site.commit(session) is Action.NOTHING
    assert not await site.exists(token)
    assert set(site.store.counts) == {"load"}
    assert await answer(site.world.store.load(key(token))) is not None


# S1: a raw dump


async def test_S1_what_is_stored_holds_neither_token_nor_payload_nor_subject(
    site: Site, tmp_path: Path
) -> None:
    tokens = [await site.new(_CANARY, _subject=_CANARY, **{_CANARY: [_CANARY, 1]})]
    session = await site.save(tokens[0], more=_CANARY)
    session.renew()
    await site.commit(session)
    assert session.token is not None
    tokens.append(session.token)
    tokens.append(await site.new(anonymous=_CANARY))
    record = await site.world.record(session.token)
    dump = [record.payload, record.info, record.key.encode(), record.subject or b""]
    files = _files(tmp_path)
    assert not files or any(record.payload in content for content in files), "that is no dump"
    dump += files
    for content in dump:
        assert _CANARY.encode() not in content
        for token in tokens:
            assert token.encode() not in content
        for secret in (SECRET, OLD_SECRET):
            assert secret.encode() not in content


def _files(folder: Path) -> list[bytes]:
    """Return the content of every file the store has, write-ahead log included."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_S1_store_and_server_secret_together_reveal_no_payload_without_the_token(site: Site) -> None:
    record = await site.world.record(await site.new(a=_CANARY))
    for guess in (new_token(), record.key[:40]):
        assert site.manager._recorder.read(guess, record, now=site.world.clock.now()) is None


# S2: planted records


def _planted(site: Site, token: str, secret: str, **changes: Any) -> Record:
    """Return a record as somebody with another server secret writes it."""
    theirs = site.world.site(keyring=Keyring([secret]), policy=_POLICY).manager
    session = theirs.new_session()
    session.update(_subject="admin", _auth_user_id="1")
    record: Record = theirs._recorder.write(
        token,
        session,
        session.changes().apply({}),
        source=None,
        now=site.world.clock.now(),
        idle_timeout=theirs.policy.idle_timeout,
    )
    return replace(record, **changes)


async def test_S2_a_planted_record_is_no_session(site: Site) -> None:
    token = new_token()
    planted = _planted(site, token, "somebody else's secret: 0123456789 abcdefghijklmno")
    await answer(site.world.store.create(planted))
    await _is_no_session(site, token)


async def test_S2_not_even_one_that_claims_our_secret(site: Site) -> None:
    token = new_token()
    planted = _planted(site, token, "somebody else's secret: 0123456789 abcdefghijklmno")
    ours = await site.world.record(await site.new(_subject="ann"))
    payload = ours.payload[:9] + planted.payload[9:]
    await answer(site.world.store.create(replace(planted, payload=payload, subject=ours.subject)))
    await _is_no_session(site, token)
    shown = {summary.public_id: summary.subject for summary in await site.sessions_of("ann")}
    assert shown == {ours.public_id: "ann", planted.public_id: None}


async def test_S2_a_record_planted_in_plain_is_no_session(site: Site) -> None:
    token = new_token()
    planted = _planted(site, token, SECRET)
    await answer(site.world.store.create(replace(planted, payload=b"\x81\xa1a\xc4\x01\x01")))
    await _is_no_session(site, token)


# S3: edited records


def _edits(record: Record) -> Iterator[tuple[str, Record]]:
    """Yield ``record`` with each thing changed that nobody may change."""
    for at in range(len(record.payload)):
        yield f"payload {at}", replace(record, payload=_flipped(record.payload, at))
    for at in range(len(record.info)):
        yield f"info {at}", replace(record, info=_flipped(record.info, at))
    subject = record.subject or b""
    for at in range(len(subject)):
        yield f"subject {at}", replace(record, subject=_flipped(subject, at))
    yield "no subject", replace(record, subject=None)
    yield "empty subject", replace(record, subject=b"")
    yield "long subject", replace(record, subject=b"x" * 300)
    yield "no info", replace(record, info=b"")
    yield "more info", replace(record, info=record.info + b"\0")
    yield "no payload", replace(record, payload=b"")
    yield "cut payload", replace(record, payload=record.payload[:-1])
    yield "longer payload", replace(record, payload=record.payload + b"\0")
    yield "began earlier", replace(record, created_at=record.created_at - 1)
    yield "began later", replace(record, created_at=record.created_at + 1)
    yield "began at the epoch", replace(record, created_at=0)
    yield "no limit", replace(record, absolute_deadline=None)
    for by in (-1, 1, 86_400_000):
        assert record.absolute_deadline is not None
        yield f"limit {by:+}", replace(record, absolute_deadline=record.absolute_deadline + by)


def _flipped(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 0x01]) + octets[at + 1 :]


async def test_S3_whatever_is_edited_there_is_no_session_and_no_error(world: World) -> None:
    site = world.site(policy=_POLICY)
    token = await site.new("Firefox", _subject="ann", a=1)
    record = await world.record(token)
    assert len(list(_edits(record))) > 2 * OVERHEAD
    for what, edited in [("nothing", record), *_edits(record)]:
        encodings = site.manager._recorder.read(token, edited, now=world.clock.now())
        assert (encodings is not None) == (what == "nothing"), what


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: replace(record, payload=_flipped(record.payload, 0)),
        lambda record: replace(record, payload=_flipped(record.payload, 5)),
        lambda record: replace(record, payload=_flipped(record.payload, len(record.payload) - 1)),
        lambda record: replace(record, info=_flipped(record.info, 60)),
        lambda record: replace(record, subject=None),
        lambda record: replace(record, subject=b"x" * 300),
        lambda record: replace(record, created_at=record.created_at - 1),
        lambda record: replace(record, absolute_deadline=record.absolute_deadline + 1),
        lambda record: replace(record, absolute_deadline=None),
    ],
)
async def test_S3_an_edited_record_is_no_session_and_stays_for_somebody_to_look_at(
    site: Site, edit: Callable[[Record], Record], caplog: pytest.LogCaptureFixture
) -> None:
    token = await site.new("Firefox", _subject="ann", a=1)
    caplog.set_level(logging.DEBUG, "sojourn")
    await site.world.plant(edit(await site.world.record(token)))
    await _is_no_session(site, token)
    assert {entry.levelno for entry in caplog.records} <= {logging.INFO, logging.ERROR}
    assert all(key(token)[:12] in entry.getMessage() for entry in caplog.records)


async def test_S3_two_records_cannot_be_swapped(site: Site) -> None:
    one, two = await site.new(_subject="ann"), await site.new(_subject="ben")
    first, second = await site.world.record(one), await site.world.record(two)
    await site.world.plant(replace(second, key=first.key, version=first.version))
    await site.world.plant(replace(first, key=second.key, version=second.version))
    await _is_no_session(site, one)
    await _is_no_session(site, two)


async def test_S3_a_record_edited_between_load_and_save_is_gone_not_overwritten(site: Site) -> None:
    token = await site.new(_subject="ann", a=1)
    session = await site.open(token)
    record = await site.world.record(token)
    await site.world.plant(replace(record, absolute_deadline=None))
    session["a"] = 2
    with pytest.raises(SessionGoneError):
        await site.commit(session)
    assert (await site.world.record(token)).payload == record.payload


async def test_S3_the_idle_deadline_moves_freely_and_a_whole_former_record_can_be_put_back(
    site: Site,
) -> None:
    token = await site.new(a=1)
    former = await site.world.record(token)
    assert await answer(site.world.store.touch(former.key, former.idle_deadline - 1_000))
    assert await site.values(token) == {"a": 1}
    await site.save(token, a=2)
    await site.world.plant(replace(former, version=(await site.world.record(token)).version))
    assert await site.values(token) == {"a": 1}


# S4: hostile payloads


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        pickle.dumps({"a": 1}),
        pickle.dumps(Exception, protocol=0),
        b"cos\nsystem\n(S'true'\ntR.",
        b"!!python/object/apply:os.system ['true']",
        b"__import__('os').system('true')",
        json.dumps({"a": 1}).encode(),
        b"\xc1" * 200,
        b"\x91" * 100_000,
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xa1a\x01",
    ],
)
async def test_S4_a_hostile_payload_is_no_session_sealed_or_not(site: Site, payload: bytes) -> None:
    token = await site.new(a=1)
    record = await site.world.record(token)
    await site.world.plant(replace(record, payload=payload))
    await _is_no_session(site, token)
    # And even if somebody could seal it
    record = await site.world.record(token)
    recorder = site.manager._recorder
    sealed = Sealed(Keyring([SECRET])).seal(payload, token, _context(record))
    assert recorder.read(token, await site.world.record(token), now=site.world.clock.now()) is None
    await site.world.plant(replace(record, payload=sealed))
    await _is_no_session(site, token)


def _context(record: Record) -> bytes:
    return authenticated(record.key, record.created_at, record.absolute_deadline, record.subject, record.info)


# Rotation


async def test_rotated_by_the_documented_order_nobody_is_signed_out(world: World) -> None:
    before = Keyring([OLD_SECRET])
    between = Keyring([OLD_SECRET, SECRET])
    after = Keyring([SECRET, OLD_SECRET])
    # Each server restarts at its own time: the two that are next to each other run side by side.
    for old, new in ((before, between), (between, after)):
        for writer, reader in ((old, new), (new, old)):
            one, two = world.site(keyring=writer), world.site(keyring=reader)
            token = await one.new(_subject="ann", a=1)
            assert await two.values(token) == {"_subject": "ann", "a": 1}
            session = await two.save(token, a=2)
            session.renew()
            await two.commit(session)
            assert await one.values(session.token) == {"_subject": "ann", "a": 2}


async def test_a_save_seals_under_the_first_secret_and_a_read_leaves_the_record_alone(world: World) -> None:
    old, new = world.site(keyring=Keyring([OLD_SECRET])), world.site(keyring=Keyring([SECRET, OLD_SECRET]))
    only_new = world.site(keyring=Keyring([SECRET]))
    token = await old.new("Firefox", _subject="ann", a=1)
    await new.commit(await new.open(token))
    assert await only_new.values(token) is None
    await new.save(token, a=2)
    assert await only_new.values(token) == {"_subject": "ann", "a": 2}
    (summary,) = await only_new.sessions_of("ann")
    assert (summary.subject, summary.label) == ("ann", "Firefox")


async def test_a_save_after_a_rotation_does_not_lengthen_the_absolute_limit(
    world: World, clock: FakeClock
) -> None:
    old = world.site(keyring=Keyring([OLD_SECRET]), policy=_POLICY)
    new = world.site(keyring=Keyring([SECRET, OLD_SECRET]), policy=_POLICY)
    token = await old.new(_subject="ann")
    clock.advance(3_600)
    await new.save(token, a=1)
    clock.advance(86_400 - 3_600 - 1)
    assert await new.exists(token)
    clock.advance(1)
    assert not await new.exists(token)


async def test_under_a_secret_that_was_removed_a_session_is_none_without_an_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sojourn")
    old, new = world.site(keyring=Keyring([OLD_SECRET]), policy=_POLICY), world.site(policy=_POLICY)
    token = await old.new(_subject="ann", a=1)
    await _is_no_session(new, token)
    assert {entry.levelno for entry in caplog.records} == {logging.INFO}
    assert all(key(token)[:12] in entry.getMessage() for entry in caplog.records)
    assert await old.values(token) == {"_subject": "ann", "a": 1}  # the record is still there


async def test_L6_after_a_rotation_sessions_of_both_secrets_are_listed_and_ended(world: World) -> None:
    old, new = world.site(keyring=Keyring([OLD_SECRET])), world.site(keyring=Keyring([SECRET, OLD_SECRET]))
    tokens = [
        await old.new("old", _subject="ann"),
        await new.new("new", _subject="ann"),
        await new.new(_subject="ben"),
    ]
    assert {summary.label for summary in await new.sessions_of("ann")} == {"old", "new"}
    assert await new.revoke_subject("ann") == 2
    assert [await new.exists(token) for token in tokens] == [False, False, True]


async def test_T3_a_session_under_another_secret_that_is_revoked_cannot_be_renewed(world: World) -> None:
    old, new = world.site(keyring=Keyring([OLD_SECRET])), world.site(keyring=Keyring([SECRET, OLD_SECRET]))
    session = await new.open(await old.new(_subject="ann"))
    session.renew()
    await new.revoke_subject("ann")
    with pytest.raises(SessionGoneError):
        await new.commit(session)
    assert await new.sessions_of("ann") == []


async def test_C1_a_sign_out_ends_what_was_renewed_meanwhile_and_no_other_session_of_the_user(
    world: World,
) -> None:
    old, new = world.site(keyring=Keyring([OLD_SECRET])), world.site(keyring=Keyring([SECRET, OLD_SECRET]))
    token, other = await old.new(_subject="anna"), await old.new(_subject="anna")
    leaving, staying = await new.open(token), await new.open(token)
    staying.renew(authenticated=True)
    world.clock.advance(5)
    await new.commit(staying)
    leaving.end()
    await new.commit(leaving)
    assert await new.values(staying.token) is None
    assert await new.values(other) == {"_subject": "anna"}


async def test_CVE_2012_3458_a_payload_sealed_again_looks_different_in_every_part(site: Site) -> None:
    token = await site.new(_subject="ann", a="x" * 64)
    seen: set[bytes] = set()
    for number in range(20):
        session = await site.open(token)
        session["number"] = number % 2
        await site.commit(session, saves=True)
        record = await site.world.record(token)
        blocks = {record.payload[at : at + 16] for at in range(9, len(record.payload) - 15, 16)}
        assert not blocks & seen
        seen |= blocks


async def test_CVE_2012_3458_equal_infos_of_two_sessions_look_different(site: Site) -> None:
    one, other = [await site.world.record(await site.new("browser", _subject="ann")) for _ in range(2)]
    assert not {one.info[at : at + 8] for at in range(9, len(one.info) - 7)} & {
        other.info[at : at + 8] for at in range(9, len(other.info) - 7)
    }


async def test_a_save_keeps_the_info_that_still_says_the_same_and_writes_one_that_does_not(
    site: Site,
) -> None:
    token = await site.new("browser", _subject="ann", a=1)
    before = await site.world.record(token)
    await site.save(token, a=2)
    assert (await site.world.record(token)).info == before.info
    await site.save(token, **{EXPIRY_KEY: 60})
    assert (await site.world.record(token)).info != before.info
    (summary,) = await site.sessions_of("ann")
    assert summary.label == "browser"
    assert summary.last_seen == site.world.clock.now()
