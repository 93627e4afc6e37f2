"""What a type checker knows of managers, sessions, policies and secrets.

Never run: mypy and basedpyright check it (``make lint``).  A line marked to be ignored has to be an error; if
it ceases to be one, the checkers report the mark.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from sojourn import AAL1, AAL2, AAL3, AsyncManager, Keyring, Manager, Policy, Session
from sojourn.listing import SessionSummary
from sojourn.policy import Action
from sojourn.stores.embedded import AsyncEmbeddedStore, EmbeddedStore
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def keyring() -> Keyring:
    Keyring("a single secret")  # accepted by types, since text is a sequence of texts; refused when it runs
    Keyring([1])  # type: ignore[list-item]
    Keyring(["secret"], "namespace")  # type: ignore[call-arg]
    assert_type(Keyring([b"secret"]).subject_digest("ada"), bytes)
    return Keyring(["new", b"old"], namespace="shop", cookie_name="session", strict=True)


def policy() -> None:
    Policy()
    Policy(idle_timeout=3600, absolute_timeout=None, anonymous_timeout=60, sliding=True)
    Policy(3600)  # type: ignore[call-arg]
    Policy(idle_timeout="3600")  # type: ignore[arg-type]
    AAL2.sliding = False  # type: ignore[misc]
    assert_type([AAL1, AAL2, AAL3], list[Policy])
    assert_type(AAL1.absolute_deadline(0), int | None)


def manager() -> None:
    made = Manager(MemoryStore(), keyring())
    Manager(EmbeddedStore("sessions.sqlite3"), keyring(), policy=AAL2, timeout=2.5)
    Manager(MemoryStore(), keyring(), polcy=AAL2)  # type: ignore[call-arg]
    Manager(AsyncMemoryStore(MemoryStore()), keyring())  # type: ignore[arg-type]
    Manager(MemoryStore(), "secret")  # type: ignore[arg-type]

    assert_type(made.open(None), Session)
    assert_type(made.new_session(), Session)
    made.open(b"token")  # type: ignore[arg-type]
    made.open()  # type: ignore[call-arg]
    found = made.open("token")
    assert_type(made.commit(found), Action)
    assert_type(made.commit(found, saves=True, idle_timeout=60), Action)
    made.commit(found, True)  # type: ignore[call-arg]
    assert_type(made.exists("token"), bool)
    assert_type(made.delete(None), bool)
    assert_type(made.end(found), bool)
    assert_type(made.sessions_of("ada"), list[SessionSummary])
    assert_type(made.revoke(made.sessions_of("ada")[0].key), bool)
    assert_type(made.revoke_subject("ada", except_session=found), int)
    made.revoke_subject("ada", found)  # type: ignore[call-arg]
    assert_type(made.purge(), int)


async def async_manager() -> None:
    made = AsyncManager(AsyncMemoryStore(MemoryStore()), keyring())
    AsyncManager(AsyncEmbeddedStore(EmbeddedStore("sessions.sqlite3"), threads=2), keyring(), policy=AAL3)
    AsyncManager(MemoryStore(), keyring())  # type: ignore[arg-type]

    found = await made.open("token")
    assert_type(found, Session)
    assert_type(await made.commit(found, saves=True), Action)
    assert_type(await made.exists("token"), bool)
    assert_type(await made.delete("token"), bool)
    assert_type(await made.end(found), bool)
    assert_type(await made.sessions_of("ada"), list[SessionSummary])
    assert_type(await made.revoke("key"), bool)
    assert_type(await made.revoke_subject("ada", except_session=found), int)
    assert_type(await made.purge(), int)


def session(given: Session) -> None:
    mapping: MutableMapping[str, Any] = given
    mapping["basket"] = ["apple"]
    assert_type(given["basket"], Any)
    given[1] = "one"  # type: ignore[index]
    assert_type(given.token, str | None)
    assert_type(given.public_id, str | None)
    assert_type(given.unknown_token, bool)
    given.public_id = "other"  # type: ignore[misc]
    given.renew(authenticated=True)
    given.renew(True)  # type: ignore[call-arg]
    given.end()
    given.clear()


def summary(given: SessionSummary) -> None:
    assert_type(given.key, str)
    assert_type(given.public_id, str)
    assert_type(given.subject, str | None)
    assert_type(given.label, str)
    assert_type(given.created_at, int)
    assert_type(given.last_seen, int)
    assert_type(given.expires_at, int)
