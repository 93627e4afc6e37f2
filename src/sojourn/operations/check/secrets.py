"""Values of settings as text, without what nobody may read over a shoulder or in a log of CI."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

__all__ = ["HIDDEN", "assignment", "names_secret", "shown", "without_secrets"]

#: What stands in the place of a secret.
HIDDEN: Final = "…"

_SECRET_NAME: Final = re.compile("pass|secret|token|key(?!_prefix|_function)|credential|auth", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"[^\s/]*@")
_QUERY: Final = re.compile(r"([?&][^=&]*(?:pass|secret|token|key|auth)[^=&]*=)[^&]*", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[\w.,:/+\[\] -]*")
_LITERAL: Final = re.compile(r"""(?P<quote>['"])(?P<text>.*?)(?P=quote)|['"].*""")
_DOTTED: Final = re.compile(r"[a-z_]\w*(\.\w+)+")
_HARMLESS: Final = re.compile(rf"[A-Z][A-Z_]+|{_DOTTED.pattern}|default|[\w.-]+:\d{{1,5}}")
#: What of code is no text: a secret, perhaps, without its quotes.
_BARE: Final = re.compile(rf"[^\s'\"{HIDDEN},:=(){{}}\[\]]+")
_COMMENT: Final = re.compile(r"\s*#[^'\"]*$")
_BARE_USER_INFO: Final = re.compile(r"//\S*@")
#: The setting below which anything may be, under names that drivers chose.
_ANYTHING: Final = "OPTIONS"
_INDENT: Final = "    "


def shown(value: object) -> str:
    """Return ``value`` as Python writes it if it is plain, as a dotted path or an address is."""
    return _literal("", value)


def assignment(name: str, value: object) -> str:
    """Return the lines that set ``name`` to ``value``, its secrets hidden."""
    return f"{name} = {_literal(name, value)}"


def names_secret(line: str) -> bool:
    """Whether a line of source says that it has a secret."""
    return _SECRET_NAME.search(line) is not None


def without_secrets(line: str) -> str:
    """Return a line of source with every text hidden that may be a secret: all but names and addresses.

    In a line that names a secret, all, and what stands there without quotes, for some may be forgotten.
    """
    named = _SECRET_NAME.search(line)
    harmless = None if named else _HARMLESS

    def hidden(match: re.Match[str]) -> str:
        text = match["text"]
        if text is not None and harmless is not None and harmless.fullmatch(text):
            return match[0]
        return f"{match[0][0]}{HIDDEN}{match['quote'] or ''}"  # without a quote, it has no end

    if named is None:
        return _BARE_USER_INFO.sub(f"//{HIDDEN}@", _LITERAL.sub(hidden, line))
    at = next((place for place in range(named.end(), len(line)) if line[place] in "=:"), named.end() - 1) + 1
    name, value = (_LITERAL.sub(hidden, part) for part in (line[:at], line[at:]))
    is_bare = _BARE.search(_COMMENT.sub("", value)) is not None
    return name + (_BARE.sub(HIDDEN, value) if is_bare else value)


def _literal(name: str, value: object, indent: str = "") -> str:
    if isinstance(value, Mapping):
        items = [
            f"{_text(str(key))}: {_literal(name if name == _ANYTHING else str(key), item, indent + _INDENT)}"
            for key, item in value.items()
        ]
        return _block("{}", items, indent)
    if isinstance(value, list | tuple):
        return _block("[]", [_literal(name, item, indent + _INDENT) for item in value], indent)
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if not isinstance(value, str):
        return _text(HIDDEN)
    return _text(_without_secret(name, value))


def _block(brackets: str, items: list[str], indent: str) -> str:
    inner = "".join(f"{indent}{_INDENT}{item},\n" for item in items)
    return f"{brackets[0]}\n{inner}{indent}{brackets[1]}" if items else brackets


def _without_secret(name: str, value: str) -> str:
    if _SECRET_NAME.search(name) or (name == _ANYTHING and not _DOTTED.fullmatch(value)):
        return HIDDEN
    value = _QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", value))
    return value if _PLAIN.fullmatch(re.sub(f"[{HIDDEN}@?&=]", "", value)) else HIDDEN


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
