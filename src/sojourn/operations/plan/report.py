"""A plan for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from sojourn.operations.plan.load import few

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.operations.plan.load import Load
    from sojourn.operations.plan.needs import Needs, Node
    from sojourn.operations.plan.sample import Sample

__all__ = ["as_json", "as_text"]

_HEAD: Final = ("engine", "memory", "disk", "operations/s", "bandwidth", "nodes")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024
_FIGURES: Final = ("memory", "disk", "operations", "bandwidth", "nodes")


def as_text(
    load: Load, node: Node, needs: Sequence[Needs], sample: Sample | None = None, *, formulas: bool = False
) -> str:
    """Return a table, what else to know, and with ``formulas`` how each number comes about."""
    rows = [_HEAD, *(_row(need) for need in needs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    asked = (
        f"{load.sessions:,} sessions of {load.session_size:,} bytes, idle for {load.idle_timeout:,} s at "
        f"most; {load.requests:,.0f} requests/s, {load.saves:.0%} of them saves; "
        f"{few(load.logins)} sign-ins/s"
    )
    lines = [
        *([] if sample is None else [_sample(sample)]),
        asked,
        f"nodes of {size(node.memory)}, {node.share_filled:.0%} of it for sessions; none that stands by",
        "",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
        "",
    ]
    lines += [f"{need.engine}: {note}" for need in needs for note in need.notes]
    if formulas:
        for need in needs:
            lines += ["", need.engine]
            lines += [f"  {name} = {getattr(need, name).formula}" for name in _FIGURES]
            lines += [f"  {part.size:8,.0f} B  {part.name} ({part.source})" for part in need.parts]
    return "\n".join(lines)


def _sample(sample: Sample) -> str:
    return (
        f"{sample.sessions:,} sessions in the store have {sample.mean:,} bytes on average, 99 of 100 at most "
        f"{sample.largest:,}"
    )


def as_json(load: Load, node: Node, needs: Sequence[Needs], sample: Sample | None = None) -> str:
    """Return the same as one JSON object: ``load``, ``node`` and ``engines``, with all formulas."""
    said = {
        "load": {**asdict(load), "sessions": load.sessions, "sign_ins": load.logins},
        "sample": None if sample is None else asdict(sample),
        "node": asdict(node),
        "engines": {need.engine: {**asdict(need), "engine": need.engine} for need in needs},
    }
    return json.dumps(said, indent=2, ensure_ascii=False)


def size(octets: float) -> str:
    """Return a number of octets as people read it: ``1.4 GiB``."""
    unit = 0
    while octets >= _STEP and unit < len(_UNITS) - 1:
        octets /= _STEP
        unit += 1
    return f"{octets:,.1f} {_UNITS[unit]}" if unit else f"{octets:,.0f} B"


def _row(need: Needs) -> tuple[str, ...]:
    return (
        need.engine,
        size(need.memory.value) if need.memory.value else "-",
        size(need.disk.value) if need.disk.value else "-",
        f"{need.operations.value:,.0f}",
        f"{size(need.bandwidth.value)}/s" if need.bandwidth.value else "-",
        f"{need.nodes.value:,.0f}" if need.is_carried else "too much",
    )
