"""Bars on a logarithmic scale, as SVG."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["draw"]

_WIDTH: Final = 760
_LEFT: Final = 275
_RIGHT: Final = 90
_LINE: Final = 20

#: Readable on light and on dark pages.
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #6b7280 }
.title { font-weight: 600 }
.Django { fill: #94a3b8 } .Sojourn { fill: #e07a1f } .raw { fill: #4d9375 }
"""


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Draw the ``figures`` of a run, as in its JSON, into SVG files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in ("200", "2000", "12000"):
        bars = {name: by_size[size] for name, by_size in figures["microseconds"].items()}
        shown = f"{int(size):,} bytes: microseconds, less is better, each step of the scale is ten times"
        (folder / f"bench-{size}.svg").write_text(_chart(shown, bars), encoding="utf-8")
    throughput = {
        f"{count} process{'es' if count != '1' else ''}": {
            name: load["operations_per_second"] for name, load in by_name.items()
        }
        for count, by_name in figures["processes"].items()
    }
    if throughput:
        title = "Operations per second, three reads to a write, more is better"
        (folder / "bench-processes.svg").write_text(_chart(title, throughput), encoding="utf-8")


def _chart(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    values = [value for bars in groups.values() for value in bars.values()]
    lowest, highest = log10(min(values)) - 0.3, log10(max(values))
    scale = (_WIDTH - _LEFT - _RIGHT) / (highest - lowest)
    y = _LINE
    parts = [_text(0, y, title, "title")]
    for group, bars in groups.items():
        y += 2 * _LINE
        parts.append(_text(0, y, group, "title"))
        for name, value in bars.items():
            y += _LINE
            length = (log10(value) - lowest) * scale
            kind = name.split()[0]
            parts += [
                _text(16, y, name),
                f'<rect class="{kind}" x="{_LEFT}" y="{y - 11}" width="{length:.1f}" height="13" rx="2"/>',
                _text(_LEFT + length + 6, y, f"{value:,.1f}" if value < 100 else f"{value:,.0f}"),  # noqa: PLR2004
            ]
    size = f'viewBox="0 0 {_WIDTH} {y + _LINE}" width="{_WIDTH}" height="{y + _LINE}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{x:.1f}" y="{y}">{escape(text)}</text>'
