"""Sessions that travel in their cookies: their life, the revocation list, and what spills into a store."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Keyring, Policy
from sojourn.carriers import CookieOptions, Revocations
from sojourn.carriers.lineage import Lineage
from sojourn.carriers.plain import LONGEST_LIFE
from sojourn.carriers.revocations import Standing, who
from sojourn.errors import (
    ConfigurationError,
    ConflictError,
    EncodeError,
    PayloadTooLargeError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.manager import AsyncCookieManager, CookieManager
from sojourn.policy import EXPIRY_KEY, Action
from sojourn.record import DAY, Record, Version, dated_key
from sojourn.recording import Recorder
from sojourn.session import Session
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import AsyncFaultyStore, Fail, FaultyStore, Meanwhile
from sojourn.token import key_for, new_token
from tests.core.sites import OLD_SECRET, SECRET, answer, drive

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sojourn.carriers.lineage import CarriedSession
    from sojourn.testing import FakeClock

HOUR = 3600
POLICY = Policy(idle_timeout=HOUR, absolute_timeout=24 * HOUR)
ROOM = 2000


class Cookies:
    """One process of a site whose sessions are in cookies; others may share its stores."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        use_async: bool,
        listed: bool = True,
        spills: bool = False,
        like: Cookies | None = None,
        keyring: Keyring | None = None,
        lag: float = 0,
        **settings: Any,
    ) -> None:
        self.clock = clock
        self.use_async = use_async
        faulty: Any = AsyncFaultyStore if use_async else FaultyStore
        self.stores: list[Any] = [self._store(clock), self._store(clock)] if like is None else like.stores
        self._done: Any = None
        self.listed, self.spilled = map(faulty, self.stores)
        manager: Any = AsyncCookieManager if use_async else CookieManager
        self.manager = manager(
            Keyring([SECRET], cookie_name="session") if keyring is None else keyring,
            revocations=Revocations(self.listed, clock=clock, lag=lag) if listed else None,
            spill=self.spilled if spills else None,
            **{"clock": clock, "policy": POLICY, "options": CookieOptions(room=ROOM)} | settings,
        )

    def _store(self, clock: FakeClock) -> Any:
        store = MemoryStore(clock=clock)
        return AsyncMemoryStore(store) if self.use_async else store

    def process(self, **settings: Any) -> Cookies:
        """Return another process of the site."""
        return Cookies(self.clock, use_async=self.use_async, like=self, **settings)

    async def open(self, value: str | None) -> CarriedSession:
        session: CarriedSession = await answer(self.manager.open(value))
        return session

    async def commit(self, session: Any, **options: Any) -> str:
        """Commit; return what the cookie has to carry now."""
        self._done = await answer(self.manager.commit(session, **options))
        return session.token or ""

    def done(self) -> Action:
        """Return what the last commit did."""
        done: Action = self._done
        return done

    async def new(self, **values: Any) -> str:
        session = await self.open(None)
        session.update(values)
        return await self.commit(session)

    async def save(self, value: str, **values: Any) -> str:
        session = await self.open(value)
        session.update(values)
        return await self.commit(session)

    async def renew(self, value: str, **values: Any) -> str:
        session = await self.open(value)
        session.update(values)
        session.renew()
        return await self.commit(session)

    async def end(self, value: str) -> None:
        session = await self.open(value)
        session.end()
        await self.commit(session)

    async def values(self, value: str) -> dict[str, Any] | None:
        session = await self.open(value)
        return None if session.record is None else dict(session)

    async def revoke_subject(self, subject: str, **options: Any) -> int:
        ended: int = await answer(self.manager.revoke_subject(subject, **options))
        return ended

    def calls(self) -> list[str]:
        """Return what was asked of both stores since the last call."""
        made = [call.name for store in (self.listed, self.spilled) for call in store.calls]
        self.listed.forget()
        self.spilled.forget()
        return made

    def meanwhile(self, do: Any, *arguments: Any, before: str = "update") -> None:
        """Have something else happen just before the list is changed."""

        def plain() -> Any:
            coroutine: Coroutine[Any, Any, Any] = do(*arguments)
            return coroutine if self.use_async else drive(coroutine)

        self.listed.plan(Meanwhile(before, plain))  # type: ignore[arg-type]


