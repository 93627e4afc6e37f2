"""Whether the engine starts: asked of the engine itself, for ``manage.py check`` and ``sojourn check``."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from sojourn.operations.check.finding import Kind, Severity, sentence
from sojourn.project import OURS

if TYPE_CHECKING:
    from sojourn.operations.check import Finding, Settings

__all__ = ["CANNOT_START", "cannot_start", "configure", "start_findings"]

#: Those whose models the engines use.  A project's others are not needed, and may have much to do at start.
_APPS: Final = ("django.contrib.sessions", "sojourn.django")

CANNOT_START: Final = Kind(
    id="sojourn.E001",
    severity=Severity.ERROR,
    title="SESSION_ENGINE cannot start",
    happens="Every page that has a session is an error 500.",
)


def configure(project: Settings) -> None:
    """Give Django the settings, and those of the project's apps that sessions need; once in a process.

    What somebody else has configured stays.  Raises ``ImproperlyConfigured`` and ``ImportError`` as Django
    does where a database's driver is missing; the settings are given then, too.
    """
    if not settings.configured:
        logging.getLogger("sojourn").addHandler(logging.NullHandler())  # findings say what engines log
        installed = list(dict.fromkeys(project.apps))  # what Horizon adds may be in both lists
        secret = project["SECRET_KEY"] or secrets.token_urlsafe()  # part of the settings may have none
        settings.configure(
            **{**project.defaults, **project.given, "INSTALLED_APPS": installed, "SECRET_KEY": secret}
        )
    if not apps.ready:
        apps.populate({app: None for app in settings.INSTALLED_APPS if app.startswith(_APPS)})


def start_findings(project: Settings) -> list[Finding]:
    """Return what keeps the engine of the settings from starting; nothing is asked of a server.

    Nothing, too, if Django was configured with another engine, or the engine needs what only the project's
    own environment has, such as its serializer.
    """
    if project.is_horizons and find_spec("openstack_auth") is None:
        return []
    try:
        configure(project)
    except (ImproperlyConfigured, ImportError) as error:  # of databases: no app of the project's is loaded
        found = [_cannot_start(error)]
    else:
        try:
            found = cannot_start() if project.engine == settings.SESSION_ENGINE else []
        except Exception:  # noqa: BLE001 - of the project's own, such as SUBJECT, which may need all its apps
            return []
    silenced = project.listed("SILENCED_SYSTEM_CHECKS")
    where = project.where("SESSION_ENGINE")
    return [replace(finding, where=where) for finding in found if finding.id not in silenced]


def cannot_start() -> list[Finding]:
    """Return what keeps an engine of ours from starting, as it says itself."""
    if not settings.SESSION_ENGINE.startswith(OURS):
        return []
    try:
        import_module(settings.SESSION_ENGINE).SessionStore.get_engine()
    except (ImportError, AttributeError, ImproperlyConfigured) as error:
        return [_cannot_start(error)]
    return []


def _cannot_start(error: Exception) -> Finding:
    what = sentence(f"SESSION_ENGINE cannot start: {' '.join(str(error).split())}")
    return CANNOT_START.found(what, where="SESSION_ENGINE", corrected="")
