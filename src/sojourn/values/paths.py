"""Where a value lies in a session, and what it is, for messages: never its content."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["Path", "shown", "type_name"]

#: Where a value lies: the top-level key, or its container's path and the step from there: a key, an
#: index, or ``None`` for an element of a set.
Path: TypeAlias = "str | tuple[Path, str | int | None]"

#: A longer path is shortened in the middle.
_SHOWN: Final = 200


def shown(path: Path) -> str:
    """Return the path as Python would write it: ``cart.items[3].price``."""
    steps: list[str] = []
    while not isinstance(path, str):
        path, step = path
        if step is None:
            steps.append("{}")
        elif isinstance(step, str) and step.isidentifier():
            steps.append(f".{step:.60}")
        else:
            steps.append(f"[{step!a:.60}]")
    steps.append(path[:60] if path.isprintable() else f"{path!a:.60}")
    whole = "".join(reversed(steps))
    return whole if len(whole) <= _SHOWN else f"{whole[: _SHOWN // 2]}...{whole[-_SHOWN // 2 :]}"


def type_name(value: object) -> str:
    """Return what the type of ``value`` is called, with its module unless it is built in."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
