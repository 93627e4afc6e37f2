"""One engine per place where sessions are kept: the store and the managers on it, made from settings."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from sojourn.django.conf import SojournSettings, sojourn_settings
from sojourn.django.former import AsyncDjangoEngines, DjangoEngines, engines_to_adopt_from
from sojourn.errors import ConfigurationError
from sojourn.keyring import Keyring
from sojourn.manager import AsyncManager, Manager
from sojourn.policy import Policy
from sojourn.project import JSON
from sojourn.sealing import Sealed, Unsealed
from sojourn.values import MessagePackCodec, SerializerCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sojourn.django.opening import OpenedSession
    from sojourn.lifecycle import ManagerSettings
    from sojourn.store import AsyncStore, Store
    from sojourn.values import Codec

__all__ = [
    "Engine",
    "Place",
    "configured_engine",
    "engine_at",
    "engine_of",
    "keyring_of",
    "made_once",
    "manager_settings",
    "place_at",
]

logger = logging.getLogger("sojourn")


@dataclass(frozen=True, slots=True)
class Place:
    """Where sessions are kept, and whether what is kept there has to be sealed."""

    #: What messages call it.
    name: str
    store: Store
    async_store: AsyncStore
    sealed: bool = True
    #: Bytes a session may have there; ``None``: as many as the settings allow.
    max_payload: int | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """The managers of one place."""

    manager: Manager
    async_manager: AsyncManager


_places: dict[tuple[str, ...], Place] = {}
#: By where sessions are kept, and by the class of session that is kept there.
_engines: dict[tuple[str, ...] | type[OpenedSession], Engine] = {}
_lock: Final = Lock()


def engine_of(session_class: type[OpenedSession]) -> Engine:
    """Return what ``get_engine()`` of the class does, which is asked once, not at each request."""
    engine = _engines.get(session_class)
    if engine is None:
        try:
            engine = _engines[session_class] = session_class.get_engine()
        except ImproperlyConfigured as error:  # which Django tells nobody but ADMINS, by default
            logger.error("SESSION_ENGINE cannot start: %s", error)  # noqa: TRY400 - the message says it all
            raise
    return engine


def configured_engine() -> Engine | None:
    """Return the engine that ``SESSION_ENGINE`` names; ``None`` if it is not one of Sojourn's.

    Raises ``ImproperlyConfigured`` if it cannot start, and what importing it raises.
    """
    session_class: Any = import_module(settings.SESSION_ENGINE).SessionStore
    return session_class.get_engine() if hasattr(session_class, "get_engine") else None


def engine_at(
    where: tuple[str, ...], make_place: Callable[[SojournSettings], Place], *, like: str | None = None
) -> Engine:
    """Return the engine at ``where``; made at the first call, and again after settings changed in a test.

    ``where`` names the place; ``make_place`` opens it, once in the life of the process.  ``like`` is the
    name of Django's engine that it takes the place of.  Raises ``ImproperlyConfigured``.
    """
    return made_once(where, lambda: _make_engine(place_at(where, make_place), like))


def made_once(where: tuple[str, ...], make: Callable[[], Engine]) -> Engine:
    """Return the engine at ``where``, made at the first call.  Raises ``ImproperlyConfigured``."""
    engine = _engines.get(where)
    if engine is None:
        with _lock:
            try:
                engine = _engines[where] = make()
            except ConfigurationError as error:
                raise ImproperlyConfigured(str(error)) from error
    return engine


def place_at(where: tuple[str, ...], make_place: Callable[[SojournSettings], Place]) -> Place:
    """Return the place at ``where``, opened at the first call.  For whoever is making an engine."""
    place = _places.get(where)
    if place is None:
        place = _places[where] = make_place(sojourn_settings())
    return place


def keyring_of(given: SojournSettings) -> Keyring:
    """Return the project's secrets, bound to its cookie."""
    return Keyring(
        [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS],
        namespace=given.NAMESPACE,
        cookie_name=settings.SESSION_COOKIE_NAME,
        strict=False,
    )


def manager_settings(given: SojournSettings, *, place: str) -> ManagerSettings:
    """Return what the managers of all engines have in common.  Raises ``ConfigurationError``."""
    age: object = settings.SESSION_COOKIE_AGE
    if not isinstance(age, int | float):
        raise ConfigurationError(
            "SESSION_COOKIE_AGE has to be a number of seconds, such as 1209600; it is of type "
            f"{type(age).__name__}"
        )
    return {
        "policy": Policy(
            idle_timeout=settings.SESSION_COOKIE_AGE,
            absolute_timeout=given.ABSOLUTE_TIMEOUT,
            anonymous_timeout=given.ANONYMOUS_TIMEOUT,
            sliding=given.SLIDING,
        ),
        "codec": _codec(settings.SESSION_SERIALIZER),
        "subject_of": _auth_user if given.SUBJECT is None else import_string(given.SUBJECT),
        "max_payload": given.MAX_PAYLOAD,
        "place": place,
        "timeout": given.TIMEOUT,
    }


def _make_engine(place: Place, like: str | None) -> Engine:
    given = sojourn_settings()
    keyring = keyring_of(given)
    options = manager_settings(given, place=place.name)
    options["sealing"] = Sealed(keyring) if place.sealed else Unsealed()
    options["max_payload"] = min(given.MAX_PAYLOAD, place.max_payload or given.MAX_PAYLOAD)
    former = engines_to_adopt_from(given, like)
    sync_options: ManagerSettings = {**options, "former": DjangoEngines(former) if former else None}
    async_options: ManagerSettings = {**options, "former": AsyncDjangoEngines(former) if former else None}
    return Engine(
        Manager(place.store, keyring, **sync_options),
        AsyncManager(place.async_store, keyring, **async_options),
    )


def _auth_user(session: Mapping[str, Any]) -> str | None:
    """Return the primary key, as text, of the user ``django.contrib.auth`` signed in."""
    subject = session.get("_auth_user_id")
    return None if subject is None else str(subject)


def _codec(serializer: str) -> Codec:
    """Return the codec for ``SESSION_SERIALIZER``.

    Django's own JSON serializer is served by MessagePack, which stores all it stores and more.
    """
    if serializer == JSON:
        return MessagePackCodec()
    return SerializerCodec(import_string(serializer)())


def _forget_engines(**_: object) -> None:
    _engines.clear()


setting_changed.connect(_forget_engines, dispatch_uid="sojourn.django.engine")
