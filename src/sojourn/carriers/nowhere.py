"""The store of sessions that have none: what is asked for is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sojourn.errors import SessionGoneError

if TYPE_CHECKING:
    from sojourn.record import Record, Version

__all__ = ["AsyncNowhere", "Nowhere"]


def _refuse() -> NoReturn:
    raise SessionGoneError("no store was given to keep sessions in")


class Nowhere:
    """A :class:`~sojourn.store.Store` in which nothing lives and nothing can."""

    def create(self, record: Record) -> Version:  # noqa: ARG002 - see Store
        """Raise ``SessionGoneError``."""
        _refuse()

    def load(self, key: str) -> Record | None:  # noqa: ARG002 - see Store
        """Return ``None``."""
        return None

    def update(self, record: Record, expected_version: Version) -> Version:  # noqa: ARG002 - see Store
        """Raise ``SessionGoneError``."""
        _refuse()

    def touch(self, key: str, idle_deadline: int) -> bool:  # noqa: ARG002 - see Store
        """Return false."""
        return False

    def move(self, old_key: str, expected_version: Version, record: Record) -> Version:  # noqa: ARG002 - see Store
        """Raise ``SessionGoneError``."""
        _refuse()

    def delete(self, key: str) -> bool:  # noqa: ARG002 - see Store
        """Return false."""
        return False

    def close(self) -> None:
        """Do nothing."""


class AsyncNowhere:
    """:class:`Nowhere` for asyncio."""

    async def create(self, record: Record) -> Version:  # noqa: ARG002 - see Store
        """See :class:`Nowhere`."""
        _refuse()

    async def load(self, key: str) -> Record | None:  # noqa: ARG002 - see Store
        """See :class:`Nowhere`."""
        return None

    async def update(self, record: Record, expected_version: Version) -> Version:  # noqa: ARG002 - see Store
        """See :class:`Nowhere`."""
        _refuse()

    async def touch(self, key: str, idle_deadline: int) -> bool:  # noqa: ARG002 - see Store
        """See :class:`Nowhere`."""
        return False

    async def move(self, old_key: str, expected_version: Version, record: Record) -> Version:  # noqa: ARG002
        """See :class:`Nowhere`."""
        _refuse()

    async def delete(self, key: str) -> bool:  # noqa: ARG002 - see Store
        """See :class:`Nowhere`."""
        return False

    async def close(self) -> None:
        """Do nothing."""
