"""The mapping that knows what changed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.errors import ConflictError, EncodeError
from sojourn.record import Record, Version
from sojourn.session import Changes, Session
from sojourn.token import new_token
from sojourn.values import MessagePackCodec

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODEC = MessagePackCodec()
_UNITS = ("_auth_user_",)


class CountingCodec(MessagePackCodec):
    """Tells which keys were decoded."""

    def __init__(self) -> None:
        self.decoded: list[str] = []

    def decode(self, key: str, encoded: bytes) -> Any:
        self.decoded.append(key)
        return super().decode(key, encoded)


class RestlessCodec(MessagePackCodec):
    """Writes the same value differently each time, as a serializer that encrypts or stamps may."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def encode(self, key: str, value: Any) -> bytes:
        return super().encode(key, [next(self._count), value])

    def decode(self, key: str, encoded: bytes) -> Any:
        return super().decode(key, encoded)[1]


class ReorderingCodec(MessagePackCodec):
    """Writes what it has read differently from what was stored, but the same each time."""

    def decode(self, key: str, encoded: bytes) -> Any:
        value = super().decode(key, encoded)
        return sorted(value) if isinstance(value, list) else value


def encodings(**values: Any) -> dict[str, bytes]:
    return {key: _CODEC.encode(key, value) for key, value in values.items()}


def loaded(codec: MessagePackCodec = _CODEC, /, **values: Any) -> Session:
    return Session(codec, encodings(**values))


def plain(changes: Mapping[str, bytes]) -> dict[str, Any]:
    return {key: _CODEC.decode(key, encoded) for key, encoded in changes.items()}


def record() -> Record:
    return Record(
        key="0123456789abcdef" * 4, payload=b"", created_at=0, idle_deadline=1, version=Version(1, 1)
    )


def saved(session: Session, **others: Any) -> None:
    """Save as the manager does; ``others`` is what another request has stored meanwhile."""
    changes = session.changes()
    session.saved("t", record(), changes.apply({**session.base, **encodings(**others)}), changes)


# Reading


def test_a_key_nobody_reads_is_never_decoded() -> None:
    codec = CountingCodec()
    session = loaded(codec, a=1, b=[2], c=3)
    assert "b" in session
    assert "d" not in session
    assert list(session) == ["a", "b", "c"]
    assert len(session) == 3
    assert session.get("d") is None
    assert codec.decoded == []
    assert session["b"] == [2]
    assert session["b"] is session["b"]
    assert codec.decoded == ["b"]
    assert not session.changes()


def test_keys_come_in_the_order_they_were_first_set() -> None:
    session = loaded(b=1, a=2)
    session["c"] = 3
    session["b"] = 4
    assert list(session) == ["b", "a", "c"]


def test_a_missing_key_is_a_key_error() -> None:
    session = loaded(a=1)
    for missing in (lambda: session["b"], lambda: session.pop("b"), lambda: session.__delitem__("b")):
        with pytest.raises(KeyError):
            missing()


@pytest.mark.parametrize(("key", "text"), [(1, "1"), (None, "null"), (True, "true"), (1.5, "1.5")])
def test_a_key_is_the_text_json_would_make_of_it(key: Any, text: str) -> None:
    session = loaded()
    session[key] = "x"
    assert list(session) == [text]
    assert session[key] == session[text] == "x"
    assert key in session
    del session[key]
    assert not session


def test_a_key_that_cannot_be_stored_is_refused_at_once() -> None:
    session = loaded()
    with pytest.raises(EncodeError, match="tuple"):
        session[1, 2] = "x"  # type: ignore[index]
    assert not session


# Changing


def test_nothing_changed_is_nothing_to_save() -> None:
    session = loaded(a=1, b=[1], c={"x": {"y": 1}})
    for key in session:
        session[key]  # reading
    assert not session.changes()
    assert not session.is_modified()


def test_a_change_inside_a_nested_value_counts() -> None:
    session = loaded(basket={"items": [{"name": "apple"}]}, other=[1])
    session["basket"]["items"][0]["name"] = "pear"
    changes = session.changes()
    assert plain(changes.assigned) == {"basket": {"items": [{"name": "pear"}]}}
    assert not changes.removed
    assert session.is_modified()


