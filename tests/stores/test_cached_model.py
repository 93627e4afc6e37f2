"""The protocol of the cached store, tried in every order of events; and what each of its rules is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores.cached_model import BROKEN, Found, search

if TYPE_CHECKING:
    from collections.abc import Callable

#: Who meets, and how many mishaps there are on the way.
CREWS = (
    (("load", "delete", "load"), 1),
    (("load", "delete"), 2),
    (("save", "delete", "load"), 0),
    (("save", "delete"), 1),
    (("load", "save", "load"), 0),
    (("load", "save"), 1),
)

#: With which clients a rule left out is missed, and by what.
MISSED = {
    "who loses a compare-and-set deletes": (("load", "load", "load", "delete"), "revived"),
    "the lease counts from after the read": (("load", "load", "delete"), "stale"),
    "a refill is put there without looking": (("load", "load", "delete"), "revived"),
    "the tombstone is shorter than the lease": (("load", "load", "delete"), "revived"),
    "the tombstone comes before the origin": (("load", "load", "delete"), "revived"),
    "a delete only deletes the copy": (("load", "load", "delete"), "revived"),
    "a delete that loses does not look again": (("load", "load", "delete"), "revived"),
    "a save that loses does not look again": (("load", "load", "save"), "outdated"),
    "a save that loses overwrites what is newer": (("save", "save", "load"), "outdated"),
}


@pytest.mark.parametrize(("clients", "mishaps"), CREWS, ids=[f"{', '.join(c)}, {m}" for c, m in CREWS])
def test_C3_in_no_order_of_events_is_a_session_revived_or_older_than_its_lease(
    clients: tuple[str, ...], mishaps: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("states", search(*clients, mishaps=mishaps))


@pytest.mark.parametrize("broken", BROKEN)
def test_C3_a_protocol_that_leaves_out_a_rule_is_found(broken: str) -> None:
    clients, kind = MISSED[broken]
    with pytest.raises(Found) as found:
        search(*clients, broken=broken)
    assert str(found.value).splitlines()[0] == kind, found.value
