"""The real Horizon, as a deployment: a folder with its ``local_settings.py``, and gunicorn."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import sojourn
from tests.horizon.browser import Browser
from tests.horizon.environments import HORIZON, ROOT
from tests.horizon.gunicorn import Gunicorn

if TYPE_CHECKING:
    from tests.horizon.engines import Engine
    from tests.horizon.environments import Environment
    from tests.horizon.keystone import Keystone, User

__all__ = ["Horizon"]

#: Below Horizon's own example, above the engine's lines.  Its default cache is a memcached.
_MINIMUM = """
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
COMPRESS_OFFLINE = True
OPENSTACK_KEYSTONE_URL = "$keystone"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": "$folder/cache",
    },
}
"""


class Horizon(Gunicorn):
    """Horizon in ``folder``, which signs in at ``keystone``, with sessions in ``engine``.

    It is installed in ``environment``.
    """

    def __init__(
        self,
        folder: Path,
        keystone: Keystone,
        engine: Engine,
        more: str = "",
        *,
        environment: Environment = HORIZON,
    ) -> None:
        self.folder = folder
        self._environment = environment
        self._local = folder / "local"
        self._keystone = keystone
        self._local.mkdir(parents=True)
        (self._local / "__init__.py").touch()
        # Horizon imports `local.local_settings`, wherever that is.
        path = [folder, ROOT]
        if environment is HORIZON:  # a copy has, or has not yet, a Sojourn of its own
            path.append(Path(sojourn.__file__).parents[1])
        self._path = os.pathsep.join(map(str, path))
        super().__init__(
            environment,
            "tests.horizon.served:application",
            folder=folder,
            workers=engine.workers,
            threads=4,
            variables={"PYTHONPATH": self._path, "PYTHONWARNINGS": "ignore"},
        )
        self.configure(engine, more)

    def configure(self, engine: Engine, more: str = "") -> None:
        """Write the settings that hold from the next start on."""
        self.engine = engine
        self.lines = engine.lines + more
        [example] = self._environment.folder.glob(
            "lib/*/site-packages/openstack_dashboard/local/local_settings.py.example"
        )
        lines = Template(_MINIMUM + self.lines).substitute(folder=self.folder, keystone=self._keystone.url)
        (self._local / "local_settings.py").write_text(example.read_text() + lines)

    def start(self) -> None:
        """Make the tables, if sessions are in a database, and start."""
        if "DATABASES" in self.lines:
            settings = {"DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings", "PYTHONWARNINGS": "ignore"}
            subprocess.run(
                [self._environment.program("python"), "-m", "django", "migrate", "--verbosity", "0"],
                env=os.environ | settings | {"PYTHONPATH": self._path},
                check=True,
                stdout=subprocess.DEVNULL,
            )
        super().start()

    def browser(self, user: User | None = None) -> Browser:
        """Return a new browser, in which ``user`` has signed in."""
        browser = Browser(self.address)
        if user is not None:
            answer = browser.sign_in(user)
            assert (answer.status, answer.location) == (302, "/"), self.log.read_text()[-5000:]
        return browser
