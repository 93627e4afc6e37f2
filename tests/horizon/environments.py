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
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

__all__ = ["HORIZON", "KEYSTONE", "Environment"]

ROOT = Path(__file__).parents[2]


def _of_sojourn() -> list[str]:
    """Return what Sojourn itself requires."""
    return [line for line in requires("sojourn") or () if "extra ==" not in line]


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    name: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
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
        *_of_sojourn(),
    ),
)
KEYSTONE = Environment("keystone", ("keystone==30.0.0", "setuptools<81", "gunicorn==23.*"))


if __name__ == "__main__":
    HORIZON.make()
    KEYSTONE.make()