def test_a_nested_change_taken_back_is_none() -> None:
    session = loaded(basket=[1])
    session["basket"].append(2)
    session["basket"].pop()
    assert not session.changes()


def test_setting_the_value_that_is_stored_is_no_change() -> None:
    session = loaded(a=1, b=[1, 2])
    session["a"] = 1
    session["b"] = (1, 2)
    assert not session.changes()


def test_a_value_put_in_by_setdefault_is_watched_like_any_other() -> None:
    session = loaded()
    session.setdefault("basket", []).append("apple")
    assert plain(session.changes().assigned) == {"basket": ["apple"]}


def test_setting_and_removing_counts_once_and_not_at_all() -> None:
    session = loaded(a=1)
    session["b"] = 2
    del session["b"]
    assert not session.changes()
    del session["a"]
    assert session.changes().removed == {"a"}
    session["a"] = 1
    assert not session.changes()
    assert session.pop("a") == 1
    assert session.changes().removed == {"a"}


def test_a_value_that_cannot_be_stored_counts_as_a_change_and_is_named() -> None:
    session = loaded(a=1)
    session["cart"] = {"items": [object()]}
    assert session.is_modified()
    with pytest.raises(EncodeError, match=r"cart\.items\[0\]"):
        session.changes()


def test_a_codec_that_writes_the_same_differently_each_time_reports_no_change() -> None:
    codec = RestlessCodec()
    session = Session(codec, {"a": codec.encode("a", [1]), "b": codec.encode("b", [2])})
    session["a"]  # reading
    assert not session.changes()
    session["b"] = [3]  # what was assigned is saved all the same
    assert set(session.changes().assigned) == {"b"}


def test_a_codec_that_writes_what_it_read_differently_reports_only_real_changes() -> None:
    codec = ReorderingCodec()
    session = Session(codec, encodings(a=[3, 1, 2], b=[2, 1]))
    assert session["a"] == [1, 2, 3]
    assert session["b"] == [1, 2]
    assert not session.changes()
    session["a"].append(4)
    assert plain(session.changes().assigned) == {"a": [1, 2, 3, 4]}


# Starting over


def test_what_is_set_after_clear_replaces_everything() -> None:
    session = loaded(a=1, b=2)
    session.clear()
    assert not session
    with pytest.raises(KeyError):
        session["a"]
    session["b"] = 2
    changes = session.changes()
    assert changes.replaces
    assert plain(changes.apply(encodings(a=1, b=2, c=3))) == {"b": 2}


def test_clear_of_an_empty_session_and_clear_that_ends_where_it_began_change_nothing() -> None:
    session = loaded()
    session.clear()
    assert not session.changes()
    session = loaded(a=1)
    session.clear()
    session["a"] = 1
    assert not session.changes()


# After a save


def test_an_object_the_application_holds_stays_the_same_one_across_saves() -> None:
    session = loaded(basket=[1])
    basket = session["basket"]
    basket.append(2)
    saved(session)
    assert session["basket"] is basket
    basket.append(3)
    assert plain(session.changes().assigned) == {"basket": [1, 2, 3]}
    saved(session)
    assert not session.changes()


def test_a_value_that_was_only_read_stays_the_same_object_too() -> None:
    session = loaded(basket=[1], a=1)
    basket = session["basket"]
    session["a"] = 2
    saved(session)
    basket.append(2)
    assert plain(session.changes().assigned) == {"basket": [1, 2]}


def test_after_a_merged_save_the_session_shows_what_others_stored() -> None:
    session = loaded(mine=1, theirs=[1], both=[1])
    for key in session:
        session[key]  # reading
    session["mine"] = 2
    session["both"].append("mine")
    saved(session, theirs=[1, 2], both=["theirs"], new="new")
    assert dict(session) == {"mine": 2, "theirs": [1, 2], "both": [1, "mine"], "new": "new"}
    assert not session.changes()


def test_after_a_save_clear_is_forgotten() -> None:
    session = loaded(a=1)
    session.clear()
    saved(session)
    session["b"] = 1
    assert not session.changes().replaces


def test_a_save_settles_what_was_asked_for() -> None:
    session = Session(_CODEC, unknown_token=True)
    session.renew(authenticated=True)
    session.label = "Firefox"
    assert session.renewal
    assert session.restarts
    saved(session)
    settled = Session(_CODEC)
    for name in ("renewal", "restarts", "unknown_token", "label"):
        assert getattr(session, name) == getattr(settled, name), name