@pytest.fixture(params=["plain", "async"])
def make(request: pytest.FixtureRequest, clock: FakeClock) -> Any:
    return partial(Cookies, clock, use_async=request.param == "async")


@pytest.fixture
def site(make: Any) -> Cookies:
    """A site with a revocation list."""
    made: Cookies = make()
    return made


@pytest.fixture
def bare(make: Any) -> Cookies:
    """A site without one."""
    made: Cookies = make(listed=False)
    return made


def noise(octets: int) -> str:
    """Return text that does not get shorter by compression."""
    return random.Random(octets).randbytes(octets // 2).hex()


# --- from one cookie to the next ---------------------------------------------------------------------


async def test_a_session_lives_in_its_cookie_and_in_no_store(bare: Cookies) -> None:
    value = await bare.new(basket=["apple"])
    assert bare.done() is Action.CREATE
    session = await bare.open(value)
    session["basket"].append("pear")
    value = await bare.commit(session)
    assert bare.done() is Action.UPDATE
    assert await bare.values(value) == {"basket": ["apple", "pear"]}
    assert bare.calls() == []


async def test_session_id_and_public_id_survive_saves_and_renewals(site: Cookies) -> None:
    value = await site.new(a=1)
    first = await site.open(value)
    for change in (site.save, site.renew, site.save):
        value = await change(value, a=change.__name__)
    session = await site.open(value)
    assert session.lineage is not None
    assert first.lineage is not None
    assert session.lineage.id == first.lineage.id
    assert session.lineage.generation == 1
    assert session.public_id == first.public_id is not None


@pytest.mark.parametrize("sent", ["", "x", "A" * 40, "A" * 200, "a b", "\u00e9" * 100, "=" * 200, "a:b:c"])
async def test_D2_what_is_no_cookie_of_ours_is_no_session_and_costs_nothing(site: Cookies, sent: str) -> None:
    session = await site.open(sent)
    assert session.unknown_token
    assert session.record is None
    assert await site.commit(session) == ""
    assert site.done() is Action.NOTHING
    assert not await answer(site.manager.exists(sent))
    assert not await answer(site.manager.delete(sent))
    assert site.calls() == []


async def test_D1_a_visitor_who_sets_nothing_gets_no_cookie(site: Cookies) -> None:
    assert await site.new() == ""
    assert site.done() is Action.NOTHING


async def test_a_value_that_cannot_be_stored_changes_nothing(site: Cookies) -> None:
    value = await site.new(a=1)
    with pytest.raises(EncodeError):
        await site.save(value, b=object())
    assert await site.values(value) == {"a": 1}


# --- deadlines ---------------------------------------------------------------------------------------


async def test_L1_the_server_ends_a_session_at_its_idle_deadline_whatever_the_browser_does(
    bare: Cookies,
) -> None:
    value = await bare.new(a=1)
    bare.clock.advance(HOUR - 1)
    assert await bare.values(value) == {"a": 1}
    bare.clock.advance(1)
    assert await bare.values(value) is None
    assert (await bare.open(value)).unknown_token


async def test_L1_activity_moves_the_idle_deadline_and_never_the_absolute_one(bare: Cookies) -> None:
    value = await bare.new(a=-1)
    for count in range(24 * 2 - 1):
        bare.clock.advance(HOUR // 2)
        value = await bare.save(value, a=count)
    bare.clock.advance(HOUR // 2 - 1)
    assert await bare.values(value) is not None
    bare.clock.advance(1)
    assert await bare.values(value) is None


async def test_L1_an_absolute_timeout_set_later_counts_for_cookies_there_are(bare: Cookies) -> None:
    value = await bare.new(a=0)
    bare.clock.advance(HOUR // 2)
    assert await bare.process(listed=False, policy=Policy(absolute_timeout=HOUR // 2)).values(value) is None


async def test_L1_a_session_that_is_nobodys_ends_sooner(bare: Cookies) -> None:
    process = bare.process(listed=False, policy=Policy(idle_timeout=HOUR, anonymous_timeout=60))
    anonymous, signed_in = await process.new(a=0), await process.new(a=0, _subject="ann")
    bare.clock.advance(60)
    assert await process.values(anonymous) is None
    bare.clock.advance(HOUR - 61)
    assert await process.values(signed_in) is not None


async def test_L2_a_cookie_from_the_future_is_no_session_yet(bare: Cookies) -> None:
    value = await bare.new(a=1)
    bare.clock.step(-HOUR)
    assert await bare.values(value) is None
    bare.clock.step(HOUR)
    assert await bare.values(value) == {"a": 1}


async def test_L2_a_clock_set_back_revives_what_had_expired_as_the_documentation_says_and_no_logout(
    site: Cookies,
) -> None:
    expired, ended = await site.new(_subject="ann"), await site.new(_subject="ann")
    await site.end(ended)
    site.clock.advance(HOUR + 60)
    await answer(site.manager.purge())
    assert await site.values(expired) is None
    site.clock.step(-HOUR / 2)
    assert await site.values(expired) == {"_subject": "ann"}
    assert await site.values(ended) is None
    site.clock.advance(HOUR / 2 - 60)
    assert await site.values(expired) is None, "it has the deadline it had"


async def test_T7_no_cookie_is_a_session_for_more_than_400_days(bare: Cookies) -> None:
    eternal = bare.process(listed=False, policy=Policy())
    value = await eternal.new(**{EXPIRY_KEY: 1000 * 86_400})
    bare.clock.advance(LONGEST_LIFE / 1000 - 1)
    assert await eternal.values(value) is not None
    bare.clock.advance(1)
    assert await eternal.values(value) is None


async def test_reads_write_no_cookie_unless_sliding_and_then_one_per_interval(make: Any) -> None:
    still, sliding = make(), make(policy=Policy(idle_timeout=HOUR, sliding=True))
    for site, written in ((still, 0), (sliding, 60 * 20 // 300)):
        value = await site.new(a=1)
        values = {value}
        for _ in range(60):
            site.clock.advance(20)
            value = await site.commit(await site.open(value))
            values.add(value)
        assert len(values) - 1 == written


# --- size --------------------------------------------------------------------------------------------


def filled(site: Cookies, room: int) -> str:
    """Return text with which a session's cookie has exactly ``room`` octets."""
    for octets in range(room, 0, -1):
        session = site.manager.new_session()
        session["a"] = "x" * octets
        try:
            record = site.manager._in_clear.write(
                "", session, session.changes().assigned, source=None, now=0, idle_timeout=1
            )
        except PayloadTooLargeError:
            continue
        if len(site.manager._carrier.write(Lineage.new(), record)) == room:
            return "x" * octets
    raise AssertionError(room)


async def test_T6_a_session_is_saved_up_to_the_last_octet_there_is_room_for(
    bare: Cookies, caplog: pytest.LogCaptureFixture
) -> None:
    exact = bare.process(listed=False, options=CookieOptions(room=ROOM, compress=False))
    longest = filled(exact, ROOM)
    assert len(await exact.new(a=longest)) == ROOM
    assert caplog.text == ""
    with pytest.raises(PayloadTooLargeError, match=r"4098 octets.*limit is 4096.*'a'"):
        await exact.new(a=longest + "x")
    assert "4098 octets" in caplog.text
    assert "largest keys, in bytes: 'a'" in caplog.text
    assert "xxx" not in caplog.text


async def test_D3_too_large_a_session_is_refused_whole_and_the_former_cookie_stays_good(
    site: Cookies, caplog: pytest.LogCaptureFixture
) -> None:
    value = await site.new(a=1, _subject="ann")
    site.calls()
    for octets in (3000, 200_000):
        with pytest.raises(PayloadTooLargeError, match="limit is 4096"):
            await site.renew(value, canary=noise(octets))
    assert site.calls() == ["load", "load"], "nothing was told to the list"
    assert await site.values(value) == {"a": 1, "_subject": "ann"}
    assert noise(3000)[:20] not in caplog.text


# --- without a revocation list -----------------------------------------------------------------------


async def test_L5_without_a_list_nothing_can_be_revoked_and_that_is_said(bare: Cookies) -> None:
    assert not bare.manager.revocable
    value = await bare.new(a=1, _subject="ann")
    await bare.end(value)
    assert await bare.values(value) is not None, "nobody knows that it ended"
    with pytest.raises(ConfigurationError, match="revocation list"):
        await bare.revoke_subject("ann")
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        await answer(bare.manager.sessions_of("ann"))
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        await answer(bare.manager.revoke("0" * 64))


# --- with one ----------------------------------------------------------------------------------------


async def test_L5_every_cookie_of_a_session_is_refused_after_its_logout(site: Cookies) -> None:
    assert site.manager.revocable
    values = [await site.new(a=1)]
    values.append(await site.save(values[-1], a=2))
    values.append(await site.renew(values[-1], _subject="ann"))
    values.append(await site.save(values[-1], a=3))
    values.append(await site.renew(values[-1]))
    assert [await site.values(value) is not None for value in values] == [False, False, False, False, True]
    other = await site.new(_subject="ann")
    await site.end(values[-1])
    elsewhere = site.process()
    for value in values:
        assert await elsewhere.values(value) is None
        assert not await answer(elsewhere.manager.exists(value))
    assert await elsewhere.values(other) is not None, "another session of the same user"
    site.clock.advance(HOUR)
    assert await elsewhere.values(values[-1]) is None, "by its own deadline"


async def test_L5_a_visitors_session_ends_too(site: Cookies) -> None:
    value = await site.new(basket=["apple"])
    later = await site.save(value, basket=[])
    await site.end(later)
    assert await site.values(value) is None
    assert await site.values(later) is None


async def test_T3_the_cookie_from_before_a_renewal_is_dead_at_once(site: Cookies) -> None:
    before = await site.new(a=1, _subject="ann")
    after = await site.renew(before)
    assert await site.values(before) is None
    assert await site.values(after) == {"a": 1, "_subject": "ann"}


async def test_T3_renewing_a_session_that_was_ended_meanwhile_raises_and_gives_no_cookie(
    site: Cookies,
) -> None:
    value = await site.new(a=1, _subject="ann")
    session = await site.open(value)
    await site.end(value)
    session.renew()
    with pytest.raises(SessionGoneError):
        await site.commit(session)
    assert session.token is None


async def test_T3_a_visitor_whose_session_was_ended_meanwhile_begins_another(site: Cookies) -> None:
    value = await site.new(old=1)
    session = await site.open(value)
    former = session.public_id
    await site.end(value)
    session["new"] = 2
    session.renew()
    fresh = await site.commit(session)
    assert await site.values(fresh) == {"new": 2}
    assert (await site.open(fresh)).public_id != former


async def test_T3_L6_a_visitor_who_signs_in_when_the_session_was_ended_begins_another_that_can_be_revoked(
    site: Cookies,
) -> None:
    await site.revoke_subject("ann")
    value = await site.new(old=1)
    session = await site.open(value)
    await site.end(value)
    session["_subject"] = "ann"
    session.renew()
    signed_in = await site.commit(session)
    assert await site.values(signed_in) == {"_subject": "ann"}
    await site.revoke_subject("ann")
    assert await site.values(signed_in) is None


async def test_C1_a_save_after_a_logout_brings_nothing_back(site: Cookies) -> None:
    value = await site.new(a=1, _subject="ann")
    session = await site.open(value)
    await site.end(value)
    session["a"] = 2
    late = await site.commit(session)
    assert await site.values(late) is None, "the cookie that is sent is dead"
    site.clock.advance(HOUR - 1)
    assert await site.values(late) is None


async def test_C1_a_save_that_began_before_a_logout_and_lives_longer_is_dead_to_its_end(
    site: Cookies,
) -> None:
    value = await site.new(a=1, _subject="ann")
    long = await site.open(value)
    long[EXPIRY_KEY] = 20 * HOUR
    other = await site.open(value)
    late = await site.commit(long)
    other.end()
    await site.commit(other)
    for _ in range(20):
        assert await site.values(late) is None
        site.clock.advance(HOUR)


async def test_a_logout_is_known_until_the_last_cookie_would_have_expired_and_then_forgotten(
    make: Any,
) -> None:
    site = make(policy=Policy(idle_timeout=HOUR))
    value = await site.new(_subject="ann", **{EXPIRY_KEY: 100 * HOUR})
    shorter = await site.save(value, **{EXPIRY_KEY: HOUR})
    await site.end(shorter)
    site.clock.advance(100 * HOUR - 1)
    assert await site.values(value) is None
    assert await answer(site.stores[0].load(key_of(site, value))) is not None
    site.clock.advance(2 + DAY / 1000)
    assert await answer(site.stores[0].load(key_of(site, value))) is None


def key_of(site: Cookies, value: str) -> str:
    found = site.manager._carrier.read(value)
    assert found is not None
    return key_for(who(found[0], found[1].subject), namespace="\0revocations")


async def test_L6_sign_out_everywhere_ends_all_sessions_of_a_user_but_the_one_named(site: Cookies) -> None:
    values = [await site.new(a=number, _subject="ann") for number in range(4)]
    stranger = await site.new(_subject="bob")
    here = await site.open(values[0])
    assert await site.revoke_subject("ann", except_session=here) == 0
    elsewhere = site.process()
    assert [await elsewhere.values(value) is not None for value in values] == [True, False, False, False]
    values[0] = await elsewhere.save(values[0], a="saved since")
    assert await site.values(values[0]) is not None
    again = await site.new(_subject="ann")
    assert await site.values(again) is not None, "signed in since"
    assert await site.values(stranger) is not None
    await site.revoke_subject("ann")
    for value in [*values, again]:
        assert await site.values(value) is None


@pytest.mark.parametrize("begins", ["anew", "from a visitor's"])
async def test_L6_however_often_a_sign_in_is_saved_in_its_request_it_is_in_the_present_epoch(
    site: Cookies, begins: str
) -> None:
    await site.revoke_subject("ann")
    session = await site.open(None if begins == "anew" else await site.new(a=1))
    for number in range(3):
        session.update(_subject="ann", a=number)
        session.renew()
        await site.commit(session)
        session["b"] = number
        value = await site.commit(session)
        assert await site.values(value) == {"_subject": "ann", "a": number, "b": number}
    await site.revoke_subject("ann")
    assert await site.values(value) is None


async def test_L6_a_session_that_was_spared_can_still_be_signed_out(site: Cookies) -> None:
    value = await site.new(_subject="ann")
    await site.revoke_subject("ann", except_session=await site.open(value))
    await site.end(value)
    assert await site.values(value) is None


async def test_L6_a_sign_in_during_sign_out_everywhere_is_before_or_after_it(site: Cookies) -> None:
    """The epoch is read at the sign-in: what was read before a new one is dead, whatever the clocks say."""
    session = await site.open(None)
    session["_subject"] = "ann"
    elsewhere = site.process()

    async def everywhere() -> None:
        site.clock.step(-HOUR)  # that machine's clock is slow
        await elsewhere.revoke_subject("ann")
        site.clock.step(HOUR)

    site.listed.plan(
        Meanwhile("load", everywhere if site.use_async else lambda: drive(everywhere()), after=True)
    )
    value = await site.commit(session)
    assert await site.values(value) is None


async def test_C3_after_an_acknowledged_logout_no_process_sees_the_session(site: Cookies) -> None:
    value = await site.new(_subject="ann")
    processes = [site.process() for _ in range(3)]
    for process in processes:
        assert await process.values(value) is not None
    await site.end(value)
    for process in processes:
        assert await process.values(value) is None


async def test_C3_with_a_lag_other_processes_see_it_after_at_most_that_lag(site: Cookies) -> None:
    here, there = site.process(lag=5), site.process(lag=5)
    value = await here.new(_subject="ann")
    assert await there.values(value) is not None
    there.calls()
    await here.end(value)
    assert await here.values(value) is None, "at once where it ended"
    site.clock.advance(4)
    assert await there.values(value) is not None
    assert there.calls() == [], "that is what the lag saves"
    site.clock.advance(1)
    assert await there.values(value) is None


async def test_a_sign_in_after_sign_out_everywhere_holds_although_there_is_a_lag(site: Cookies) -> None:
    here, there = site.process(lag=60), site.process(lag=60)
    assert await there.values(await there.new(_subject="ann")) is not None
    await here.revoke_subject("ann")
    value = await there.new(_subject="ann")
    site.clock.advance(60)
    assert await there.values(value) is not None
    assert await here.values(value) is not None


async def test_F1_a_list_that_does_not_answer_is_an_error_and_nobody_is_signed_out(site: Cookies) -> None:
    value = await site.new(_subject="ann")
    session = await site.open(value)
    site.listed.plan(Fail("load"))
    with pytest.raises(StoreUnavailableError):
        await site.open(value)
    site.listed.plan(Fail("create"))
    session.end()
    with pytest.raises(StoreUnavailableError):
        await site.commit(session)
    assert await site.values(value) is not None


async def test_F1_a_damaged_record_of_the_list_is_an_error_that_says_what_to_do(site: Cookies) -> None:
    value = await site.new(_subject="ann")
    await site.end(value)
    record = await answer(site.stores[0].load(key_of(site, value)))
    await answer(site.stores[0].update(replace(record, payload=b"\x01"), record.version))
    with pytest.raises(StoreUnavailableError, match="delete it"):
        await site.open(value)


async def test_logouts_of_one_user_at_once_are_all_kept(site: Cookies) -> None:
    values = [await site.new(_subject="ann") for _ in range(6)]
    sessions = [await site.process().open(value) for value in values]
    for value, session in zip(values, sessions, strict=True):
        session.end()
        await site.commit(session)
        assert await site.values(value) is None
    assert [await site.values(value) for value in values] == [None] * 6


async def test_a_change_of_the_list_that_meets_others_without_end_gives_up(site: Cookies) -> None:
    value = await site.new(_subject="ann")
    session = await site.open(value)
    site.listed.plan(Fail("create", error=ConflictError, times=None))
    site.listed.plan(Meanwhile("load", lambda: _advance(site)))
    session.end()
    with pytest.raises(ConflictError, match="try again"):
        await site.commit(session)


def _advance(site: Cookies) -> Any:
    site.clock.advance(6)
    return _nothing() if site.use_async else None


async def _nothing() -> None: ...


async def test_who_signs_out_of_very_many_sessions_is_signed_out_everywhere_for_once(
    site: Cookies, caplog: pytest.LogCaptureFixture
) -> None:
    values = [await site.new(_subject="robot") for _ in range(502)]
    for value in values[:-1]:
        assert await site.values(value) is not None
        await site.end(value)
    assert await site.values(values[-1]) is None
    assert "all the user's sessions end now" in caplog.text
    assert "robot" not in caplog.text
    assert await site.values(await site.new(_subject="robot")) is not None


async def test_S1_the_list_holds_neither_names_nor_cookies_nor_what_is_in_them(site: Cookies) -> None:
    value = await site.new(_subject="canary-5e1f0c")
    await site.end(value)
    record = await answer(site.stores[0].load(key_of(site, value)))
    assert b"canary" not in record.payload
    assert record.subject is None
    assert not record.info
    assert value.encode() not in record.payload


# --- the budget --------------------------------------------------------------------------------------


async def test_each_request_costs_the_round_trips_of_the_budget(make: Any) -> None:
    counted: dict[str, list[int]] = {}
    for listed in (False, True):
        site: Cookies = make(listed=listed)

        async def note(name: str, request: Any, site: Cookies = site) -> Any:
            site.calls()
            answered = await request
            counted.setdefault(name, []).append(len(site.calls()))
            return answered

        visitor = await note("new", site.new(a=1))
        await note("read", site.values(visitor))
        await note("modified", site.save(visitor, a=2))
        await note("login, no session before", site.new(_subject="ann"))
        signed_in = await note("login, with one", site.renew(visitor, _subject="ann"))
        await note("read, signed in", site.values(signed_in))
        await note("modified, signed in", site.save(signed_in, a=3))
        again = await note("login again", site.renew(signed_in, _subject="ann"))
        await note("logout", site.end(again))
    assert counted == {
        "new": [0, 0],
        "read": [0, 1],
        "modified": [0, 1],
        "login, no session before": [0, 1],
        # The visitor's cookie dies in a record of its own, and the user's epoch is read from another.
        "login, with one": [0, 3],
        "read, signed in": [0, 1],
        "modified, signed in": [0, 1],
        "login again": [0, 2],
        "logout": [0, 2],
    }


# --- secrets -----------------------------------------------------------------------------------------


async def test_a_session_moves_to_the_first_secret_at_its_next_save_and_stays_revocable(
    site: Cookies,
) -> None:
    def under(*secrets: str) -> Cookies:
        return site.process(keyring=Keyring(list(secrets), cookie_name="session"))

    former, both, new = under(OLD_SECRET), under(SECRET, OLD_SECRET), under(SECRET)
    old = await former.new(_subject="ann")
    assert await new.values(old) is None, "a secret not listed"
    moved = await both.save(old, a=1)
    assert await new.values(moved) is not None
    second = await former.new(_subject="ann")
    await both.end(moved)
    for value in (old, moved):
        assert await both.values(value) is None
    assert await both.values(second) is not None
    await both.revoke_subject("ann")
    assert await both.values(second) is None
    third = await both.save(await former.new(_subject="bob"), a=1)
    await both.revoke_subject("bob", except_session=await both.open(third))
    assert await both.values(third) is not None


async def test_a_session_that_was_ended_while_it_moved_to_another_secret_is_gone(site: Cookies) -> None:
    both = site.process(keyring=Keyring([SECRET, OLD_SECRET], cookie_name="session"))
    former = site.process(keyring=Keyring([OLD_SECRET], cookie_name="session"))
    value = await former.new(_subject="ann")
    session = await both.open(value)
    await both.revoke_subject("ann")
    session["a"] = 1
    with pytest.raises(SessionGoneError):
        await both.commit(session)


# --- spilling ----------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["no list", "list"])
def spilling(request: pytest.FixtureRequest, make: Any) -> Cookies:
    made: Cookies = make(spills=True, listed=request.param)
    return made


async def test_what_does_not_fit_moves_to_the_store_and_back_and_stays_the_same_session(
    spilling: Cookies,
) -> None:
    small = await spilling.new(_subject="ann", a=1)
    begun = (await spilling.open(small)).record
    large = await spilling.save(small, noise=noise(20_000))
    assert len(large) == 40
    assert await spilling.values(large) == {"_subject": "ann", "a": 1, "noise": noise(20_000)}
    larger = await spilling.save(large, b=2)
    assert larger == large
    session = await spilling.open(larger)
    assert session.lineage is not None
    del session["noise"]
    back = await spilling.commit(session)
    assert len(back) > 40
    assert await spilling.values(back) == {"_subject": "ann", "a": 1, "b": 2}
    again = await spilling.open(back)
    assert again.lineage is not None
    assert again.lineage.id == session.lineage.id
    assert begun is not None
    assert again.record is not None
    assert again.record.created_at == begun.created_at


def test_a_session_that_another_engine_keeps_by_the_day_is_told_from_others_of_that_day(make: Any) -> None:
    cookies: Cookies = make(spills=True)
    now, recorder = cookies.clock.now(), cookies.manager._spill_recorder
    token = new_token(20_000)
    record = Recorder.write(
        recorder, token, Session(recorder.codec), {}, source=None, now=now, idle_timeout=HOUR
    )
    lineage, _ = recorder.read_with_lineage(token, record, now=now)
    assert dated_key("f" * 64, 20_000)[:12] not in lineage.id.hex()


async def test_F4_a_browser_that_the_answer_does_not_reach_finds_the_session_where_it_was(
    spilling: Cookies,
) -> None:
    large = await spilling.new(a=1, noise=noise(20_000))
    session = await spilling.open(large)
    del session["noise"]
    assert len(await spilling.commit(session)) > 40, "it went back into a cookie, which is lost on its way"
    spilling.clock.advance(HOUR - 1)
    assert await spilling.values(large) is not None
    again = await spilling.open(large)
    again["a"] = 2
    del again["noise"]
    value = await spilling.commit(again)
    assert len(value) > 40
    assert await spilling.values(value) == {"a": 2}
    spilling.clock.advance(1)
    assert await spilling.values(large) is None, "as if it had never gone back"


async def test_L5_the_token_of_a_session_that_went_back_ends_with_it(make: Any) -> None:
    site = make(spills=True)
    large = await site.new(_subject="ann", noise=noise(20_000))
    session = await site.open(large)
    del session["noise"]
    await site.end(await site.commit(session))
    assert await site.values(large) is None


async def test_C1_a_session_that_ended_in_the_store_meanwhile_does_not_come_back_into_a_cookie(
    spilling: Cookies,
) -> None:
    large = await spilling.new(_subject="ann", noise=noise(20_000))
    session = await spilling.open(large)
    await spilling.end(large)
    del session["noise"]
    if spilling.manager.revocable:
        assert await spilling.values(large) is None
    with pytest.raises(SessionGoneError):
        await spilling.commit(session)
    assert session.token is None


async def test_C2_what_another_request_saved_meanwhile_is_kept_by_one_that_goes_back(
    spilling: Cookies,
) -> None:
    large = await spilling.new(noise=noise(20_000))
    session = await spilling.open(large)
    await spilling.save(large, theirs=1)
    del session["noise"]
    session["ours"] = 2
    value = await spilling.commit(session)
    assert await spilling.values(value) == {"theirs": 1, "ours": 2}
    assert len(await spilling.save(value, ours=3)) > 40


async def test_T3_the_token_from_before_a_renewal_that_goes_back_is_dead_at_once(spilling: Cookies) -> None:
    large = await spilling.new(noise=noise(20_000))
    session = await spilling.open(large)
    del session["noise"]
    session["_subject"] = "ann"
    session.renew()
    value = await spilling.commit(session)
    assert len(value) > 40
    assert await spilling.values(large) is None
    assert await spilling.values(value) == {"_subject": "ann"}


async def test_one_that_spilled_goes_back_only_with_room_to_grow(spilling: Cookies) -> None:
    large = await spilling.new(noise=noise(3000))
    nearly = await spilling.save(large, noise=noise(2000))
    assert len(nearly) == 40
    assert len(await spilling.new(noise=noise(2000))) > 40
    assert len(await spilling.save(large, noise=noise(600))) > 40


async def test_L1_time_in_the_store_counts(spilling: Cookies) -> None:
    value = await spilling.new(a=-1)
    for count in range(24 * 2 - 1):
        spilling.clock.advance(HOUR // 2)
        value = await spilling.save(value, a=noise(20_000) if count % 5 == 0 else count)
    spilling.clock.advance(HOUR // 2)
    assert await spilling.values(value) is None


async def test_L5_a_session_that_spilled_ends_like_any_other(spilling: Cookies) -> None:
    small = await spilling.new(_subject="ann")
    large = await spilling.save(small, noise=noise(20_000))
    renewed = await spilling.renew(large)
    assert len(renewed) == 40
    assert renewed != large
    assert await spilling.values(large) is None
    await spilling.end(renewed)
    assert await spilling.values(renewed) is None
    if spilling.manager.revocable:
        assert await spilling.values(small) is None


async def test_L6_sign_out_everywhere_reaches_those_that_spilled(make: Any) -> None:
    site = make(spills=True)
    value = await site.new(_subject="ann", noise=noise(20_000))
    assert await site.values(value) is not None
    await site.revoke_subject("ann")
    assert await site.values(value) is None


async def test_C2_two_requests_with_a_session_that_spilled_keep_both_changes(spilling: Cookies) -> None:
    value = await spilling.new(noise=noise(20_000))
    one, two = await spilling.open(value), await spilling.open(value)
    one["one"], two["two"] = 1, 2
    await spilling.commit(one)
    await spilling.commit(two)
    values = await spilling.values(value)
    assert values is not None
    assert (values["one"], values["two"]) == (1, 2)


async def test_two_requests_with_a_cookie_overwrite_each_other_as_the_documentation_says(
    bare: Cookies,
) -> None:
    value = await bare.new(a=1)
    one, two = await bare.open(value), await bare.open(value)
    one["one"], two["two"] = 1, 2
    await bare.commit(one)
    assert await bare.values(await bare.commit(two)) == {"a": 1, "two": 2}


async def test_purging_clears_list_and_store(make: Any) -> None:
    site = make(spills=True, policy=Policy(idle_timeout=HOUR))
    await site.end(await site.new(_subject="ann"))
    await site.new(noise=noise(20_000))
    assert await answer(site.manager.purge()) == 0
    site.clock.advance(HOUR + DAY / 1000)
    assert await answer(site.manager.purge()) == 2


def test_what_the_list_says_is_read_as_it_was_written() -> None:
    said = Standing(epoch=7, epoch_until=9, spared=frozenset({b"a" * 12}), accounts={}).with_account(
        b"b" * 12, 3, 40
    )
    record = Record(
        key="0" * 64, payload=said.encode(), created_at=1, idle_deadline=said.until, version=Version(1, 1)
    )
    assert Standing.of(record) == replace(said, version=Version(1, 1))
    assert said.until == 40


def test_T12_no_repr_or_log_shows_a_session_id_or_a_cookie(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    site = Cookies(clock, use_async=False)
    caplog.set_level(logging.DEBUG)
    value = drive(site.new(a=noise(200)))
    session = drive(site.open(value))
    assert session.lineage is not None
    for shown in (
        repr(session),
        repr(session.token),
        repr(session.lineage),
        repr(session.record),
        caplog.text,
    ):
        assert value[20:40] not in shown
        assert session.lineage.name not in shown
