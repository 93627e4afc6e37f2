"""A Django project in one call, with every engine usable at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import django
from django.conf import settings
from django.core.management import call_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["set_up"]

#: What a careful administrator gives SQLite: the log, its usual durability, and time to wait for locks.
_PRAGMAS: Final = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"


def set_up(
    folder: Path,
    *,
    migrate: bool = True,
    caches: Mapping[str, Any] | None = None,
    database: Mapping[str, Any] | None = None,
) -> None:
    """Configure Django with everything in ``folder``, or in ``database``, and further ``caches``."""
    (folder / "django").mkdir(exist_ok=True)
    options: dict[str, Any] = {"init_command": _PRAGMAS, "transaction_mode": "IMMEDIATE", "timeout": 20}
    settings.configure(
        SECRET_KEY="a secret of the benchmark, 50 characters or more long",  # noqa: S106 - guards nothing
        ALLOWED_HOSTS=["*"],
        BASE_DIR=folder,
        USE_TZ=True,
        ROOT_URLCONF="bench.pages",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "sojourn.django",
        ],
        DATABASES={
            "default": database
            or {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "django.sqlite3",
                "CONN_MAX_AGE": None,
                "OPTIONS": options,
            }
        },
        # By default LocMemCache keeps 300 entries.
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "OPTIONS": {"MAX_ENTRIES": 1_000_000},
            },
            **(caches or {}),
        },
        SESSION_FILE_PATH=str(folder / "django"),
        SOJOURN={"PATH": folder / "sojourn" / "sessions.sqlite3", "MEMORY_LIMIT": 1 << 30},
    )
    django.setup()
    if migrate:
        call_command("migrate", verbosity=0)
