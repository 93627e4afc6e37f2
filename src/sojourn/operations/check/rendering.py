"""Findings for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from textwrap import indent
from typing import TYPE_CHECKING

from sojourn.operations.check.finding import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sojourn.operations.check.finding import Finding

__all__ = ["as_json", "as_text"]


def as_text(source: str, findings: Sequence[Finding], unread: Sequence[str] = ()) -> str:
    """Return findings as lines to read, then a line with their number, then what could not be checked."""
    parts = [
        f"{finding.where}: {finding.severity} {finding.id}: {finding.what}\n"
        f"  Users: {finding.happens}\n"
        + (f"  Write:\n{indent(finding.corrected, '      ')}\n" if finding.corrected else "")
        for finding in findings
    ]
    counts = Counter(finding.severity for finding in findings)
    said = ", ".join(_counted(counts[severity], severity) for severity in sorted(counts, reverse=True))
    parts.append(f"{source}: {said or 'nothing found'}")
    parts += [f"not checked: {reason}" for reason in unread]
    return "\n".join(parts)


def _counted(number: int, severity: Severity) -> str:
    plural = "s" if number > 1 and severity is not Severity.INFO else ""
    return f"{number} {severity}{plural}"


def as_json(source: str, findings: Sequence[Finding], unread: Sequence[str] = ()) -> str:
    """Return the same as one JSON object: ``settings``, ``findings`` and ``not_checked``."""
    return json.dumps(
        {
            "settings": source,
            "findings": [{**asdict(finding), "severity": str(finding.severity)} for finding in findings],
            "not_checked": list(unread),
        },
        indent=2,
        ensure_ascii=False,
    )
