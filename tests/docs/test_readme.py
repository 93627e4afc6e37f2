"""The commands README shows are there."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import ROOT, blocks_of

COMMANDS = [
    line.removeprefix("$ ") for block in blocks_of("README.md", "console") for line in block.text.splitlines()
]


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {command.removeprefix("make ") for command in COMMANDS if command.startswith("make ")}
    assert named
    assert named <= targets


def test_every_extra_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = {extra for command in COMMANDS for extra in re.findall(r"\[(\w+)\]", command)}
    assert named
    assert named <= extras.keys()


def test_there_are_no_other_commands() -> None:
    others = [command for command in COMMANDS if not command.startswith("make ")]
    assert others == ["python3 -m venv .venv", ".venv/bin/pip install '.[django]'"]
