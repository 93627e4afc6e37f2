"""The page of promises and the tests that carry their ids say the same."""

from __future__ import annotations

import re
from pathlib import Path

from tools.promises import by_engine, collected, promises

ROOT = Path(__file__).parents[2]

_TEST = re.compile(r"def test_((?:[A-Z]\d+_)+)")


def ids_in_tests() -> set[str]:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src" / "sojourn" / "testing").rglob("*.py")]
    found = {ids for file in files for ids in _TEST.findall(file.read_text())}
    return {number for ids in found for number in ids.removesuffix("_").split("_")}


def test_every_promise_has_a_test() -> None:
    assert not promises().keys() - ids_in_tests()


def test_every_promise_has_a_test_on_each_engine_it_names() -> None:
    found = collected()
    missing = [
        (number, letter)
        for number, promise in promises().items()
        for letter, count in by_engine(found[number]).items()
        if letter in promise.engines and not count
    ]
    assert not missing


def test_every_id_in_a_tests_name_is_a_promise() -> None:
    assert not ids_in_tests() - promises().keys()
