"""The corpus that fuzzing has found (``make fuzz``) is replayed, target by target."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_raises_or_is_accepted(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    for found in inputs:
        TARGETS[target](found.read_bytes())


def test_the_corpus_has_no_folder_without_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
