"""The revocation list: which sessions ended before their cookies do.

A cookie is a session for as long as it says so, unless somebody keeps account of those that ended.  The
account is one small record per user who signed out, or per visitor without a user whose session ended, in
any :class:`~sojourn.store.Store` that does not forget: sessions that ended until the last of their cookies
would have, and the user's *epoch*, a number drawn anew by "sign out everywhere".  One load answers both.

A record holds random numbers and instants alone, under the digest of a keyed digest: nothing to seal.  Who
can write to the list can take a session off it, as who can write to a store can put a session back.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from dataclasses import field, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sojourn.carriers.plain import LONGEST_LIFE
from sojourn.errors import (
    ConflictError,
    DecodeError,
    DuplicateKeyError,
    SessionGoneError,
    StoreUnavailableError,
)
from sojourn.frozen import frozen
from sojourn.record import DAY, Record, public_id
from sojourn.steps import Pause
from sojourn.store import AsyncStore, Store
from sojourn.token import key_for
from sojourn.values import MessagePackCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sojourn.carriers.lineage import Lineage
    from sojourn.clock import Clock
    from sojourn.record import Version
    from sojourn.steps import Steps

__all__ = ["Account", "Revocations", "Standing"]

logger = logging.getLogger("sojourn")

#: Above every generation.
_ENDED: Final = 1 << 32
#: Sessions of one user that are told apart; beyond, the epoch ends all of them.
_MOST: Final = 500
_MOST_CACHED: Final = 10_000
_PAUSE: Final = 0.005
_FIELDS: Final = 4

_codec: Final = MessagePackCodec()
StoreT = TypeVar("StoreT", Store, AsyncStore)


@frozen()
class Account:
    """The account of one session: cookies of a generation below ``floor`` are dead, until ``until``."""

    floor: int
    until: int


@frozen()
class Standing:
    """What the list says of one user, or of one visitor's session."""

    #: Random, drawn anew when all the user's sessions end: those that carry another are dead.  0: never.
    epoch: int = 0
    #: Milliseconds since the Unix epoch until which the epoch has to be known.
    epoch_until: int = 0
    #: Ids of sessions that the last new epoch spared.
    spared: frozenset[bytes] = frozenset()
    #: By session id.
    accounts: Mapping[bytes, Account] = field(default_factory=dict, hash=False)
    #: Of the record it was read from; ``None``: there was none.
    version: Version | None = None

    def allows(self, lineage: Lineage) -> bool:
        """Whether a cookie of ``lineage`` is still a session."""
        if self.epoch not in {0, lineage.epoch} and lineage.id not in self.spared:
            return False
        account = self.accounts.get(lineage.id)
        return account is None or lineage.generation >= account.floor

    def with_account(self, session_id: bytes, floor: int, until: int) -> Standing:
        """Return what is said once cookies of the session below ``floor`` are dead, until ``until``."""
        before = self.accounts.get(session_id, Account(floor=0, until=0))
        account = Account(floor=max(floor, before.floor), until=max(until, before.until))
        return replace(self, accounts={**self.accounts, session_id: account})

    def with_new_epoch(self, now: int, *, sparing: bytes | None = None) -> Standing:
        """Return what is said once all the user's sessions have ended, but perhaps one."""
        spared = frozenset() if sparing is None else frozenset({sparing})
        return Standing(
            epoch=secrets.randbits(63) | 1,
            epoch_until=now + LONGEST_LIFE + DAY,
            spared=spared,
            accounts={key: account for key, account in self.accounts.items() if key in spared},
            version=self.version,
        )

    def at(self, now: int) -> Standing:
        """Return what still matters at ``now``."""
        accounts = {key: account for key, account in self.accounts.items() if account.until > now}
        return replace(self, accounts=accounts)

    @property
    def until(self) -> int:
        """The instant from which none of it matters."""
        return max([self.epoch_until, *(account.until for account in self.accounts.values())])

    def encode(self) -> bytes:
        """Return it as the payload of a record."""
        accounts = [[key, account.floor, account.until] for key, account in self.accounts.items()]
        return _codec.encode("revocations", [self.epoch, self.epoch_until, sorted(self.spared), accounts])

    @classmethod
    def of(cls, record: Record) -> Standing:
        """Return what ``record`` says.  Raises ``DecodeError``."""
        said = _codec.decode("revocations", record.payload)
        if not isinstance(said, list) or len(said) != _FIELDS:
            raise DecodeError("the record is damaged")
        epoch, epoch_until, spared, accounts = said
        try:
            return cls(
                epoch=epoch,
                epoch_until=epoch_until,
                spared=frozenset(spared),
                accounts={key: Account(floor=floor, until=until) for key, floor, until in accounts},
                version=record.version,
            )
        except (TypeError, ValueError):
            raise DecodeError("the record is damaged") from None