def test_end_forgets_the_data() -> None:
    session = loaded(a=1)
    session.end()
    assert session.ended
    assert not session
    session.forget()
    assert (session.ended, session.token, session.record, dict(session.base)) == (False, None, None, {})


# Merging


def test_C2_changes_of_different_keys_are_all_kept() -> None:
    changes = Changes(encodings(mine=1, new=1), frozenset({"gone"}))
    base = encodings(mine=0, theirs=0, gone=0)
    fresh = encodings(mine=0, theirs=2, gone=3, more=4)
    assert plain(changes.merge(base, fresh, _UNITS)) == {"mine": 1, "theirs": 2, "more": 4, "new": 1}


def test_C2_two_users_never_mix() -> None:
    one = encodings(_auth_user_id="1", _auth_user_hash="one")
    two = encodings(_auth_user_id="2", _auth_user_hash="two")
    with pytest.raises(ConflictError, match="_auth_user_"):
        Changes(one, frozenset()).merge({}, two, _UNITS)
    # Not even where the two changed different keys of the unit
    half = encodings(_auth_user_hash="one")
    with pytest.raises(ConflictError):
        Changes(half, frozenset()).merge(one | encodings(_auth_user_hash="old"), two, _UNITS)


def test_C2_signing_out_of_what_another_request_signed_in_to_is_a_conflict() -> None:
    one, two = encodings(_auth_user_id="1"), encodings(_auth_user_id="2")
    with pytest.raises(ConflictError):
        Changes({}, frozenset({"_auth_user_id"})).merge(one, two, _UNITS)
    # A sign-in elsewhere, while this request changed something else, is none
    changes = Changes(encodings(a=1), frozenset())
    assert plain(changes.merge(one, two, _UNITS)) == {"_auth_user_id": "2", "a": 1}


def test_C2_the_same_sign_in_twice_is_no_conflict() -> None:
    one = encodings(_auth_user_id="1", _auth_user_hash="one")
    assert plain(Changes(one, frozenset()).merge({}, one | encodings(a=1), _UNITS)) == plain(one) | {"a": 1}


def test_C2_clear_replaces_a_unit_whole() -> None:
    two = encodings(_auth_user_id="2", _auth_user_hash="two")
    assert Changes({}, frozenset(), replaces=True).merge({}, two, _UNITS) == {}


_values = st.dictionaries(st.sampled_from(["a", "b", "_auth_user_id", "_auth_user_hash"]), st.integers(0, 2))


@given(_values, _values, _values, st.booleans())
def test_C2_a_merge_never_makes_a_unit_that_neither_side_had(
    base: dict[str, int], ours: dict[str, int], fresh: dict[str, int], clears: bool
) -> None:
    session = loaded(_CODEC, **base)
    if clears:
        session.clear()
    for key in base.keys() - ours.keys():
        session.pop(key, None)
    session.update(ours)
    changes = session.changes()

    def unit(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key.startswith(_UNITS)}

    try:
        merged = plain(changes.merge(session.base, encodings(**fresh), _UNITS))
    except ConflictError:
        assert unit(ours) != unit(base) != unit(fresh)
        return
    assert unit(merged) in (unit(ours), unit(fresh))
    for key in ("a", "b"):
        if changes.replaces or ours.get(key) != base.get(key):
            assert merged.get(key) == ours.get(key)
        else:
            assert merged.get(key) == fresh.get(key)


@given(_values, _values)
def test_changes_applied_to_where_they_started_from_give_what_the_session_shows(
    base: dict[str, int], ours: dict[str, int]
) -> None:
    session = loaded(_CODEC, **base)
    for key in base.keys() - ours.keys():
        del session[key]
    session.update(ours)
    assert plain(session.changes().apply(session.base)) == ours == dict(session)


# What may be shown


def test_T12_no_repr_shows_token_key_or_content() -> None:
    token = new_token()
    session = Session(_CODEC, encodings(canary="canary value"), token=token, record=record())
    session["canary"] = "another canary value"
    shown = f"{session!r} {session} {session.changes()!r} {session.changes()}"
    assert token not in shown
    assert "canary" not in shown
    assert record().key not in shown
    assert record().public_id in shown
    assert "not stored" in repr(Session(_CODEC))
