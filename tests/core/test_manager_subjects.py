"""Someone's sessions: listed, and ended one, all but one, or all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn import Policy
from sojourn.listing import MAX_INFO, Info
from sojourn.policy import EXPIRY_KEY
from sojourn.testing import Fail
from tests.core.sites import key

if TYPE_CHECKING:
    from sojourn.testing import FakeClock
    from tests.core.sites import Site, World


async def test_L6_a_subjects_sessions_are_listed_with_what_a_page_shows(site: Site, clock: FakeClock) -> None:
    began = clock.now()
    phone = await site.new("Safari on iPhone", _subject="ann", a=1)
    clock.advance(60)
    laptop = await site.new("Firefox on Linux", _subject="ann", **{EXPIRY_KEY: 600})
    await site.new("Chrome", _subject="ben")
    await site.new("nobody", a=1)
    clock.advance(60)
    await site.save(phone, a=2)
    first, second = await site.sessions_of("ann")
    assert [first.label, second.label] == ["Safari on iPhone", "Firefox on Linux"]
    assert [first.key, second.key] == [key(phone), key(laptop)]
    assert [first.public_id, second.public_id] == [key(phone)[:12], key(laptop)[:12]]
    assert [first.subject, second.subject] == ["ann", "ann"]
    assert [first.created_at, second.created_at] == [began, began + 60_000]
    assert [first.last_seen, second.last_seen] == [began + 120_000, began + 60_000]
    assert [first.expires_at, second.expires_at] == [began + 120_000 + 1_209_600_000, began + 660_000]


async def test_L6_one_session_is_ended(site: Site) -> None:
    phone, laptop = await site.new("phone", _subject="ann"), await site.new("laptop", _subject="ann")
    (summary,) = [summary for summary in await site.sessions_of("ann") if summary.label == "phone"]
    site.store.forget()
    assert await site.revoke(summary.key)
    assert site.store.counts == {"delete": 1}
    assert not await site.revoke(summary.key)
    assert [await site.exists(token) for token in (phone, laptop)] == [False, True]
    assert [summary.label for summary in await site.sessions_of("ann")] == ["laptop"]


async def test_L6_the_others_are_ended(site: Site) -> None:
    tokens = [await site.new(_subject="ann", number=number) for number in range(4)]
    other = await site.new(_subject="ben")
    current = await site.open(tokens[1])
    assert await site.revoke_subject("ann", except_session=current) == 3
    assert [await site.exists(token) for token in tokens] == [False, True, False, False]
    assert await site.exists(other)
    current["a"] = 1  # the one that stays is as good as ever
    await site.commit(current)


async def test_L6_all_are_ended(site: Site) -> None:
    tokens = [await site.new(_subject="ann") for _ in range(3)]
    other = await site.new(_subject="ben")
    nobodys = await site.new(a=1)
    assert await site.revoke_subject("ann", except_session=site.manager.new_session()) == 3
    assert await site.revoke_subject("ann") == 0
    assert [await site.exists(token) for token in [*tokens, other, nobodys]] == [False] * 3 + [True] * 2


async def test_L6_the_index_follows_who_is_signed_in(site: Site) -> None:
    token = await site.new(a=1)
    assert await site.sessions_of("ann") == []
    session = await site.save(token, _subject="ann")
    assert len(await site.sessions_of("ann")) == 1
    session["_subject"] = "ben"
    session.renew()
    await site.commit(session)
    assert await site.sessions_of("ann") == []
    assert [summary.subject for summary in await site.sessions_of("ben")] == ["ben"]
    del session["_subject"]
    await site.commit(session)
    assert await site.sessions_of("ben") == []
    session["_subject"] = "ann"
    await site.commit(session)
    await site.end(str(session.token))
    assert await site.sessions_of("ann") == []


async def test_L6_dead_sessions_are_neither_listed_nor_counted(world: World, clock: FakeClock) -> None:
    site = world.site(policy=Policy(idle_timeout=60))
    await site.new("dead", _subject="ann")
    clock.advance(30)
    await site.new("alive", _subject="ann")
    clock.advance(30)
    assert [summary.label for summary in await site.sessions_of("ann")] == ["alive"]
    assert await site.revoke_subject("ann") == 1


async def test_L6_what_is_shown_stays_right_when_a_session_is_touched_saved_and_renewed(
    world: World, clock: FakeClock
) -> None:
    site = world.site(policy=Policy(idle_timeout=3_600, sliding=True))
    token = await site.new("Firefox", _subject="ann")
    for change in ("touch", "save", "renew", "relabel"):
        clock.advance(600)
        session = await site.open(token)
        if change == "save":
            session["a"] = 1
        elif change == "renew":
            session.renew()
        elif change == "relabel":
            session.label = "Chrome"
        await site.commit(session)
        token = str(session.token)
        (summary,) = await site.sessions_of("ann")
        assert summary.last_seen == clock.now(), change
        assert summary.expires_at == clock.now() + 3_600_000
        assert summary.label == ("Chrome" if change == "relabel" else "Firefox")
        assert summary.key == key(token)
    assert set(site.store.counts) >= {"touch", "update", "move"}


async def test_L6_a_revocation_that_fails_halfway_can_be_made_again(site: Site) -> None:
    tokens = [await site.new(_subject="ann") for _ in range(3)]
    site.store.plan(Fail("delete_subject", after=True))
    with pytest.raises(Exception, match="planned fault"):
        await site.revoke_subject("ann")
    await site.revoke_subject("ann")
    assert [await site.exists(token) for token in tokens] == [False] * 3


@pytest.mark.parametrize("text", ["", "x" * 10_000, "é" * 200, "🙂" * 100, "\ud800", "\0", "a\nb"])
async def test_L6_any_text_is_a_subject_and_a_label_within_the_room_there_is(site: Site, text: str) -> None:
    token = await site.new(text, _subject=text)
    record = await site.world.record(token)
    assert len(record.info) <= MAX_INFO
    (summary,) = await site.sessions_of(text)
    assert summary.subject is not None
    for shown in (summary.subject, summary.label):
        assert shown in {text, "?"} or (shown.endswith("…") and text.startswith(shown[:-1]))
    assert await site.revoke_subject(text) == 1


def test_info_never_grows_beyond_its_room() -> None:
    for subject in ("", "é" * 300):
        for label in ("", "🙂" * 300):
            for number in (0, -(2**63), 2**64 - 1):
                info = Info(
                    session_id=bytes(9),
                    subject=subject,
                    label=label,
                    idle_timeout=number,
                    written_at=number,
                )
                assert len(info.encode()) <= MAX_INFO - 69
                decoded = Info.decode(info.encode())
                assert (decoded.idle_timeout, decoded.written_at) == (number, number)
