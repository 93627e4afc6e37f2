"""Sessions that travel in their cookie.

:mod:`~sojourn.carriers.steps` is the life of such a session, from one cookie to the next.

A cookie: :mod:`~sojourn.carriers.plain` makes its record, :mod:`~sojourn.carriers.sealed` puts it into the
value and takes it out again, in an envelope of :mod:`~sojourn.carriers.envelopes`.
:mod:`~sojourn.carriers.fitting` says whether it fits, :mod:`~sojourn.carriers.chunks` spreads it over
several, :mod:`~sojourn.carriers.recent` remembers those opened lately, :mod:`~sojourn.carriers.adopting`
reads those of a former engine.

On the server: :mod:`~sojourn.carriers.revocations` is the list of sessions that ended, without which nobody
can end one, :mod:`~sojourn.carriers.ledger` what it is told, :mod:`~sojourn.carriers.spilling` those that do
not fit.
"""

from __future__ import annotations

from sojourn.carriers.adopting import CookieFormer
from sojourn.carriers.fitting import CookieOptions
from sojourn.carriers.revocations import Revocations
from sojourn.carriers.sealed import SealedCarrier
from sojourn.carriers.steps import CookieSteps

__all__ = ["CookieFormer", "CookieOptions", "CookieSteps", "Revocations", "SealedCarrier"]
