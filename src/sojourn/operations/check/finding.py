"""What the doctor says: a finding, and what all findings of one id have in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Finding", "Kind", "Severity", "sentence"]


class Severity(IntEnum):
    """How much a finding matters; a larger one matters more."""

    #: Nothing is wrong; there is something to gain.
    INFO = 1
    #: Users, or their sessions' secrecy, will suffer under circumstances that come.
    WARNING = 2
    #: Sessions do not work.
    ERROR = 3

    def __str__(self) -> str:
        """Return the name that the command line takes and prints."""
        return self.name.lower()


def sentence(text: str) -> str:
    """Return ``text`` with the stop that ends it, if it has none."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong in one project.  No text of it holds a secret."""

    #: Such as ``"sojourn.W004"``; the letter is that of the severity.
    id: str
    severity: Severity
    #: What is wrong, as a sentence.
    what: str
    #: What will happen to users, as a sentence.
    happens: str
    #: The lines to write: of a settings file, unless ``what`` says where they go.
    corrected: str
    #: ``file:line``, or the setting.
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all findings of one id have in common."""

    id: str
    severity: Severity
    #: What is wrong, in general: the heading in the reference.
    title: str
    happens: str

    def found(self, what: str, *, where: str, corrected: str) -> Finding:
        """Return the finding that says ``what`` is wrong in one project, and where."""
        return Finding(
            id=self.id,
            severity=self.severity,
            what=what,
            happens=self.happens,
            corrected=corrected,
            where=where,
        )
