"""Horizon and Keystone as their users install them, each in an environment of its own.

``python -m tests.horizon.environments`` makes them in ``.venv-horizon/``.  An environment's name carries a
digest of its requirements: it is made once and used until they change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HORIZON", "KEYSTONE", "Environment"]

ROOT = Path(__file__).parents[2]


def _of_sojourn(extra: str | None = None) -> list[str]:
    """Return what Sojourn itself requires, or one of its extras."""
    marked = [line.partition(";") for line in requires("sojourn") or ()]
    wanted = "" if extra is None else f"extra == '{extra}'"
    return [line.strip() for line, _, marker in marked if marker.strip() == wanted]


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    name: str
    requirements: tuple[str, ...]
    #: Where a copy is.
    place: Path | None = None

    @property
    def folder(self) -> Path:
        if self.place is not None:
            return self.place
        wanted = "\n".join((sys.version, *self.requirements))
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
        return ROOT / ".venv-horizon" / f"{self.name}-{digest}"

    @property
    def is_made(self) -> bool:
        return (self.folder / "made").exists()

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        assert self.is_made, "Horizon and Keystone are not installed yet: make test-horizon"
        return str(self.folder / "bin" / name)

    def copy(self, folder: Path, *, without: Sequence[str]) -> Environment:
        """Return a copy in ``folder``, ``without`` some packages: for a test that installs some.

        On the same file system, for files are shared.
        """
        shutil.copytree(
            self.folder, folder, symlinks=True, copy_function=os.link
        )  # pip replaces, never edits
        here, there = str(self.folder).encode(), str(folder).encode()
        for program in (folder / "bin").iterdir():
            if program.is_file() and not program.is_symlink() and here in (text := program.read_bytes()):
                mode = program.stat().st_mode
                program.unlink()
                program.write_bytes(text.replace(here, there))
                program.chmod(mode)
        copy = replace(self, place=folder)
        pip = [copy.program("python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
        subprocess.run([*pip, "uninstall", "--yes", *without], check=True)
        return copy

    def packages(self) -> set[str]:
        """Return the packages that are installed in it, with their versions."""
        return {path.stem for path in self.folder.glob("lib/*/site-packages/*.dist-info")}

    def make(self) -> None:
        """Install it, if it is not there, and remove those of former requirements."""
        if self.is_made:
            return
        for former in self.folder.parent.glob(f"{self.name}-*"):
            shutil.rmtree(former)
        print(f"{self.folder.relative_to(ROOT)}: {', '.join(self.requirements)}", flush=True)  # noqa: T201
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
        subprocess.run([*pip, "install", *self.requirements], check=True)
        if self.name == "horizon":
            self._gather_static_files()
        (self.folder / "made").touch()

    def _gather_static_files(self) -> None:
        """Do what Horizon's installation guide asks for; its result is kept beside the package."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "local"
            local.mkdir()
            (local / "__init__.py").touch()
            (local / "local_settings.py").write_text(
                f"LOCAL_PATH = {str(local)!r}\n"
                "SECRET_KEY = 'for these two commands'\n"
                "COMPRESS_OFFLINE = True\n"
                # Where the cache does not answer, compress leaves the JavaScript out without a word.
                "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}\n"
            )
            for command in (["collectstatic", "--noinput"], ["compress", "--force"]):
                subprocess.run(
                    [str(self.folder / "bin" / "python"), "-W", "ignore", "-m", "django", *command],
                    env=os.environ
                    | {"PYTHONPATH": folder, "DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings"},
                    check=True,
                    stdout=subprocess.DEVNULL,
                )


#: setuptools: both import pkg_resources, which later ones do without.  The drivers are Django's.
HORIZON = Environment(
    "horizon",
    (
        "horizon==27.0.0",
        "Django==5.2.*",
        "setuptools<81",
        "gunicorn==23.*",
        "pymemcache==4.*",
        "redis==6.*",
        "psycopg[binary]==3.*",
        "django-redis==6.*",
        *(["mysqlclient==2.*"] if find_spec("MySQLdb") else []),  # where it could be built
        *_of_sojourn(),
        *_of_sojourn("redis"),
    ),
)
KEYSTONE = Environment("keystone", ("keystone==30.0.0", "setuptools<81", "gunicorn==23.*"))


if __name__ == "__main__":
    HORIZON.make()
    KEYSTONE.make()
