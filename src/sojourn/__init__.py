"""Sojourn: web session storage with one set of promises and many places to keep sessions.

Importing this package pulls in no framework and no driver.
"""

from __future__ import annotations

from sojourn.keyring import Keyring
from sojourn.manager import AsyncManager, Manager
from sojourn.policy import AAL1, AAL2, AAL3, Policy
from sojourn.session import Session

__all__ = ["AAL1", "AAL2", "AAL3", "AsyncManager", "Keyring", "Manager", "Policy", "Session"]
