"""The documentation's pages and the blocks of code in them."""

from __future__ import annotations

import doctest
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DOCS", "PAGES", "ROOT", "Block", "blocks_of"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Every page, README included.
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]
    if "_build" not in path.parts
)

#: Where the pages' example site keeps its files, and its backups.
_FOLDERS = ("/var/lib/mysite", "/var/lib/horizon", "/var/backups/mysite")

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<text>.*?)^ *(?P=fence)$", re.MULTILINE | re.DOTALL
)
_SETTING = re.compile(r"[A-Z][A-Z_]*\Z")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_settings(self) -> bool:
        """Whether it is a piece of a settings module: it only sets names in capitals."""
        return not self.is_transcript and all(
            _SETTING.match(line.partition(" = ")[0])
            for line in self.text.splitlines()
            if line and not line.startswith((" ", "#", "}", "]", ")"))
        )

    @property
    def is_transcript(self) -> bool:
        """Whether it shows what the interpreter answers."""
        return self.text.startswith(">>> ")

    def run(self, names: dict[str, Any], folder: Path, addresses: Mapping[str, str] | None = None) -> None:
        """Carry the block out among ``names``, with the example site's files in ``folder``.

        ``addresses`` are those of servers there are, by what the page calls them.
        """
        text = self.text
        for placeholder in _FOLDERS:
            text = text.replace(placeholder, str(folder / placeholder.rpartition("/")[0].strip("/")))
        for placeholder, address in (addresses or {}).items():
            text = text.replace(placeholder, address)
        if not self.is_transcript:
            code = compile("\n" * self.line + text, str(ROOT / self.page), "exec", dont_inherit=True)
            exec(code, names)  # noqa: S102 - that is the point
            return
        examples = doctest.DocTestParser().get_doctest(text, names, str(self), self.page, self.line)
        said: list[str] = []
        runner = doctest.DocTestRunner(
            optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False
        )
        assert runner.run(examples, out=said.append, clear_globs=False).failed == 0, "".join(said)
        names.update(examples.globs)


def blocks_of(page: str, *languages: str) -> list[Block]:
    """Return the page's blocks, of the ``languages`` only if any are named."""
    content = (ROOT / page).read_text("utf-8")
    return [
        Block(
            page=page,
            line=content.count("\n", 0, found.start()) + 1,
            language=found["info"].strip(),
            text=textwrap.dedent(found["text"]),
        )
        for found in _FENCE.finditer(content)
        if not languages or found["info"].strip() in languages
    ]
