"""Where the stores of these tests are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.stores import STORES


@pytest.fixture
def place(name: str, request: pytest.FixtureRequest) -> Any:
    """A folder or servers, as the store ``name`` needs it."""
    return request.getfixturevalue(STORES[name].place)
