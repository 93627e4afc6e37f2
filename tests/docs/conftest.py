"""A Django site for the pages to run on: that of ``tests/django``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from tests.django.conftest import change_settings, database, make_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from django.contrib.auth.models import User

    from tests.django.site import Site

__all__ = ["change_settings", "database", "make_site"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the example site keeps its files; there, and private, as the pages say."""
    for name in ("var/lib", "var/backups"):
        os.makedirs(tmp_path / name, mode=0o700)  # noqa: PTH103 - to be the same on every Python
    return tmp_path


@pytest.fixture
def page_site(folder: Path, make_site: Callable[..., Site], database: None) -> Site:
    """The site that pages are about, as it is before they say anything."""
    apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
    site = make_site("embedded", BASE_DIR=folder, INSTALLED_APPS=apps)
    call_command("migrate", verbosity=0)
    return site


def _user(name: str) -> Iterator[User]:
    users: Any = get_user_model()
    made: User = users.objects.create_user(name, password="correct-horse")
    yield made
    made.delete()


@pytest.fixture
def ada(database: None) -> Iterator[User]:
    """The user that pages speak of."""
    yield from _user("ada")


@pytest.fixture
def grace(database: None) -> Iterator[User]:
    """Another."""
    yield from _user("grace")
