"""The session an application holds: a mapping that knows what changed.

A session is loaded as encodings, one per top-level key, and a key nobody reads is never decoded.  What
changed is found by comparing encodings, so a change inside a nested value counts
(``session["basket"]["items"].append(...)``) and nobody has to say so.  A save then sends only the keys that
were assigned or removed, as :class:`Changes`, which can be applied to a fresher state of the same session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from sojourn.errors import ConflictError, EncodeError
from sojourn.frozen import frozen
from sojourn.values import IMMUTABLE, text_key

if TYPE_CHECKING:
    from sojourn.record import Record
    from sojourn.values import Codec

__all__ = ["UNCHANGED", "Changes", "Session"]


@frozen(kw_only=False)
class Changes:
    """What one request did to a session.  False if nothing."""

    #: Encodings of the keys it gave a new value.
    assigned: Mapping[str, bytes]
    #: Keys it removed.
    removed: frozenset[str]
    #: Whether it called ``clear()``: the result is ``assigned`` and nothing else.
    replaces: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to save."""
        return bool(self.assigned or self.removed or self.replaces)

    def __repr__(self) -> str:
        """Show how much, not what."""
        return f"<Changes: {len(self.assigned)} assigned, {len(self.removed)} removed>"

    def apply(self, encodings: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return ``encodings`` with the changes made to them."""
        if self.replaces:
            return dict(self.assigned)
        changed = {**encodings, **self.assigned}
        for key in self.removed:
            changed.pop(key, None)
        return changed

    def merge(
        self, base: Mapping[str, bytes], fresh: Mapping[str, bytes], units: tuple[str, ...]
    ) -> dict[str, bytes]:
        """Return ``fresh``, which others have changed since ``base``, with these changes made to it.

        Keys that start with one of ``units`` belong together: raises ``ConflictError`` if both sides
        changed keys of one unit and do not agree, so that two users' keys never mix.
        """
        result = self.apply(fresh)
        ours = self.apply(base)
        for prefix in units:
            mine, theirs = _unit(ours, prefix), _unit(fresh, prefix)
            before = _unit(base, prefix)
            if mine not in (before, theirs) and theirs != before:
                raise ConflictError(
                    f"another request changed the session's {prefix}* values at the same time; "
                    "both changes cannot hold, so this one was not saved"
                )
        return result


#: Nothing, as most requests do to a session.
UNCHANGED: Final = Changes({}, frozenset())


def _unit(encodings: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {key: value for key, value in encodings.items() if key.startswith(prefix)}


def _name(key: Any) -> Any:
    return text_key(key) if isinstance(key, str | int | float | None) else key


class Session(MutableMapping[str, Any]):
    """A mapping of strings to values, and where it stands in the store.

    Made by :meth:`Manager.open <sojourn.manager.Manager.open>`; nothing here does I/O.  Not for use by two
    threads at once: each request opens its own.  ``repr`` shows the public id, never token or content.
    """

    #: Whether :meth:`clear` was called since the last load or save.
    _cleared = False
    #: Whether :meth:`end` was called.
    ended = False
    #: Whether :meth:`renew` was called since the last commit.
    renewal = False
    #: Whether the absolute timeout starts again at the next commit.
    restarts = False
    #: Browser label to record with the session at the next commit, or ``None`` to keep the present one.
    label: str | None = None

    def __init__(
        self,
        codec: Codec,
        encodings: Mapping[str, bytes] | None = None,
        *,
        token: str | None = None,
        record: Record | None = None,
        unknown_token: bool = False,
    ) -> None:
        self._codec = codec
        #: The encodings as last loaded or saved.
        self.base: Mapping[str, bytes] = {} if encodings is None else encodings
        #: Where a key that was not read yet is found: the same, less the keys that were removed.
        self._unread = self.base
        #: The values read or assigned so far.
        self._live: dict[str, Any] = {}
        #: Keys given a new value since the last load or save.
        self._assigned: set[str] = set()
        #: The bearer secret; ``None`` until the session is first stored.
        self.token = token
        #: The record as last loaded or written, with its version; ``None``: not stored.
        self.record = record
        #: Whether the request named a session that does not exist (its cookie is left alone).
        self.unknown_token = unknown_token

    # The mapping

    # A key JSON would turn into text (``1``) is that text (``"1"``) from the start.

    def __getitem__(self, key: str) -> Any:
        """Return the value under ``key``, decoding it at the first read."""
        name = key if type(key) is str else _name(key)
        if name in self._live:
            return self._live[name]
        value = self._live[name] = self._codec.decode(name, self._unread[name])
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under ``key``, or ``default``; the inherited one raises an error to find out."""
        name = key if type(key) is str else _name(key)
        if name in self._live:
            return self._live[name]
        encoded = self._unread.get(name)
        if encoded is None:
            return default
        value = self._live[name] = self._codec.decode(name, encoded)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        """Set ``key``.  Raises ``EncodeError`` for a key that cannot be stored."""
        name = key if type(key) is str else text_key(key)
        self._live[name] = value
        self._assigned.add(name)

    def __delitem__(self, key: str) -> None:
        """Remove ``key`` or raise ``KeyError``."""
        name = key if type(key) is str else _name(key)
        if name not in self:
            raise KeyError(key)
        self._live.pop(name, None)
        self._assigned.discard(name)
        if name in self._unread:
            self._unread = {other: encoded for other, encoded in self._unread.items() if other != name}

    def __contains__(self, key: object) -> bool:
        """Whether ``key`` is set; decodes nothing."""
        name = key if type(key) is str else _name(key)
        return name in self._live or name in self._unread

    def __iter__(self) -> Iterator[str]:
        """Go through the keys in the order they were first set."""
        yield from [*self._unread, *(key for key in self._live if key not in self._unread)]

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._unread.keys() | self._live.keys())

    def clear(self) -> None:
        """Remove every key.  At the next save what is set after this replaces whatever is stored."""
        self._unread, self._live = {}, {}
        self._assigned.clear()
        self._cleared = True

    # Its life

    def renew(self, *, authenticated: bool = False) -> None:
        """Ask for a new token at the next commit, same data; the old token is dead from then on.

        Call it whenever rights change (ASVS 7.2.4).  ``authenticated``: the user has just proved who they
        are, so the absolute timeout starts again.
        """
        self.renewal = True
        self.restarts = self.restarts or authenticated

    def end(self) -> None:
        """Ask for the session to be deleted at the next commit, and forget its data (ASVS 7.4.1)."""
        self.clear()
        self.ended = True

    @property
    def public_id(self) -> str | None:
        """The part of the key that may be shown; ``None`` while the session is not stored."""
        return None if self.record is None else self.record.public_id

    # What the manager needs

    def changes(self) -> Changes:
        """Return what was changed since the last load or save.

        Raises ``EncodeError`` naming the path of a value that cannot be stored.
        """
        assigned: dict[str, bytes] = {}
        for key, value in self._live.items():
            explicit = key in self._assigned
            if not explicit and type(value) in IMMUTABLE:
                continue
            encoded = self._codec.encode(key, value)
            before = self.base.get(key)
            if self._cleared or (encoded != before and (explicit or self._differs(key, encoded))):
                assigned[key] = encoded
        if self._cleared:
            if assigned == self.base:
                return UNCHANGED
            return Changes(assigned, frozenset(), replaces=True)
        if self._unread is self.base:
            return Changes(assigned, frozenset()) if assigned else UNCHANGED
        return Changes(assigned, frozenset(self.base.keys() - self._unread.keys() - self._live.keys()))

    def is_modified(self, *, beyond: Changes | None = None) -> bool:
        """Whether anything was changed since the last load or save, ``beyond`` aside."""
        try:
            changes = self.changes()
        except EncodeError:
            return True  # the save will say which value cannot be stored
        return bool(changes) and changes != beyond

    def _differs(self, key: str, encoded: bytes) -> bool:
        """Whether a value nobody assigned, whose encoding differs from the stored one, was changed.

        A codec may encode a value it has just decoded differently from what was stored, or differently
        each time.  Such a difference is the codec's, not the application's.
        """
        before = self.base[key]
        untouched = self._codec.encode(key, self._codec.decode(key, before))
        if untouched == before:
            return True
        again = self._codec.encode(key, self._codec.decode(key, before))
        return untouched == again and encoded != untouched

    def before(self, key: str) -> Any:
        """Return the value of ``key`` as last loaded or saved, or ``None``."""
        encoded = self.base.get(key)
        return None if encoded is None else self._codec.decode(key, encoded)

    def saved(self, token: str, record: Record, encodings: Mapping[str, bytes], changes: Changes) -> None:
        """Take note that ``changes`` were written and that ``encodings`` are stored now.

        A value the application may hold stays the same object unless another request changed it.
        """
        before, assigned = self.base, changes.assigned
        self._live = {
            key: value
            for key, value in self._live.items()
            if (encoded := encodings.get(key)) is not None and (key in assigned or before.get(key) == encoded)
        }
        self.base = self._unread = encodings
        self._assigned = set()
        self._cleared = self.renewal = self.restarts = self.unknown_token = False
        self.label = None
        self.token, self.record = token, record

    def forget(self) -> None:
        """Take note that nothing of the session is stored any more, and drop its data."""
        self.clear()
        self.base = {}
        self._cleared = self.renewal = self.restarts = self.ended = False
        self.token, self.record = None, None

    def __repr__(self) -> str:
        """Show what may be shown."""
        return f"<Session {self.public_id or 'not stored'}, {len(self)} keys>"
