"""Runs Django's own session tests on one of our engines.  A program, so that Django is set up for them alone.

    python djangos_tests.py FOLDER ENGINE SETTINGS

FOLDER is where ``sessions_tests`` of Django's sdist lies, SETTINGS are further ones, as JSON.  Prints the
outcome of each test, as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.test import SimpleTestCase, TestCase
from django.test.utils import get_runner, setup_test_environment, teardown_test_environment

#: Django's test classes for each engine, to be run with ``backend`` replaced.
CLASSES: dict[str, tuple[str, ...]] = {
    "cache": ("SessionTestsMixin", "CacheSessionTests", "SessionMiddlewareTests"),
    "db": ("SessionTestsMixin", "DatabaseSessionTests", "SessionMiddlewareTests"),
    "cached_db": ("SessionTestsMixin", "CacheDBSessionTests", "SessionMiddlewareTests"),
    "embedded": ("SessionTestsMixin", "SessionMiddlewareTests"),
    "file": ("SessionTestsMixin", "FileSessionTests", "FileSessionPathLibTests", "SessionMiddlewareTests"),
    "signed_cookies": ("SessionTestsMixin", "SessionMiddlewareTests"),
}
_IN_A_DATABASE = ("db", "cached_db")
DATABASE_CACHE = "django.core.cache.backends.db.DatabaseCache"


def main(folder: str, engine: str, more: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        configure(folder, engine, Path(temporary), json.loads(more))
        setup_test_environment()
        runner = get_runner(settings)(verbosity=0, interactive=False)
        databases = runner.setup_databases()
        outcomes = Outcomes(stream=None, descriptions=False, verbosity=0)
        suite(engine).run(outcomes)
        runner.teardown_databases(databases)
        teardown_test_environment()
    mixin = import_module("sessions_tests.tests").SessionTestsMixin
    result = {
        "classes": sorted(test_classes()),
        "mixin": len(unittest.TestLoader().getTestCaseNames(mixin)),
        "outcomes": outcomes.by_test,
    }
    json.dump(result, sys.stdout)


def configure(folder: str, engine: str, temporary: Path, more: dict[str, Any]) -> None:
    chosen: dict[str, Any] = {
        "BASE_DIR": temporary,
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.sessions", "sessions_tests"],
        "SECRET_KEY": "django_tests_secret_key",
        "SESSION_ENGINE": f"sojourn.django.backends.{engine}",
        "SESSION_FILE_PATH": str(temporary),
        "SOJOURN": {"COOKIE_REVOCATIONS": f"sqlite://{temporary}/ended.sqlite3"},
        "USE_TZ": False,
    }
    chosen |= more
    if is_in_a_database(engine, chosen):
        chosen["INSTALLED_APPS"].append("sojourn.django")
    settings.configure(**chosen)
    sys.path.insert(0, folder)
    django.setup()


def is_in_a_database(engine: str, chosen: dict[str, Any]) -> bool:
    return engine in _IN_A_DATABASE or DATABASE_CACHE in repr(chosen.get("CACHES"))


def test_classes() -> set[str]:
    """Return the names of all classes of tests there are, the mixin included."""
    module = import_module("sessions_tests.tests")
    found = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    return {name for name in found if unittest.TestLoader().getTestCaseNames(getattr(module, name))}


def suite(engine: str) -> unittest.TestSuite:
    module: Any = import_module("sessions_tests.tests")
    backend = import_module(settings.SESSION_ENGINE).SessionStore
    tests = unittest.TestSuite()
    may_use_it = is_in_a_database(engine, {"CACHES": settings.CACHES})
    case = TestCase if may_use_it else SimpleTestCase
    for name in CLASSES[engine]:
        theirs = getattr(module, name)
        bases = (theirs,) if issubclass(theirs, case) else (theirs, case)
        replaced = {"backend": backend} if hasattr(theirs, "backend") else {}
        ours = type(name, bases, replaced)
        tests.addTests(unittest.TestLoader().loadTestsFromTestCase(ours))
    return tests


class Outcomes(unittest.TextTestResult):
    """What became of each test: "passed", or why not."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.by_test: dict[str, str] = {}

    def _note(self, test: unittest.TestCase, outcome: str) -> None:
        name = f"{type(test).__name__}.{test._testMethodName}"
        self.by_test[name] = f"{self.by_test.get(name, '')}{outcome}"

    def addSuccess(self, test: Any) -> None:
        self._note(test, "passed")

    def addError(self, test: Any, err: Any) -> None:
        if not isinstance(test, unittest.TestCase):
            raise err[1]
        self._note(test, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    def addFailure(self, test: Any, err: Any) -> None:
        self.addError(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.addError(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self._note(test, f"skipped: {reason}")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self._note(test, "expected failure")

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._note(test, "unexpected success")


if __name__ == "__main__":
    main(*sys.argv[1:])