_NOTHING: Final = Standing()


class Revocations(Generic[StoreT]):
    """The list in ``store``, for the sites that share ``namespace``.

    ``who`` is whom a record is about: see :func:`who`.  ``lag`` (seconds): what was read is believed for
    that long, so that sessions ended by other processes die after at most ``lag``; 0: read each time.
    ``timeout`` (seconds) bounds a change with all its retries.

    Raises ``StoreUnavailableError`` when the list does not answer: then nobody knows whether a session has
    ended, and it must not be taken for alive.
    """

    def __init__(
        self, store: StoreT, *, clock: Clock, namespace: str = "", lag: float = 0, timeout: float = 5.0
    ) -> None:
        self.store: StoreT = store
        self._clock = clock
        self._namespace = f"{namespace}\0revocations"
        self._lag = lag
        self._timeout = timeout
        self._read: OrderedDict[str, tuple[float, Standing]] = OrderedDict()

    def standing_steps(self, who: str, *, fresh: bool = False) -> Steps[Standing]:
        """Return what the list says of ``who``.  At most one load; exactly one if ``fresh``."""
        if self._lag and not fresh:
            read_at, standing = self._read.get(who, (float("-inf"), _NOTHING))
            if self._clock.monotonic() - read_at < self._lag:
                return standing
        now = self._clock.monotonic()  # before the load: what is believed is never older than it says
        key = key_for(who, namespace=self._namespace)
        record: Record | None = yield self.store.load, key
        try:
            standing = _NOTHING if record is None else Standing.of(record)
        except DecodeError as error:
            raise StoreUnavailableError(
                f"record {public_id(key)} of the revocation list is damaged, so nobody knows which of "
                "its sessions have ended: delete it to let them live, or restore a backup"
            ) from error
        self._believe(who, now, standing)
        return standing

    def change_steps(
        self,
        who: str,
        change: Callable[[Standing], Standing],
        *,
        known: Standing | None = None,
        only_if: Lineage | None = None,
    ) -> Steps[Standing]:
        """Change what the list says of ``who`` (compare-and-set); return what it says then.

        One write if ``known`` is what it says now; else a load, and both again for each other change that
        comes between.  Raises ``SessionGoneError``, and changes nothing, once ``only_if`` is not allowed.
        """
        give_up = self._clock.monotonic() + self._timeout
        standing = known
        while True:
            if standing is None:
                standing = yield from self.standing_steps(who, fresh=True)
            if only_if is not None and not standing.allows(only_if):
                raise SessionGoneError("the session was ended during the request; nothing was saved")
            now = self._clock.now()
            changed = self._bounded(change(standing.at(now)), who, now)
            record = Record(
                key=key_for(who, namespace=self._namespace),
                payload=changed.encode(),
                created_at=now,
                idle_deadline=changed.until,
            )
            read_at = self._clock.monotonic()
            try:
                if standing.version is None:
                    version = yield self.store.create, record
                else:
                    version = yield self.store.update, record, standing.version
            except (ConflictError, DuplicateKeyError, SessionGoneError) as error:
                if self._clock.monotonic() >= give_up:
                    raise ConflictError(
                        f"others kept changing the same record of the revocation list for {self._timeout} s, "
                        "so nothing was changed: try again"
                    ) from error
                standing = None
                yield Pause(secrets.randbelow(1000) / 1000 * _PAUSE)
            else:
                changed = replace(changed, version=version)
                self._believe(who, read_at, changed)
                return changed

    def _bounded(self, standing: Standing, who: str, now: int) -> Standing:
        if len(standing.accounts) <= _MOST:
            return standing
        logger.warning(
            "user %s signed out of more than %d sessions whose cookies still live: all the user's sessions "
            "end now, so that the list stays small",
            public_id(key_for(who, namespace=self._namespace)),
            _MOST,
        )
        return standing.with_new_epoch(now)

    def _believe(self, who: str, read_at: float, standing: Standing) -> None:
        if not self._lag or self._read.get(who, (read_at, standing))[0] > read_at:
            return
        self._read[who] = (read_at, standing)
        if len(self._read) > _MOST_CACHED:
            self._read.popitem(last=False)


def ended(session_id: bytes, until: int) -> Callable[[Standing], Standing]:
    """Return the change that ends a session, whose cookies are all dead at ``until``."""
    return lambda standing: standing.with_account(session_id, _ENDED, until)


def renewed(session_id: bytes, generation: int, until: int) -> Callable[[Standing], Standing]:
    """Return the change that ends a session's cookies of generations below ``generation``."""
    return lambda standing: standing.with_account(session_id, generation, until)


def who(lineage: Lineage, subject: bytes | None) -> str:
    """Return whom the list has a record of: the subject's digest or, without one, the session."""
    return f"session {lineage.name}" if subject is None else f"subject {subject.hex()}"
