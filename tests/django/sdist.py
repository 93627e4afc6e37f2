"""Django's own tests: only its sdist has them, so it is downloaded for the run and kept in ``.cache``."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest

__all__ = ["djangos_tests"]

CACHE = Path(__file__).parents[2] / ".cache" / "django-sdist"


def djangos_tests() -> Path:
    """Return the folder of the installed Django's own tests; fail the test if it cannot be had."""
    version = django.get_version()
    folder = CACHE / version
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not folder.is_dir():
            _unpack(_download(version), folder)
    return folder


def _download(version: str) -> Path:
    if found := _archive(version):
        return found
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(CACHE), f"Django=={version}"]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    found = _archive(version)
    if pip.returncode or found is None:
        pytest.fail(
            f"Django's own session tests are part of the sdist of Django {version}, and it could not be "
            f"downloaded. With a network run this test again, or put django-{version}.tar.gz into {CACHE}.\n"
            f"{' '.join(command)}\n{pip.stderr[-2000:]}",
            pytrace=False,
        )
    return found


def _archive(version: str) -> Path | None:
    return next(
        (path for path in CACHE.glob("*.tar.gz") if path.name.lower() == f"django-{version}.tar.gz"), None
    )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack what the session tests import, and nothing else."""
    partial = folder.with_suffix(".partial")
    with tarfile.open(archive) as tar:
        wanted = []
        for member in tar.getmembers():
            _, _, inside = member.name.partition("/")
            if inside.startswith(("tests/sessions_tests/", "tests/cache/")):
                member.name = inside.removeprefix("tests/")
                wanted.append(member)
        tar.extractall(partial, members=wanted, filter="data")
    partial.rename(folder)
