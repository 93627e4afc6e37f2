"""No update is lost: requests that save the same session at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sojourn.errors import ConflictError, SessionGoneError
from sojourn.policy import Action
from sojourn.testing import Meanwhile
from tests.core.sites import KINDS

if TYPE_CHECKING:
    from sojourn.session import Session
    from sojourn.testing import FakeClock
    from tests.core.sites import Site, World

_WRITERS, _WRITES = 8, 50


async def _yield() -> None:
    await asyncio.sleep(0)


def _interleave(site: Site) -> None:
    """Let another task go on at every operation; threads need no such thing."""
    if site.world.asynchronous:
        site.store.plan(Meanwhile("*", _yield, times=None))


# Many at once


@pytest.mark.parametrize("processes", [1, _WRITERS])
async def test_C2_400_of_400_writes_of_distinct_keys_are_kept(world: World, processes: int) -> None:
    sites = [world.site() for _ in range(processes)]
    token = await sites[0].new(start=1)

    async def write(writer: int) -> None:
        site = sites[writer % processes]
        for number in range(_WRITES):
            session = await site.open(token)
            session[f"{writer} {number}"] = number
            assert await site.commit(session) is Action.UPDATE

    for site in sites:
        _interleave(site)
    await world.race(*(write(writer) for writer in range(_WRITERS)))
    expected = {f"{writer} {number}": number for writer in range(_WRITERS) for number in range(_WRITES)}
    assert await sites[0].values(token) == {"start": 1, **expected}
    assert (await world.record(token)).version.counter == 401


async def test_C2_nested_appends_to_different_keys_are_all_kept(world: World) -> None:
    site = world.site()
    token = await site.new(**{f"list {writer}": [] for writer in range(4)})

    async def append(writer: int) -> None:
        for number in range(20):
            session = await site.open(token)
            session[f"list {writer}"].append(number)
            await site.commit(session)

    _interleave(site)
    await world.race(*(append(writer) for writer in range(4)))
    assert await site.values(token) == {f"list {writer}": list(range(20)) for writer in range(4)}


async def test_C2_of_the_same_key_the_last_acknowledged_write_wins(world: World) -> None:
    site = world.site()
    token = await site.new(a="start")
    acknowledged: list[tuple[int, str]] = []

    async def write(writer: int) -> None:
        for number in range(20):
            session = await site.open(token)
            session["a"] = f"{writer} {number}"
            await site.commit(session)
            assert session.record is not None
            acknowledged.append((session.record.version.counter, session["a"]))

    _interleave(site)
    await world.race(*(write(writer) for writer in range(4)))
    assert len({counter for counter, _ in acknowledged}) == 80
    assert await site.values(token) == {"a": max(acknowledged)[1]}


async def test_C2_deletes_and_writes_of_distinct_keys_are_all_kept(world: World) -> None:
    site = world.site()
    token = await site.new(**{f"old {number}": number for number in range(40)})

    async def change(writer: int) -> None:
        for number in range(writer, 40, 4):
            session = await site.open(token)
            del session[f"old {number}"]
            session[f"new {number}"] = number
            await site.commit(session)

    _interleave(site)
    await world.race(*(change(writer) for writer in range(4)))
    assert await site.values(token) == {f"new {number}": number for number in range(40)}


async def test_C2_renewals_among_the_writes_lose_nothing_that_was_acknowledged(world: World) -> None:
    site, other = world.site(), world.site()
    tokens = [await site.new(_subject="ann", start=1)]
    kept: dict[str, Any] = {}

    async def write(writer: int) -> None:
        for number in range(20):
            session = await site.open(tokens[-1])
            name = f"{writer} {number}"
            session[name] = number
            try:
                await site.commit(session)
            except SessionGoneError:
                continue  # not acknowledged: the session had been renewed
            if session.record is not None:
                kept[name] = number

    async def renew() -> None:
        for _ in range(10):
            session = await other.open(tokens[-1])
            session.renew()
            await other.commit(session)
            assert session.token is not None
            tokens.append(session.token)

    _interleave(site)
    _interleave(other)
    await world.race(write(0), write(1), renew())
    values = await site.values(tokens[-1])
    # What found no session wrote to a session of its own, which is not this one.
    assert values is not None
    assert {name for name in kept if name in values} == values.keys() - {"_subject", "start"}
    assert [await site.exists(token) for token in tokens[:-1]] == [False] * 10


# Two at once, step by step


async def _two(world: World, **values: Any) -> tuple[Site, Session, Site, Session]:
    """Return one session as two processes have loaded it."""
    one, two = world.site(), world.site()
    token = await one.new(**values)
    return one, await one.open(token), two, await two.open(token)


async def test_C2_after_a_merge_the_session_shows_the_other_requests_changes(world: World) -> None:
    one, first, two, second = await _two(world, gone=1, theirs=[1], mine=[1], both=1)
    basket = first["mine"]
    assert first["theirs"] == [1]
    second["theirs"].append(2)
    second["new"] = 1
    second["both"] = 2
    del second["gone"]
    await two.commit(second)
    first["mine"].append(2)
    first["both"] = 3
    one.store.forget()
    assert await one.commit(first) is Action.UPDATE
    assert one.store.counts == {"update": 2, "load": 1}
    assert dict(first) == {"theirs": [1, 2], "mine": [1, 2], "both": 3, "new": 1}
    assert await two.values(first.token) == dict(first)
    basket.append(3)
    first["theirs"].append(3)
    await one.commit(first)
    assert await two.values(first.token) == {"theirs": [1, 2, 3], "mine": [1, 2, 3], "both": 3, "new": 1}


async def test_C2_a_renewal_takes_the_other_requests_changes_along(world: World) -> None:
    one, first, two, second = await _two(world, a=1, b=1)
    old = first.token
    second["b"] = 2
    await two.commit(second)
    first["a"] = 2
    first.renew()
    assert await one.commit(first) is Action.MOVE
    assert first.token != old
    assert await two.values(first.token) == {"a": 2, "b": 2}
    assert await two.values(old) is None


async def test_C2_clear_replaces_what_another_request_has_stored_meanwhile(world: World) -> None:
    one, first, two, second = await _two(world, a=1, b=1)
    second["c"] = 1
    await two.commit(second)
    first.clear()
    first["d"] = 1
    await one.commit(first)
    assert dict(first) == {"d": 1}
    assert await two.values(first.token) == {"d": 1}


async def test_C2_a_key_removed_here_and_changed_there_is_gone(world: World) -> None:
    one, first, two, second = await _two(world, a=1, b=1)
    second["a"] = 2
    await two.commit(second)
    del first["a"]
    await one.commit(first)
    assert await two.values(first.token) == {"b": 1}


async def test_C2_a_touch_by_another_request_is_no_conflict(world: World, clock: FakeClock) -> None:
    one, first, two, second = await _two(world, a=1)
    clock.advance(3_600)
    assert await two.commit(second, saves=True) is Action.TOUCH
    first["a"] = 2
    one.store.forget()
    await one.commit(first)
    assert one.store.counts == {"update": 1}


# Two users


def _sign_in(session: Session, user: str) -> None:
    session.update(_auth_user_id=user, _auth_user_backend="backend", _auth_user_hash=f"hash of {user}")


@pytest.mark.parametrize("renews", [False, True])
async def test_C2_two_users_who_sign_in_to_one_session_at_once_never_mix(
    world: World, *, renews: bool
) -> None:
    one, first, two, second = await _two(world, cart=[1])
    _sign_in(second, "2")
    await two.commit(second)
    _sign_in(first, "1")
    if renews:
        first.renew(authenticated=True)
    with pytest.raises(ConflictError, match="_auth_user_"):
        await one.commit(first)
    assert (first["_auth_user_id"], first.token) == ("1", second.token)
    values = await two.values(second.token)
    assert values is not None
    assert (values["_auth_user_id"], values["_auth_user_hash"]) == ("2", "hash of 2")


async def test_C2_two_users_racing_to_sign_in_leave_one_of_them_whole(world: World) -> None:
    sites = [world.site(), world.site()]
    for _ in range(10):
        token = await sites[0].new(cart=[1])
        tokens: list[str | None] = []

        async def sign_in(
            site: Site, user: str, token: str = token, tokens: list[str | None] = tokens
        ) -> None:
            session = await site.open(token)
            _sign_in(session, user)
            session.renew(authenticated=True)
            try:
                await site.commit(session)
            except (ConflictError, SessionGoneError):
                return
            tokens.append(session.token)

        for site in sites:
            _interleave(site)
        await world.race(sign_in(sites[0], "1"), sign_in(sites[1], "2"))
        assert tokens
        for signed_in in tokens:
            values = await sites[0].values(signed_in)
            assert values is not None
            assert values["_auth_user_hash"] == f"hash of {values['_auth_user_id']}"


async def test_C2_signing_out_by_deleting_keys_does_not_sign_somebody_else_out(world: World) -> None:
    one, first, two, second = await _two(world, a=1)
    _sign_in(first, "1")
    await one.commit(first)
    second = await two.open(first.token)
    third = await one.open(first.token)
    for name in list(second):
        del second[name]
    _sign_in(third, "2")
    await one.commit(third)
    with pytest.raises(ConflictError):
        await two.commit(second)
    assert (await one.open(first.token))["_auth_user_id"] == "2"


# No end of conflicts


async def test_C2_a_save_gives_up_in_time_with_an_error_and_can_be_made_again(
    world: World, clock: FakeClock
) -> None:
    site, other = world.site(timeout=5.0), world.site()
    token = await site.new(a=0)
    session = await site.open(token)
    session["mine"] = 1

    async def write() -> None:
        clock.advance(1)
        await other.save(token, a=clock.now())

    site.meanwhile("update", write, times=None)
    with pytest.raises(ConflictError, match="try again"):
        await site.commit(session)
    assert site.store.counts["update"] <= 6
    assert session["mine"] == 1
    site.store.heal()
    await site.commit(session)
    values = await site.values(token)
    assert values is not None
    assert values["mine"] == 1
    assert values["a"] == clock.now()


async def test_C2_a_save_waits_for_its_turn_and_then_goes_on_without(world: World) -> None:
    site = world.site(timeout=0.1)
    token = await site.new(a=1)
    first, second = await site.open(token), await site.open(token)
    first["b"], second["c"] = 1, 2
    gate = world.gate(site, "update")
    slow = world.start(site.commit(first))
    await gate.reached()
    assert await site.commit(second) is Action.UPDATE
    gate.open()
    await slow.result()
    assert await site.values(token) == {"a": 1, "b": 1, "c": 2}


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
async def test_C2_a_turn_is_given_back_whatever_happens(world: World, error: type[BaseException]) -> None:
    site = world.site(timeout=0.05)
    token = await site.new(a=1)
    session = await site.open(token)
    session["a"] = 2

    async def fail() -> None:
        raise error

    site.meanwhile("update", fail)
    with pytest.raises(error):
        await site.commit(session)
    await site.commit(session)
    assert await site.values(token) == {"a": 2}


@pytest.mark.parametrize("world", [kind for kind in KINDS if "async" in kind], indirect=True, ids="-".join)
async def test_C5_a_cancelled_save_gives_its_turn_back(world: World) -> None:
    site = world.site(timeout=1.0)
    token = await site.new(a=1)
    held, waiting, last = [await site.open(token) for _ in range(3)]
    held["a"], waiting["b"], last["c"] = 2, 2, 2
    gate = world.gate(site, "update")
    tasks = [asyncio.create_task(site.commit(session)) for session in (held, waiting)]
    await gate.reached()
    for task in reversed(tasks):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await site.commit(last)
    assert await site.values(token) == {"a": 1, "c": 2}


async def test_saves_of_different_sessions_do_not_wait_for_each_other(world: World) -> None:
    site = world.site(timeout=0.05)
    slow_token = await site.new(a=1)
    slow = await site.open(slow_token)
    slow["a"] = 2
    gate = world.gate(site, "update")
    actor = world.start(site.commit(slow))
    await gate.reached()
    others = [await site.new(a=1) for _ in range(5)]
    alike = site.manager._turns.of
    for token in others:
        if slow.record is None or alike((await world.record(token)).key) is alike(slow.record.key):
            continue  # one in 256 shares the lock
        await site.save(token, a=2)
    gate.open()
    await actor.result()
    assert await site.values(slow_token) == {"a": 2}
