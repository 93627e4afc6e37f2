"""Run the tests on every Python found, with each Django it can run, and print a table of what ran.

    python3 tools/test_all.py [arguments for pytest]

Each combination has its own environment under .venv-matrix, made once and brought up to date on each run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venv-matrix"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: Series of Django, the requirement that installs its newest release, and the oldest Python it runs on.
DJANGOS = (("5.2", "Django==5.2.*", "3.11"), ("6.x", "Django>=6,<7", "3.12"))


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    python: str
    django: str
    outcome: str
    failed: bool = False


def main(pytest_arguments: list[str]) -> int:
    """Run everything; return the exit status."""
    results: list[Result] = []
    for python in PYTHONS:
        interpreter = find_interpreter(python)
        for series, requirement, oldest in DJANGOS:
            if interpreter is None:
                results.append(Result(python, series, "skipped: this Python is not installed"))
            elif as_numbers(python) < as_numbers(oldest):
                results.append(Result(python, series, f"skipped: needs Python {oldest}"))
            else:
                results.append(test(python, interpreter, series, requirement, pytest_arguments))
    print("\nPython  Django  outcome")
    for result in results:
        print(f"{result.python:<8}{result.django:<8}{result.outcome}")
    tested = [result for result in results if not result.outcome.startswith("skipped")]
    if not tested:
        print("no Python to test with was found")
    return int(not tested or any(result.failed for result in tested))


def find_interpreter(python: str) -> str | None:
    """Return a working interpreter of that version that can make environments: from PATH, else pyenv's."""
    candidates = [shutil.which(f"python{python}"), shutil.which("python3")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += sorted(str(path) for path in Path(root, "versions").glob(f"{python}.*/bin/python"))
    probe = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        answer = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == python:
            return candidate
    return None


def test(python: str, interpreter: str, series: str, requirement: str, pytest_arguments: list[str]) -> Result:
    """Bring one environment up to date and run the tests in it."""
    environment = ENVIRONMENTS / f"python{python}-django{series}"
    own_python = str(environment / "bin" / "python")
    print(f"\n=== Python {python}, Django {series}", flush=True)
    install = [own_python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        if not Path(own_python).exists():
            subprocess.run([interpreter, "-m", "venv", str(environment)], check=True)
        subprocess.run([*install, "--upgrade", requirement, f"{ROOT}[test]"], check=True)
    except subprocess.CalledProcessError:
        return Result(python, series, "FAILED: the environment could not be made", failed=True)
    # The driver of MariaDB is compiled; where that is not possible, its tests are left out.
    driver = subprocess.run([*install, "mysqlclient>=2.2.1"], check=False)
    if driver.returncode and os.environ.get("CI"):
        return Result(python, series, "FAILED: mysqlclient could not be built", failed=True)
    version = subprocess.run(
        [own_python, "-m", "django", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    started = time.monotonic()
    # A command of the tests' environment is preferred to one of the caller's.
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [own_python, "-m", "pytest", *pytest_arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        check=False,
    )
    seconds = time.monotonic() - started
    if run.returncode:
        return Result(python, version, f"FAILED: pytest ended with {run.returncode}", failed=True)
    return Result(python, version, f"passed in {seconds:.0f} s")


def as_numbers(version: str) -> tuple[int, ...]:
    """Return "3.11" as (3, 11)."""
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
