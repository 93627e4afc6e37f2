"""Two requests meet at a store's operation: what was ended stays dead, what was acknowledged stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Policy
from sojourn.errors import SessionGoneError
from sojourn.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sojourn.session import Session
    from tests.core.sites import Site, World

    #: Ends the session of a token from another process.
    Ending = Callable[[Site, str], Coroutine[Any, Any, None]]
    #: Changes a session, and is committed by an operation.
    Change = Callable[[Session], None]


async def _signs_out(site: Site, token: str) -> None:
    await site.end(token)


async def _deletes(site: Site, token: str) -> None:
    assert await site.delete(token)


async def _revokes(site: Site, token: str) -> None:
    (summary,) = await site.sessions_of("ann")
    assert await site.revoke(summary.key)


async def _revokes_all(site: Site, token: str) -> None:
    assert await site.revoke_subject("ann") == 1


async def _lets_it_die(site: Site, token: str) -> None:
    site.world.clock.advance(1_209_600)


def _updates(session: Session) -> None:
    session["a"] = "late"


def _renews(session: Session) -> None:
    session.renew(authenticated=True)
    session["a"] = "late"


def _touches(session: Session) -> None:
    session.get("a")


ENDINGS = [_signs_out, _deletes, _revokes, _revokes_all, _lets_it_die]
CHANGES = [("update", _updates), ("move", _renews), ("touch", _touches)]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("operation", "change"), CHANGES)
async def test_C1_what_ends_before_a_slow_save_reaches_the_store_stays_dead(
    world: World, ending: Ending, operation: Any, change: Change
) -> None:
    site, other = world.site(policy=Policy(sliding=True)), world.site()
    token = await site.new(_subject="ann", a=1)
    world.clock.advance(3_600)
    session = await site.open(token)
    change(session)
    site.meanwhile(operation, lambda: ending(other, token))
    with pytest.raises(SessionGoneError):
        await site.commit(session)
    await _is_dead(site, session, token)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("operation", "change"), CHANGES[:2])
async def test_C1_what_ends_between_a_conflict_and_the_next_try_stays_dead(
    world: World, ending: Ending, operation: Any, change: Change
) -> None:
    for at in ("load", operation):
        site, other = world.site(), world.site()
        token = await site.new(_subject="ann", a=1)
        session = await site.open(token)
        change(session)
        await other.save(token, b=1)

        async def end(other: Site = other, token: str = token) -> None:
            await ending(other, token)

        site.meanwhile(at, end, skip=0 if at == "load" else 1)
        with pytest.raises(SessionGoneError):
            await site.commit(session)
        await _is_dead(site, session, token)


async def _is_dead(site: Site, session: Session, token: str) -> None:
    """Check that nothing is left of the session, here or in the store."""
    assert (session.token, session.record, dict(session)) == (None, None, {})
    assert await site.values(token) is None
    assert await site.sessions_of("ann") == []
    site.store.forget()
    assert await site.commit(session) is Action.NOTHING
    assert not site.store.counts


@pytest.mark.parametrize("ending", [_signs_out, _deletes, _revokes_all])
async def test_C1_what_ends_just_after_a_save_is_dead_too(world: World, ending: Ending) -> None:
    site, other = world.site(), world.site()
    token = await site.new(_subject="ann", a=1)
    session = await site.open(token)
    session["a"] = 2
    site.meanwhile("update", lambda: ending(other, token), after=True)
    assert await site.commit(session) is Action.UPDATE
    assert await site.values(token) is None
    session["a"] = 3
    with pytest.raises(SessionGoneError):
        await site.commit(session)
    assert await site.values(token) is None


async def test_T3_revoking_a_subject_just_after_a_renewal_ends_the_renewed_session(world: World) -> None:
    site, other = world.site(), world.site()
    session = await site.open(await site.new(_subject="ann", a=1))
    session.renew()
    site.meanwhile("move", lambda: _revokes_all(other, ""), after=True)
    await site.commit(session)
    assert await site.values(session.token) is None


@pytest.mark.parametrize("first", ["update", "move"])
async def test_C1_a_renewal_against_a_save_loses_nothing_that_was_acknowledged(
    world: World, first: Any
) -> None:
    one, two = world.site(), world.site()
    token = await one.new(_subject="ann", a=1, b=1)
    saving, renewing = await one.open(token), await two.open(token)
    saving["a"] = 2
    renewing["b"] = 2
    renewing.renew()
    if first == "update":  # the save gets in just before the renewal
        two.meanwhile("move", lambda: one.commit(saving))
        await two.commit(renewing)
        assert saving.token == token
        assert await one.values(renewing.token) == {"_subject": "ann", "a": 2, "b": 2}
    else:  # the renewal gets in just before the save, which is not acknowledged then
        one.meanwhile("update", lambda: two.commit(renewing))
        with pytest.raises(SessionGoneError):
            await one.commit(saving)
        assert saving.token is None
        assert await one.values(renewing.token) == {"_subject": "ann", "a": 1, "b": 2}
    assert await one.values(token) is None


async def test_T3_of_two_renewals_at_once_one_wins_and_one_session_lives(world: World) -> None:
    one, two = world.site(), world.site()
    token = await one.new(_subject="ann", a=1)
    first, second = await one.open(token), await two.open(token)
    first.renew()
    second.renew()
    one.meanwhile("move", lambda: two.commit(second))
    with pytest.raises(SessionGoneError):
        await one.commit(first)
    assert first.token is None
    assert await one.values(second.token) == {"_subject": "ann", "a": 1}
    assert [summary.key for summary in await one.sessions_of("ann")] == [
        second.record.key if second.record else ""
    ]


async def test_C1_a_save_that_waits_in_the_store_while_the_same_process_signs_out(world: World) -> None:
    site = world.site()
    token = await site.new(_subject="ann", a=1)
    slow = await site.open(token)
    slow["a"] = 2
    gate = world.gate(site, "update")
    saving = world.start(site.commit(slow))
    await gate.reached()
    await site.end(token)  # a sign-out waits for no save
    assert not await site.exists(token)
    gate.open()
    assert isinstance(await saving.error(), SessionGoneError)
    await _is_dead(site, slow, token)


async def test_C1_a_save_that_waits_for_its_turn_while_the_session_is_ended(world: World) -> None:
    site = world.site()
    token = await site.new(_subject="ann", a=1)
    slow, queued = await site.open(token), await site.open(token)
    slow["a"], queued["a"] = 2, 3
    gate = world.gate(site, "update")
    actors = [world.start(site.commit(slow))]
    await gate.reached()
    actors.append(world.start(site.commit(queued)))
    await site.delete(token)
    gate.open()
    errors = [await actor.error() for actor in actors]
    assert [type(error) for error in errors] == [SessionGoneError] * 2
    await _is_dead(site, slow, token)
    await _is_dead(site, queued, token)


async def test_C1_many_saves_and_one_sign_out_leave_nothing(world: World) -> None:
    for _ in range(5):
        sites = [world.site() for _ in range(3)]
        token = await sites[0].new(_subject="ann", a=1)

        async def save(site: Site, token: str = token) -> None:
            for number in range(10):
                session = await site.open(token)
                if session.record is None:
                    return
                session["a"] = number
                if number % 5 == 4:
                    session.renew()
                try:
                    await site.commit(session)
                except SessionGoneError:
                    return
                assert session.token is not None
                token = session.token

        async def revoke(site: Site = sites[2]) -> None:
            await site.revoke_subject("ann")

        await world.race(save(sites[0]), save(sites[1]), revoke())
        # A renewal that came after the revocation found nothing to renew.
        left = await sites[0].sessions_of("ann")
        assert left == [] or await sites[0].revoke_subject("ann") == len(left)
        assert await sites[0].sessions_of("ann") == []
        assert not await sites[0].exists(token)
