"""C2: saves of different keys to one session are all kept, whoever makes them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.test import override_settings

from tests.django.site import everywhere

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.django.site import Site

WRITERS, SAVES = 8, 50
ALL = {f"{writer}-{number}": number for writer in range(WRITERS) for number in range(SAVES)}


def write_at_once(session_class: Callable[[str], Any], key: str) -> list[Exception]:
    """Let threads save, each key by a session of its own; all have loaded before the first saves."""
    loaded = threading.Barrier(WRITERS, timeout=60)
    errors: list[Exception] = []

    def write(writer: int) -> None:
        try:
            for number in range(SAVES):
                session = session_class(key)
                session[f"{writer}-{number}"] = number
                loaded.wait()
                session.save()
        except Exception as error:  # noqa: BLE001 - the caller looks at them
            errors.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@everywhere
def test_C2_eight_threads_that_make_fifty_saves_each_keep_400_of_400(site: Site) -> None:
    key = site.saved(before="kept").session_key
    assert write_at_once(site.session, key) == []
    assert site.stored(key) == {"before": "kept", **ALL}


@everywhere
async def test_C2_eight_tasks_that_make_fifty_saves_each_keep_400_of_400(site: Site) -> None:
    first = site.session()
    await first.aset("before", "kept")
    await first.asave()
    key = first.session_key
    loaded = asyncio.Barrier(WRITERS)

    async def write(writer: int) -> None:
        for number in range(SAVES):
            session = site.session(key)
            await session.aset(f"{writer}-{number}", number)
            await loaded.wait()
            await session.asave()

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    assert dict(await site.session(key).aitems()) == {"before": "kept", **ALL}


@pytest.mark.parametrize("engine", ["cache", "file"])
def test_for_the_record_djangos_own_engines_are_asked_the_same(
    engine: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with override_settings(SESSION_FILE_PATH=str(tmp_path)):
        session_class = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore
        session = session_class()
        session.save()
        errors = write_at_once(session_class, session.session_key)
        kept = len(session_class(session.session_key).keys() & ALL.keys())
        session.delete()
    summary = f"Django's {engine} engine keeps {kept} of {len(ALL)}, and {len(errors)} threads fail"
    record_property("django_keeps", kept)
    print(summary)  # noqa: T201 - for the record; how many is a matter of chance


PROCESS = """
import random, sys, time
from django.conf import settings
settings.configure(
    SECRET_KEY=sys.argv[4], SESSION_ENGINE="sojourn.django.backends.embedded", SOJOURN={"PATH": sys.argv[1]},
)
from sojourn.django.backends.embedded import SessionStore
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    session = SessionStore(sys.argv[2])
    session[f"{sys.argv[3]}-{number}"] = number
    time.sleep(random.random() / 200)
    session.save()
"""


def test_C2_four_processes_that_make_25_saves_each_keep_100_of_100(make_site: Any) -> None:
    site: Site = make_site("embedded")
    key = site.saved(before="kept").session_key
    arguments = [str(settings.SOJOURN["PATH"]), key]
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROCESS, *arguments, str(writer), settings.SECRET_KEY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for writer in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * 4
    expected = {f"{writer}-{number}": number for writer in range(4) for number in range(25)}
    assert site.stored(key) == {"before": "kept", **expected}
