"""The page of promises and the tests that carry their ids say the same."""

from __future__ import annotations

import re
from pathlib import Path

from tools.promises import promises

ROOT = Path(__file__).parents[2]

_TEST = re.compile(r"def test_([A-Z]\d+)_")


def ids_in_tests() -> set[str]:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src" / "sojourn" / "testing").rglob("*.py")]
    return {number for file in files for number in _TEST.findall(file.read_text())}


def test_every_promise_has_a_test() -> None:
    assert not promises().keys() - ids_in_tests()


def test_every_id_in_a_tests_name_is_a_promise() -> None:
    assert not ids_in_tests() - promises().keys()
