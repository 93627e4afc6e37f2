"""Start the demo: prepare its state folder, then hand over to gunicorn with two workers.

python examples/demo/serve.py [--port 8000] [--state FOLDER]
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
STATE = HERE.parent.parent / ".cache" / "demo"
HOST = "127.0.0.1"
USERNAME = "demo"


def main() -> None:
    """Read the command line, prepare, and become gunicorn."""
    parser = argparse.ArgumentParser(description="Start the Sojourn demo site.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--state", type=Path, default=STATE, help="the folder that keeps everything")
    options = parser.parse_args()
    state = options.state.resolve()

    refuse_taken_port(options.port)
    os.environ["DEMO_STATE"] = str(state)
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    password = prepare(state)
    print(
        f"\n  Sojourn demo   http://{HOST}:{options.port}/"
        f"\n  sign in as     {USERNAME}"
        f"\n  password       {password}"
        f"\n  state kept in  {state}"
        "\n\n  Ctrl-C stops it.  Start it again: you are still signed in.\n",
        flush=True,
    )
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(HERE / "gunicorn.conf.py")]
    os.execv(sys.executable, [*gunicorn, "--bind", f"{HOST}:{options.port}", "shop.wsgi"])  # noqa: S606


def refuse_taken_port(port: int) -> None:
    """Stop with advice if something listens on ``port`` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            sys.exit(f"port {port} cannot be used: {error}\nchoose another: make demo PORT=8001")


def prepare(state: Path) -> str:
    """Make the state folder, the tables and the user as far as they are missing; return the password."""
    os.umask(0o077)  # all of it readable by its owner alone, and what the workers write, too
    state.mkdir(parents=True, exist_ok=True)
    keep(state / "secret_key", lambda: secrets.token_urlsafe(48))
    password = keep(state / "password", new_password)

    import django  # noqa: PLC0415 - the settings read what was written above

    django.setup()
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    if not User.objects.filter(username=USERNAME).exists():
        User.objects.create_user(USERNAME, password=password)
    return password


def keep(path: Path, make: Callable[[], str]) -> str:
    """Return what the file holds; if there is none, make it."""
    if not path.exists():
        path.write_text(make(), encoding="ascii")
    return path.read_text(encoding="ascii")


def new_password() -> str:
    """Return a random password that is easy to type."""
    return "-".join("".join(secrets.choice("abcdefghkmnpqrstuvwxyz") for _ in range(4)) for _ in range(3))


if __name__ == "__main__":
    main()
