"""``INSTALLED_APPS = [..., "sojourn.django"]``: the table of the ``db`` engine; optional with the others."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["SojournConfig"]


class SojournConfig(AppConfig):
    """The app ``sojourn``: checks, and the table of sessions."""

    name = "sojourn.django"
    label = "sojourn"
    verbose_name = "Sojourn"
