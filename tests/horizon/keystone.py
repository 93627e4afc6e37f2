"""A Keystone of the tests' own: SQLite, fernet tokens, and whom and what they need in it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.horizon.environments import KEYSTONE
from tests.horizon.gunicorn import Gunicorn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["PROJECTS", "SERVICES", "Keystone", "User"]

PASSWORD = "a password for tests"
#: Of each domain.
PROJECTS = ("small", "large")
#: In the catalogue of the project "large", the identity service counted.
SERVICES = 31
_REGIONS = ("RegionOne", "RegionTwo")

#: Keystone reads the command line of whoever imports it, which is gunicorn's.
_WSGI = """\
import sys

sys.argv[1:] = []

from keystone.wsgi.api import application
"""

_SETTINGS = """\
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.sqlite
[fernet_tokens]
key_repository = {folder}/fernet
[identity]
password_hash_rounds = 4
"""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in, and is an administrator of the projects "small" and "large" of the domain."""

    name: str
    domain: str = "Default"
    password: str = PASSWORD


class Keystone(Gunicorn):
    """Keystone with its files in ``folder``.  It does one thing at a time, as SQLite needs it.

    The project "small" has the smallest catalogue there is, one service in two regions beside the identity
    service; "large" has :data:`SERVICES`.  Horizon signs in to the first that Keystone lists, which is the
    one whose random id is lower: that is always "small".
    """

    def __init__(self, folder: Path) -> None:
        self._settings = folder / "keystone.conf"
        self._settings.write_text(_SETTINGS.format(folder=folder))
        (folder / "wsgi.py").write_text(_WSGI)
        super().__init__(
            KEYSTONE,
            "wsgi:application",
            folder=folder,
            variables={"OS_KEYSTONE_CONFIG_FILES": str(self._settings), "PYTHONWARNINGS": "ignore"},
        )
        self.url = f"http://{self.address}/v3"
        self._token = ""
        self._admin = ""
        self._projects: dict[tuple[str, str], str] = {}
        self._domains: dict[str, str] = {}

    def start(self) -> None:
        """Make its database, start it and fill it."""
        self._manage("db_sync")
        owner = pwd.getpwuid(os.getuid())
        self._manage("fernet_setup", "--keystone-user", owner.pw_name, "--keystone-group", str(owner.pw_gid))
        urls = [f"--bootstrap-{kind}-url={self.url}" for kind in ("public", "internal", "admin")]
        place = ("--bootstrap-region-id", _REGIONS[0], *urls)
        self._manage("bootstrap", "--bootstrap-password", PASSWORD, *place)
        super().start()
        self._token = self._sign_in()
        [role] = self._ask("/roles?name=admin")["roles"]
        self._admin = role["id"]
        self._fill()

    def _manage(self, *arguments: str) -> None:
        settings = ("--config-file", str(self._settings))
        subprocess.run(
            [KEYSTONE.program("keystone-manage"), *settings, *arguments],
            check=True,
            capture_output=True,
        )

    def add_user(
        self,
        name: str,
        domain: str = "Default",
        *,
        of_domain: bool = False,
        projects: Sequence[str] = PROJECTS,
    ) -> User:
        """Have a user who is an administrator of the domain's projects, and of the domain if told so."""
        user = {"name": name, "domain_id": self._domains[domain], "password": PASSWORD}
        added = self._ask("/users", {"user": user})["user"]["id"]
        places = [f"/projects/{self.project(kind, domain)}" for kind in projects]
        if of_domain:
            places.append(f"/domains/{self._domains[domain]}")
        for place in places:
            self._ask(f"{place}/users/{added}/roles/{self._admin}", method="PUT")
        return User(name, domain)

    def project(self, name: str, domain: str = "Default") -> str:
        """Return a project's id."""
        return self._projects[domain, name]

    def _fill(self) -> None:
        self._ask("/regions", {"region": {"id": _REGIONS[1]}})
        endpoints = [self._ask("/endpoints")["endpoints"][0]["id"]]
        for number in range(SERVICES - 1):
            name = f"service-{number}"
            service = self._ask("/services", {"service": {"name": name, "type": name}})["service"]["id"]
            for region in _REGIONS if number == 0 else _REGIONS[:1]:
                for interface in ("public", "internal", "admin"):
                    endpoint = {
                        "service_id": service,
                        "region_id": region,
                        "interface": interface,
                        "url": f"http://{name}.{region.lower()}.example.org:8774/v2.1/$(project_id)s",
                    }
                    added = self._ask("/endpoints", {"endpoint": endpoint})["endpoint"]["id"]
                    if number == 0:
                        endpoints.append(added)
        self._domains["Default"] = "default"
        self._domains["Research"] = self._ask("/domains", {"domain": {"name": "Research"}})["domain"]["id"]
        for domain, domain_id in self._domains.items():
            for name in PROJECTS:
                self._projects[domain, name] = self._add_project(name, domain_id)
            while self.project("large", domain) < self.project("small", domain):
                self._ask(f"/projects/{self.project('large', domain)}", method="DELETE")
                self._projects[domain, "large"] = self._add_project("large", domain_id)
            for endpoint in endpoints:  # a project with a filter has no other
                small = self.project("small", domain)
                self._ask(f"/OS-EP-FILTER/projects/{small}/endpoints/{endpoint}", method="PUT")

    def _add_project(self, name: str, domain_id: str) -> str:
        project = {"name": name, "domain_id": domain_id}
        added: str = self._ask("/projects", {"project": project})["project"]["id"]
        return added

    def _sign_in(self) -> str:
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
        }
        with self._open("/auth/tokens", {"auth": auth}, "POST") as answer:
            token: str = answer.headers["X-Subject-Token"]
            return token

    def _ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        with self._open(path, body, method) as answer:
            return json.loads(answer.read() or "null")

    def _open(self, path: str, body: object, method: str | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Auth-Token": self._token}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120)
