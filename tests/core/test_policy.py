"""What a commit does, decided without I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn import AAL1, AAL2, AAL3, Policy, Session
from sojourn.errors import ConfigurationError, EncodeError
from sojourn.policy import EXPIRY_KEY, Action, Decision, decide, idle_deadline
from sojourn.record import Record
from sojourn.values import MessagePackCodec

_CODEC = MessagePackCodec()
_NOW = 1_767_225_600_000
_HOUR = 3_600
_POLICY = Policy(idle_timeout=_HOUR)
_SLIDING = Policy(idle_timeout=_HOUR, sliding=True)


def stored(since: int = 0, /, **values: Any) -> Session:
    """Return a session last active ``since`` milliseconds ago."""
    expiry = values.get(EXPIRY_KEY)
    record = Record(
        key="0" * 64,
        payload=b"",
        created_at=_NOW - since,
        idle_deadline=idle_deadline(expiry, now=_NOW - since, idle_timeout=_HOUR),
    )
    encodings = {key: _CODEC.encode(key, value) for key, value in values.items()}
    return Session(_CODEC, encodings, token="t", record=record)


def decision(session: Session, policy: Policy = _POLICY, **options: Any) -> Decision:
    return decide(policy, session, session.changes(), now=_NOW, **options)


def action(session: Session, policy: Policy = _POLICY, **options: Any) -> Action:
    return decision(session, policy, **options).action


# One action for each commit


def test_D1_an_empty_session_is_not_stored() -> None:
    assert action(Session(_CODEC)) is Action.NOTHING
    assert action(Session(_CODEC, unknown_token=True), _SLIDING) is Action.NOTHING
    session = Session(_CODEC)
    session["a"] = 1
    del session["a"]
    session.renew()
    assert action(session) is Action.NOTHING


def test_a_session_with_data_is_created_and_an_empty_one_if_the_application_saves() -> None:
    session = Session(_CODEC)
    assert action(session, saves=True) is Action.CREATE
    session["a"] = 1
    assert action(session) is Action.CREATE
    session.renew()
    assert action(session) is Action.CREATE


def test_reads_do_not_write() -> None:
    session = stored(_HOUR * 500, a=1)
    session["a"]  # reading
    assert action(session) is Action.NOTHING


def test_a_change_updates_and_moves_the_deadline() -> None:
    session = stored(1_000, a=1)
    session["a"] = 2
    assert decision(session) == Decision(Action.UPDATE, _NOW + _HOUR * 1_000)


def test_T3_renewing_moves() -> None:
    session = stored(a=1)
    session.renew()
    assert action(session) is Action.MOVE
    session["a"] = 2
    assert action(session) is Action.MOVE


def test_a_new_label_and_a_restarted_limit_are_written() -> None:
    session = stored(a=1)
    session.label = ""
    assert action(session) is Action.UPDATE
    session = stored(a=1)
    session.restarts = True
    assert action(session) is Action.UPDATE


def test_L4_ending_deletes_whatever_else_was_asked_for() -> None:
    session = stored(a=1)
    session.renew()
    session.end()
    session["b"] = 2
    assert action(session, saves=True) is Action.DELETE
    never_stored = Session(_CODEC)
    never_stored.end()
    assert action(never_stored, saves=True) is Action.NOTHING


# Touching


@pytest.mark.parametrize("options", [{"policy": _SLIDING}, {"saves": True}])
def test_activity_touches_at_most_once_per_touch_interval(options: dict[str, Any]) -> None:
    interval = 300_000  # a tenth of an hour is more than five minutes
    assert action(stored(0), **options) is Action.NOTHING
    assert action(stored(interval - 1), **options) is Action.NOTHING
    assert decision(stored(interval), **options) == Decision(Action.TOUCH, _NOW + _HOUR * 1_000)


def test_the_touch_interval_is_a_tenth_of_a_short_timeout() -> None:
    policy = Policy(idle_timeout=600, sliding=True)
    session = stored(59_999, **{EXPIRY_KEY: 600})
    assert action(session, policy) is Action.NOTHING
    assert action(stored(60_000, **{EXPIRY_KEY: 600}), policy) is Action.TOUCH


@given(st.integers(1, 10**7), st.integers(0, 10**10))
def test_L1_whenever_nothing_is_written_the_session_still_lives_at_least_timeout_less_interval(
    timeout: int, since: int
) -> None:
    policy = Policy(idle_timeout=timeout, sliding=True)
    record = Record(key="0" * 64, payload=b"", created_at=0, idle_deadline=_NOW - since + timeout * 1_000)
    session = Session(_CODEC, token="t", record=record)
    lives = decision(session, policy).idle_deadline - _NOW
    interval = min(timeout * 100, 300_000)
    assert timeout * 1_000 - interval < lives <= timeout * 1_000


@pytest.mark.parametrize(
    ("since", "seconds", "expected"),
    [
        (0, _HOUR, Action.NOTHING),  # the same again
        (10_000, _HOUR, Action.NOTHING),  # again, ten seconds later
        (299_000, _HOUR, Action.NOTHING),
        (300_000, _HOUR - 1, Action.NOTHING),
        (301_000, _HOUR - 1, Action.UPDATE),
        (10_000, _HOUR - 10, Action.NOTHING),  # Horizon: what is left of the Keystone token's life
        (10_000, _HOUR - 12, Action.NOTHING),  # 2 s earlier
        (10_000, _HOUR - 13, Action.UPDATE),  # 3 s earlier
        (0, 60, Action.UPDATE),
        (0, -1, Action.UPDATE),
    ],
)
def test_a_deadline_set_again_on_every_page_is_written_once_per_touch_interval(
    since: int, seconds: int, expected: Action
) -> None:
    session = stored(since, **{EXPIRY_KEY: _HOUR})
    session[EXPIRY_KEY] = seconds
    assert action(session) is expected


def test_setting_the_same_deadline_again_is_activity_only_if_the_application_saves() -> None:
    session = stored(300_000, **{EXPIRY_KEY: _HOUR})
    session[EXPIRY_KEY] = _HOUR
    assert action(session) is Action.NOTHING
    assert action(session, saves=True) is Action.TOUCH


def test_what_the_browser_has_to_see_is_written_at_once() -> None:
    for before, after in ((_HOUR, 0), (0, _HOUR), (None, _HOUR), (_HOUR, "2026-01-01T01:00:00+00:00")):
        session = stored(**{EXPIRY_KEY: before})
        session[EXPIRY_KEY] = after
        assert action(session) is Action.UPDATE, (before, after)
    session = stored(**{EXPIRY_KEY: _HOUR})
    del session[EXPIRY_KEY]
    assert action(session) is Action.UPDATE
    session = stored()
    session[EXPIRY_KEY] = _HOUR
    assert action(session) is Action.UPDATE
    session = stored(**{EXPIRY_KEY: _HOUR}, a=1)
    session[EXPIRY_KEY] = _HOUR
    session["a"] = 2
    assert action(session) is Action.UPDATE


# Deadlines


@pytest.mark.parametrize(
    ("expiry", "expected"),
    [
        (None, _NOW + 1_800_000),
        (0, _NOW + 1_800_000),
        (60, _NOW + 60_000),
        (0.5, _NOW + 500),
        (-5, _NOW - 5_000),
        (timedelta(minutes=1), _NOW + 60_000),
        ("2026-01-01T00:00:30+00:00", _NOW + 30_000),
        ("2026-01-01T01:00:30+01:00", _NOW + 30_000),
        ("2026-01-01T00:00:30.250000+00:00", _NOW + 30_250),
        (datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC), _NOW + 30_000),
        ("2025-12-31T23:59:59+00:00", _NOW - 1_000),
    ],
)
def test_the_idle_deadline_of_what_set_expiry_writes(expiry: object, expected: int) -> None:
    assert idle_deadline(expiry, now=_NOW, idle_timeout=1_800) == expected


def test_an_instant_without_a_zone_is_local_time() -> None:
    naive = datetime.fromtimestamp(_NOW / 1_000 + 30)  # noqa: DTZ006 - on purpose
    assert idle_deadline(naive.isoformat(), now=_NOW, idle_timeout=1_800) == _NOW + 30_000


@pytest.mark.parametrize(
    "expiry",
    [
        "soon",
        b"60",
        [60],
        Decimal(77),
        float("nan"),
        float("inf"),
        float("-inf"),
        10**30,
        -(10**30),
        datetime.min,  # noqa: DTZ901 - an application may write it
    ],
)
def test_an_expiry_that_is_none_is_an_error_that_names_the_key(expiry: object) -> None:
    with pytest.raises(EncodeError, match=EXPIRY_KEY) as refusal:
        idle_deadline(expiry, now=_NOW, idle_timeout=1_800)
    assert str(expiry) not in str(refusal.value)


def test_a_timeout_given_for_one_session_replaces_the_policys() -> None:
    session = stored(a=1)
    session["a"] = 2
    assert decision(session, idle_timeout=60).idle_deadline == _NOW + 60_000
    session[EXPIRY_KEY] = 30
    assert decision(session, idle_timeout=60).idle_deadline == _NOW + 30_000


def test_L1_the_absolute_deadline_counts_from_the_beginning() -> None:
    assert Policy(absolute_timeout=60).absolute_deadline(_NOW) == _NOW + 60_000
    assert Policy().absolute_deadline(_NOW) is None


def test_L1_a_session_that_is_nobodys_has_the_lower_of_two_timeouts() -> None:
    policy = Policy(idle_timeout=_HOUR, anonymous_timeout=60)
    assert policy.idle_timeout_of(None, _HOUR) == 60
    assert policy.idle_timeout_of(None, 30) == 30
    assert policy.idle_timeout_of("", _HOUR) == _HOUR, "somebody, if with an odd name"
    assert _POLICY.idle_timeout_of(None, _HOUR) == _HOUR


def test_the_presets_are_those_of_the_standard() -> None:
    day = 24 * _HOUR
    assert (AAL1.idle_timeout, AAL1.absolute_timeout) == (30 * day, 30 * day)
    assert (AAL2.idle_timeout, AAL2.absolute_timeout, AAL2.sliding) == (_HOUR, day, True)
    assert (AAL3.idle_timeout, AAL3.absolute_timeout, AAL3.sliding) == (900, 12 * _HOUR, True)


@pytest.mark.parametrize(
    "timeouts",
    [
        {"idle_timeout": -1},
        {"absolute_timeout": 0},
        {"absolute_timeout": -1},
        {"anonymous_timeout": 0},
        {"anonymous_timeout": -1},
    ],
)
def test_timeouts_that_cannot_be_meant_refuse_to_start(timeouts: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="seconds"):
        Policy(**timeouts)  # type: ignore[arg-type]
