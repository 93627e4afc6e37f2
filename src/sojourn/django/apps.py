"""``INSTALLED_APPS = [..., "sojourn.django"]``: optional; adds Sojourn's checks to ``manage.py check``."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["SojournConfig"]


class SojournConfig(AppConfig):
    """The app ``sojourn``.  It has no models."""

    name = "sojourn.django"
    label = "sojourn"
    verbose_name = "Sojourn"
