"""``make scale``, on few sessions and two of its stores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(
    params=["embedded", pytest.param("postgresql, by day", marks=pytest.mark.asks_for("postgresql"))]
)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.xdist_group("make scale")
def test_D6_make_scale_weighs_reads_and_purges_beside_clients(store: str) -> None:
    command = [sys.executable, "-m", "bench.scale", "--sessions=500", "--seconds=0.2", f"--only={store}"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads((ROOT / "bench" / "results" / "scale.json").read_text())
    for sizes in figures["sizes"].values():
        assert all(size["per_session"] > size["payload"] for size in sizes.values())
    assert figures["reads"][store].keys() == {"50", "500"}
    purge = figures["purges"][store]
    removed = int(purge["said"].partition(" ")[0])
    assert 50 < removed < 150  # a fifth is dead, by chance
    assert purge["before"]["operations"] > 0
    assert purge["during"]["operations"] > 0
    assert len(figures["targets"]) == (2 if store.startswith("postgresql") else 0)
