"""The sessions that are measured.  Each is one dictionary, not to be changed."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["READ", "SIGNED_IN", "SIZES", "WRITTEN", "before_sign_in", "signed_in", "visitor"]

#: Bytes of a session as JSON.
SIZES: Final = (200, 2_000, 12_000)

#: The small key that is read, and the one that is written.
READ: Final = "_auth_user_id"
WRITTEN: Final = "visits"

#: What ``django.contrib.auth.login`` puts into a session.
SIGNED_IN: Final = {
    READ: "7",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "5f" * 32,
}


@cache
def signed_in(size: int) -> Mapping[str, Any]:
    """Return the session of ``size`` bytes of a user who is signed in."""
    return {**SIGNED_IN, **before_sign_in(size)}


@cache
def before_sign_in(size: int) -> Mapping[str, Any]:
    """Return the session that will be :func:`signed_in` of ``size`` once the user has signed in."""
    return visitor(size - len(json.dumps(SIGNED_IN)))


@cache
def visitor(size: int) -> Mapping[str, Any]:
    """Return a session of about ``size`` bytes of somebody who is not signed in.

    Like a shop's: a counter, some preferences, a basket that is a list of dictionaries.
    """
    values: dict[str, Any] = {WRITTEN: 1}
    number = 0
    while (room := size - len(json.dumps(values))) > 0:
        number += 1
        if room < _ITEM + _PREFERENCE:
            values["note"] = "n" * max(1, room - len(', "note": ""'))
        elif number % 8 == 0:
            values[f"page_{number:03}"] = {"order": "name", "shown": 25}
        else:
            values.setdefault("basket", []).append(_item(number))
    return values


def _item(number: int) -> dict[str, Any]:
    return {"sku": f"SKU-{number:06}", "title": "A thing to buy", "qty": 2, "price": 9.5, "gift": False}


_ITEM: Final = len(json.dumps([_item(1)])) + 2
_PREFERENCE: Final = 60
