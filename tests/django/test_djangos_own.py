"""Django's own session tests pass on every engine, with ``backend`` replaced and nothing else.

They come from the sdist of the installed Django (see ``sdist.py``) and run in a process of their own
(``djangos_tests.py``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.django.databases import entry_for
from tests.django.djangos_tests import CLASSES
from tests.django.sdist import djangos_tests
from tests.django.servers import CACHED, DATABASES, database_of, on_servers, sites

if TYPE_CHECKING:
    from collections.abc import Callable

#: The tests that reach into Django's own storage, with what they reach for.  No others are left out.
REACH_INTO_STORAGE: dict[str, str] = {
    "CacheSessionTests.test_default_cache": "reads the session from caches['default'] by its cache_key",
    "CacheSessionTests.test_non_default_cache": "reads the session from caches['sessions'] by its cache_key",
    "CacheSessionTests.test_create_and_save": "reads the session from caches['default'] by its cache_key",
    "CacheSessionTests.test_create_and_save_async": "reads caches['default'] by acache_key()",
    "CacheDBSessionTests.test_cache_set_failure_non_fatal": "patches the cache, and reads Django's log",
    "CacheDBSessionTests.test_cache_async_set_failure_non_fatal": "likewise",
    "DatabaseSessionTests.test_session_str": "reads the model by session_key: the key itself is never stored",
    "DatabaseSessionTests.test_session_get_decoded": "likewise",
    "DatabaseSessionTests.test_sessionmanager_save": "likewise, and writes by the model",
    "DatabaseSessionTests.test_clearsessions_command": "names Django's engine to clear with",
    "FileSessionTests.test_configuration_check": "deletes the class attribute _storage_path",
    "FileSessionTests.test_invalid_key_backslash": "calls _key_to_file()",
    "FileSessionTests.test_invalid_key_forwardslash": "calls _key_to_file()",
    "FileSessionTests.test_clearsessions_command": "counts the files, one a session, in _get_storage_path()",
    "FileSessionPathLibTests.test_configuration_check": "as in FileSessionTests",
    "FileSessionPathLibTests.test_invalid_key_backslash": "as in FileSessionTests",
    "FileSessionPathLibTests.test_invalid_key_forwardslash": "as in FileSessionTests",
    "FileSessionPathLibTests.test_clearsessions_command": "as in FileSessionTests",
    "SessionMiddlewareTests.test_empty_session_saved": "reads the session from the Session model",
}

#: The tests in which an engine differs, on purpose.  No others are left out.
DIFFER: dict[str, dict[str, str]] = {
    "cached_db": {
        "CacheDBSessionTests.test_exists_searches_cache_first": (
            "looks into the cache inside the transaction that saved it: ours hears of it at the commit"
        )
    },
    "signed_cookies": {
        f"SessionTestsMixin.test_session_{save}_does_not_resurrect_session_logged_out_in_other_context": (
            "asks for an UpdateError where a cookie is sent that is dead: the list is asked once in a request"
        )
        for save in ("save", "asave")
    },
}

#: The classes that are for an engine of Django's with no counterpart among ours, or for none at all.
OF_OTHER_ENGINES: dict[str, str] = {
    "DatabaseSessionWithTimeZoneTests": "the same with USE_TZ",
    "CustomDatabaseSessionTests": "the same with a model of one's own",
    "CacheDBSessionWithTimeZoneTests": "the same with USE_TZ",
    "CookieSessionTests": "the mixin without what Django's signed_cookies cannot do; ours runs it whole",
    "ClearSessionsCommandTests": "an engine made up to lack clear_expired()",
    "SessionBaseTests": "the abstract class SessionBase itself",
}


@pytest.mark.parametrize(
    "site",
    sites(
        *(name for name in CLASSES if name != "cached_db"),
        *list(DATABASES)[1:],
        *CACHED,
        "cache on db",
        "memcached",
        "memcached nodes",
        "redis",
        "redis cluster",
        "redis sentinels",
    ),
)
def test_djangos_own_session_tests_pass_on(
    site: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    program = Path(__file__).with_name("djangos_tests.py")
    settings, servers = on_servers(site, request)
    engine = "cache" if servers else site.partition(" on ")[0]
    if (server := DATABASES.get(database_of(site) or "")) is not None:
        settings |= {"DATABASES": {"default": entry_for(request.getfixturevalue(server))}}
    more = json.dumps(settings)
    command = [sys.executable, "-W", "error", str(program), str(djangos_tests()), engine, more]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    outcomes: dict[str, str] = result["outcomes"]

    listed = {name for name in REACH_INTO_STORAGE if name.split(".")[0] in CLASSES[engine]}
    listed |= DIFFER.get(engine, {}).keys()
    counted = {name for name in outcomes if name not in listed}
    broken = [f"{name}\n{outcomes[name]}" for name in counted if outcomes[name] != "passed"]
    assert not broken, f"{len(broken)} of Django's tests fail on {site}:\n\n" + "\n".join(broken)

    assert listed <= outcomes.keys(), "a listed test is not there any more"
    passing = {name for name in listed if outcomes[name] == "passed"}
    assert not passing, "listed as not for us, but they pass: take them off the list"
    of_the_mixin = [name for name in counted if name.startswith("SessionTestsMixin.")]
    differ = [name for name in DIFFER.get(engine, ()) if name.startswith("SessionTestsMixin.")]
    assert len(of_the_mixin) == result["mixin"] - len(differ), "the mixin is run whole"
    assert result["mixin"] >= 65
    known = {name for classes in CLASSES.values() for name in classes} | OF_OTHER_ENGINES.keys()
    assert set(result["classes"]) == known, "Django has other test classes than are known here"

    record_property("django_tests_passed", len(counted))
    summary = f"{site}: {len(counted)} of Django's own tests passed, {len(listed)} are not for it"
    print(summary)  # noqa: T201 - for the record
