"""The kit as somebody else meets it: in a project of their own, with pytest alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEST_MODULE = """
from sojourn.stores.memory import AsyncMemoryStore, MemoryStore
from sojourn.testing import AsyncStoreContract, StoreContract
from sojourn.testing import PurgeContract, ScanContract, SubjectIndexContract

class NeverDeletes(MemoryStore):
    def delete(self, key):
        return self.load(key) is not None

class TestMine(StoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    def make_store(self, clock):
        return NeverDeletes(clock=clock)

class TestMineForAsyncio(AsyncStoreContract, SubjectIndexContract, PurgeContract, ScanContract):
    async def make_store(self, clock):
        return AsyncMemoryStore(NeverDeletes(clock=clock))
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_pytest_alone_runs_the_contract_and_shows_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TEST_MODULE)
    output = run(
        *("-m", "pytest", "-p", "no:asyncio", "-p", "no:xdist", "-p", "no:cacheprovider", "-W", "error"),
        *("-k", "a_deleted_record_loads or update_from"),
        cwd=tmp_path,
    ).stdout
    for name in ("TestMine", "TestMineForAsyncio"):
        assert f"FAILED test_mine.py::{name}::test_a_deleted_record_loads_as_none" in output
        assert f"FAILED test_mine.py::{name}::test_C2_update_from" not in output
    assert "assert <Record" in output, "asserts are rewritten"
    assert "fixture" not in output


def test_sojourn_itself_does_not_need_pytest(tmp_path: Path) -> None:
    check = "import sojourn, sys; sys.exit('pytest' in sys.modules)"
    assert run("-c", check, cwd=tmp_path).returncode == 0
