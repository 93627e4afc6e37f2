"""Sessions that travel in their cookie.

:mod:`~sojourn.carriers.sealed` puts a record into a cookie's value and takes it out again;
:mod:`~sojourn.carriers.revocations` is the list of those that ended, without which nobody can end one;
:mod:`~sojourn.carriers.steps` is the life of such a session, from one cookie to the next.
"""

from __future__ import annotations

from sojourn.carriers.revocations import Revocations
from sojourn.carriers.sealed import SealedCarrier
from sojourn.carriers.steps import CookieFormer, CookieOptions, CookieSteps

__all__ = ["CookieFormer", "CookieOptions", "CookieSteps", "Revocations", "SealedCarrier"]
