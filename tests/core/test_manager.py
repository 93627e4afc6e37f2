"""A session's life through the manager: open, commit, renew, end; what it costs; what fails and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Keyring, Policy
from sojourn.errors import (
    ConfigurationError,
    DuplicateKeyError,
    EncodeError,
    PayloadTooLargeError,
    SessionGoneError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sojourn.policy import EXPIRY_KEY, Action
from sojourn.testing import Fail
from sojourn.token import is_token, new_token
from tests.core.sites import SECRET, key

if TYPE_CHECKING:
    from sojourn.testing import FakeClock
    from tests.core.sites import Site, World

_MALFORMED = ["", "x", "x" * 39, "x" * 41, "../" * 13 + "x", "é" * 40, "x" * 39 + "\n", "x" * 100_000]


# Open and commit


async def test_what_was_saved_is_there_at_the_next_request(site: Site) -> None:
    token = await site.new(basket=["apple"], name="Ann")
    session = await site.open(token)
    assert dict(session) == {"basket": ["apple"], "name": "Ann"}
    session["basket"].append("pear")
    del session["name"]
    assert await site.commit(session) is Action.UPDATE
    assert session.token == token
    assert await site.values(token) == {"basket": ["apple", "pear"]}


async def test_an_empty_session_is_stored_only_if_the_application_saves(site: Site) -> None:
    session = await site.open(None)
    assert await site.commit(session) is Action.NOTHING
    assert session.token is None
    assert not site.store.counts
    assert await site.commit(session, saves=True) is Action.CREATE
    assert await site.values(session.token) == {}


async def test_a_namespace_separates_sites_that_share_a_store(world: World) -> None:
    one, two = (world.site(keyring=Keyring([SECRET], namespace=name)) for name in ("one", "two"))
    token = await one.new(a=1)
    assert await two.values(token) is None
    assert await one.values(token) == {"a": 1}
    assert (await world.record(token, namespace="one")).key == key(token, namespace="one")


async def test_a_session_can_be_committed_again_and_again(site: Site) -> None:
    session = await site.open(await site.new(cart=[0]))
    cart = session["cart"]
    for count in range(1, 5):
        cart.append(count)
        assert await site.commit(session) is Action.UPDATE
        assert await site.commit(session) is Action.NOTHING
        assert session["cart"] is cart
    assert await site.values(session.token) == {"cart": [0, 1, 2, 3, 4]}


async def test_an_object_put_into_a_new_session_stays_the_same_one(site: Site) -> None:
    session = await site.open(None)
    session["cart"] = cart = [1]
    await site.commit(session)
    cart.append(2)
    await site.commit(session)
    session.renew()
    cart.append(3)
    await site.commit(session)
    cart.append(4)
    await site.commit(session)
    assert session["cart"] is cart
    assert await site.values(session.token) == {"cart": [1, 2, 3, 4]}


async def test_the_application_can_have_a_session_last_for_a_time_of_its_own(
    site: Site, clock: FakeClock
) -> None:
    session = await site.open(None)
    session["a"] = 1
    await site.commit(session, idle_timeout=60)
    clock.advance(59)
    assert await site.exists(session.token)
    clock.advance(1)
    assert not await site.exists(session.token)


# Tokens


async def test_T2_a_token_nobody_issued_is_never_adopted(site: Site) -> None:
    made_up = new_token()
    session = await site.open(made_up)
    assert session.unknown_token
    assert (session.token, session.record) == (None, None)
    session["a"] = 1
    assert await site.commit(session) is Action.CREATE
    assert session.token is not None
    assert is_token(session.token)
    assert session.token != made_up
    assert await site.values(made_up) is None
    assert await site.values(session.token) == {"a": 1}


async def test_T2_renewing_or_saving_under_a_token_nobody_issued_does_not_adopt_it(site: Site) -> None:
    made_up = new_token()
    session = await site.open(made_up)
    session.renew(authenticated=True)
    await site.commit(session, saves=True)
    assert session.token not in (None, made_up)
    assert not await site.exists(made_up)


async def test_T3_renewing_changes_the_token_keeps_the_data_and_kills_the_old_one_at_once(site: Site) -> None:
    old = await site.new(a=1, b=[1])
    session = await site.open(old)
    session["b"].append(2)
    session.renew()
    assert await site.commit(session) is Action.MOVE
    assert session.token not in (None, old)
    assert await site.values(old) is None
    assert await site.values(session.token) == {"a": 1, "b": [1, 2]}
    assert (await site.open(old)).unknown_token
    assert not await site.delete(old)


async def test_T3_a_token_from_before_a_renewal_neither_writes_nor_ends_the_session(site: Site) -> None:
    old = await site.new(a=1)
    late = await site.open(old)
    session = await site.open(old)
    session.renew()
    await site.commit(session)
    late["a"] = 2
    with pytest.raises(SessionGoneError):
        await site.commit(late)
    assert late.token is None
    assert await site.values(session.token) == {"a": 1}


async def test_T3_renewing_a_revoked_session_of_somebody_never_yields_a_live_one(site: Site) -> None:
    token = await site.new(_subject="ann", secret="canary")
    session = await site.open(token)
    session.renew(authenticated=True)
    session["more"] = 1
    await site.revoke_subject("ann")
    site.store.forget()
    with pytest.raises(SessionGoneError):
        await site.commit(session)
    assert session.token is None
    assert session.record is None
    assert not session
    assert site.store.counts == {"move": 1}
    assert await site.sessions_of("ann") == []
    assert await site.commit(session, saves=False) is Action.NOTHING


async def test_T3_renewing_nobodys_session_that_is_gone_begins_a_new_one_without_its_data(site: Site) -> None:
    token = await site.new(secret="canary", kept="old", basket=["canary"])
    session = await site.open(token)
    assert session["secret"] == "canary"
    assert session["basket"] == ["canary"]
    session["_subject"] = "ann"
    session["kept"] = "new"
    session.renew(authenticated=True)
    await site.delete(token)
    await site.commit(session)
    assert session.token not in (None, token)
    assert dict(session) == {"_subject": "ann", "kept": "new"}
    assert await site.values(session.token) == {"_subject": "ann", "kept": "new"}
    assert not await site.exists(token)


async def test_an_object_stays_the_same_one_even_where_the_session_had_to_begin_anew(site: Site) -> None:
    token = await site.new(a=1)
    session = await site.open(token)
    session["cart"] = cart = [1]
    session.renew()
    await site.delete(token)
    await site.commit(session)
    cart.append(2)
    await site.commit(session)
    assert session["cart"] is cart
    assert await site.values(session.token) == {"cart": [1, 2]}


async def test_L4_ending_deletes_at_once_and_for_good(site: Site) -> None:
    token = await site.new(a=1)
    session = await site.open(token)
    session.end()
    assert await site.commit(session) is Action.DELETE
    assert (session.token, session.record, dict(session), session.ended) == (None, None, {}, False)
    assert await site.values(token) is None
    session["b"] = 1  # life goes on, as another session
    assert await site.commit(session) is Action.CREATE
    assert session.token not in (None, token)


async def test_L4_ending_twice_is_fine(site: Site) -> None:
    token = await site.new(a=1)
    sessions = [await site.open(token), await site.open(token)]
    for session in sessions:
        session.end()
        assert await site.commit(session) is Action.DELETE
    assert not await site.delete(token)


async def test_L4_ending_does_not_depend_on_values_that_cannot_be_stored(site: Site) -> None:
    token = await site.new(a=1)
    session = await site.open(token)
    session.end()
    session["b"] = object()
    session[EXPIRY_KEY] = "soon"
    assert await site.commit(session) is Action.DELETE
    assert not await site.exists(token)


# What it costs


async def test_D2_a_malformed_token_costs_nothing(site: Site) -> None:
    for token in _MALFORMED:
        session = await site.open(token)
        assert session.unknown_token
        assert await site.commit(session) is Action.NOTHING
        assert not await site.exists(token)
        assert not await site.delete(token)
    assert not site.store.counts


async def test_D2_an_unknown_token_costs_one_load_and_no_write(site: Site) -> None:
    session = await site.open(new_token())
    assert session.unknown_token
    assert session.get("a") is None
    await site.commit(session)
    assert site.store.counts == {"load": 1}


async def test_no_token_is_a_new_session_and_no_unknown_one(site: Site) -> None:
    session = await site.open(None)
    assert not session.unknown_token
    assert not await site.exists(None)
    assert not await site.delete(None)
    assert not site.store.counts


async def test_D1_ten_thousand_requests_that_set_nothing_store_nothing(world: World) -> None:
    site = world.site(policy=Policy(sliding=True))
    for number in range(10_000):
        token = "x" * 40 if number < 10 else (None, "malformed")[number % 2]
        session = await site.open(token)
        session.setdefault("a", 1)
        del session["a"]
        await site.commit(session)
        assert session.token is None
    assert set(site.store.counts) <= {"load"}


async def test_the_budget_of_round_trips(site: Site, clock: FakeClock) -> None:
    async def counted(*, token: str | None, change: Any, **options: Any) -> tuple[dict[str, int], str | None]:
        site.store.forget()
        session = await site.open(token)
        change(session)
        await site.commit(session, **options)
        return dict(site.store.counts), session.token

    def sign_in(session: Any) -> None:
        session.renew(authenticated=True)
        session.update(_subject="42", _auth_user_id="42")

    counts, token = await counted(token=None, change=lambda session: session.update(a=1))
    assert counts == {"create": 1}
    counts, token = await counted(token=token, change=lambda session: session["a"])
    assert counts == {"load": 1}
    counts, token = await counted(token=token, change=lambda session: session.update(a=2))
    assert counts == {"load": 1, "update": 1}
    counts, token = await counted(token=token, change=sign_in)
    assert counts == {"load": 1, "move": 1}
    counts, other = await counted(token=None, change=sign_in)
    assert counts == {"create": 1}
    assert other != token
    counts, token = await counted(token=token, change=lambda session: session.update({EXPIRY_KEY: 3_600}))
    assert counts == {"load": 1, "update": 1}
    for left in (3_599, 3_598, 3_600, 3_500):  # Horizon: on every page
        clock.advance(1)
        counts, token = await counted(token=token, change=lambda s, left=left: s.update({EXPIRY_KEY: left}))
        assert counts == ({"load": 1, "update": 1} if left == 3_500 else {"load": 1})
    counts, token = await counted(token=token, change=lambda _: None, saves=True)
    assert counts == {"load": 1}
    counts, _ = await counted(token=token, change=lambda session: session.end())
    assert counts == {"load": 1, "delete": 1}


# What does not fit


async def test_D3_too_large_a_session_names_size_limit_and_largest_keys_and_leaves_the_stored_one(
    world: World,
) -> None:
    site = world.site(max_payload=1_000)
    token = await site.new(small=1, middle="m" * 300)
    session = await site.open(token)
    session["largest"] = "canary" * 200
    with pytest.raises(PayloadTooLargeError) as refusal:
        await site.commit(session)
    message = str(refusal.value)
    assert "limit is 1000" in message
    assert message.index("'largest' 1203") < message.index("'middle' 303")
    assert "canary" not in message
    assert site.store.counts == {"load": 1}
    assert await site.values(token) == {"small": 1, "middle": "m" * 300}
    session["largest"] = "fits"
    await site.commit(session)
    assert await site.values(token) == {"small": 1, "middle": "m" * 300, "largest": "fits"}


async def test_F4_a_value_that_cannot_be_stored_names_its_path_and_leaves_the_stored_session(
    site: Site,
) -> None:
    token = await site.new(a=1)
    session = await site.open(token)
    session["a"] = 2
    session["cart"] = {"items": [1, object()]}
    with pytest.raises(EncodeError, match=r"cart\.items\[1\]"):
        await site.commit(session)
    assert site.store.counts == {"load": 1}
    assert await site.values(token) == {"a": 1}
    session["cart"]["items"].pop()
    await site.commit(session)
    assert await site.values(token) == {"a": 2, "cart": {"items": [1]}}


# A store that does not answer


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreTimeoutError])
async def test_F1_unavailable_is_never_absent(site: Site, error: type[StoreUnavailableError]) -> None:
    token = await site.new(_subject="ann", a=1)
    session = await site.open(token)
    session["a"] = 2
    site.store.plan(Fail("*", times=None, error=error))
    for call in (
        site.open(token),
        site.commit(session),
        site.exists(token),
        site.delete(token),
        site.revoke(key(token)),
        site.sessions_of("ann"),
        site.revoke_subject("ann"),
        site.purge(),
    ):
        with pytest.raises(error):
            await call
    site.store.heal()
    assert await site.values(token) == {"_subject": "ann", "a": 1}


async def _create(site: Site) -> Any:
    session = await site.open(None)
    session["a"] = "new"
    return session


async def _update(site: Site) -> Any:
    session = await site.open(await site.new(a="old", cart=[1]))
    session["a"] = "new"
    session["cart"].append(2)
    return session


async def _move(site: Site) -> Any:
    session = await _update(site)
    session.renew(authenticated=True)
    session.label = "Firefox"
    return session


async def _end(site: Site) -> Any:
    session = await _update(site)
    session.end()
    return session


async def _touch(site: Site) -> Any:
    session = await site.open(await site.new(a="new"))
    site.world.clock.advance(3_600)
    return session


@pytest.mark.parametrize("begin", [_create, _update, _move, _end, _touch])
async def test_F4_a_failed_commit_changes_nothing_and_can_be_made_again(site: Site, begin: Any) -> None:
    session = await begin(site)
    token, record, shown = session.token, session.record, dict(session)
    stored = await site.values(token)
    site.store.plan(Fail("*"))
    with pytest.raises(StoreUnavailableError):
        await site.commit(session, saves=True)
    assert (session.token, session.record, dict(session)) == (token, record, shown)
    assert await site.values(token) == stored
    action = await site.commit(session, saves=True)
    assert action in (Action.CREATE, Action.UPDATE, Action.MOVE, Action.DELETE, Action.TOUCH)
    assert dict(session) == shown
    assert await site.values(session.token) == (shown or None)
    assert (session.token != token) == (begin in (_create, _move, _end))
    if begin is not _update and begin is not _touch:
        assert not await site.exists(token)


@pytest.mark.parametrize("begin", [_create, _update, _end, _touch])
async def test_F3_a_commit_whose_answer_was_lost_can_be_made_again(site: Site, begin: Any) -> None:
    session = await begin(site)
    shown = dict(session)
    site.store.plan(Fail("*", after=True))
    with pytest.raises(StoreUnavailableError):
        await site.commit(session, saves=True)
    await site.commit(session, saves=True)
    assert await site.values(session.token) == (shown or None)


async def test_F4_a_renewal_that_fails_halfway_to_a_new_session_can_be_made_again(site: Site) -> None:
    token = await site.new(a=1)
    session = await site.open(token)
    session["_subject"] = "ann"
    session.renew(authenticated=True)
    await site.delete(token)
    site.store.plan(Fail("create"))
    with pytest.raises(StoreUnavailableError):
        await site.commit(session)
    assert session["_subject"] == "ann"
    await site.commit(session)
    assert await site.values(session.token) == {"_subject": "ann"}


async def test_F1_a_conflict_whose_fresh_record_cannot_be_loaded_is_an_outage(world: World) -> None:
    site, other = world.site(), world.site()
    token = await site.new(a=1)
    session = await site.open(token)
    session["b"] = 2
    await other.save(token, a=2)
    site.store.plan(Fail("load"))
    with pytest.raises(StoreUnavailableError):
        await site.commit(session)
    await site.commit(session)
    assert await site.values(token) == {"a": 2, "b": 2}


async def test_a_store_without_an_index_says_so(world: World) -> None:
    site = world.site()
    for manager in (site.manager,):
        manager.store = object()
    for call in (lambda: site.sessions_of("ann"), lambda: site.revoke_subject("ann")):
        with pytest.raises(ConfigurationError, match="index of subjects"):
            await call()
    assert await site.purge() == 0


async def test_a_key_that_is_taken_gets_another_token(site: Site) -> None:
    session = await site.open(None)
    session["a"] = 1
    site.store.plan(Fail("create", error=DuplicateKeyError))
    await site.commit(session)
    assert site.store.counts == {"create": 2}
    first, second = (call.args[0].key for call in site.store.calls)
    assert first != second == key(session.token or "")


async def test_a_store_that_always_says_that_a_key_is_taken_is_an_error_and_no_endless_loop(
    site: Site,
) -> None:
    session = await site.open(None)
    session["a"] = 1
    site.store.plan(Fail("create", error=DuplicateKeyError, times=100))
    with pytest.raises(StoreError):
        await site.commit(session)


async def test_purging_removes_the_dead_and_keeps_the_living(site: Site, clock: FakeClock) -> None:
    dying = [await site.new(number=number) for number in range(150)]
    clock.advance(1_209_599)
    living = [await site.new(number=number) for number in range(3)]
    clock.advance(1)
    assert await site.purge() == 150
    for token in dying:
        assert not await site.exists(token)
    for number, token in enumerate(living):
        assert await site.values(token) == {"number": number}
