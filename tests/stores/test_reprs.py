"""What stores ask servers, and what these answer, as a traceback or a debugger would show it."""

from __future__ import annotations

import pytest

from sojourn.clock import SystemClock
from sojourn.stores.cached.copies import Found
from sojourn.stores.cached.item import Copy
from sojourn.stores.memcached.protocol import Answer, Exchange, Reply, Witness
from sojourn.stores.sql.requests import Change, Read, Transaction
from sojourn.stores.valkey.item import Item
from sojourn.stores.valkey.nodes import Node
from sojourn.stores.valkey.routing import Request
from sojourn.testing.records import new_record

PAYLOAD = b"sealed bytes"
RECORD = new_record(SystemClock(), payload=PAYLOAD)
KEY = RECORD.key.encode()
ROW = (bytes.fromhex(RECORD.key), PAYLOAD)

WITNESS = Witness(None, 1)
REPLY = Reply(b"VA", PAYLOAD)
CHANGE = Change("DELETE FROM sojourn_session WHERE lookup_key = ?", ROW)

VALUES = [
    Exchange(KEY, b"ms %b 12\r\n%b\r\n" % (KEY, PAYLOAD), 1, WITNESS),
    REPLY,
    Answer([REPLY], WITNESS),
    Request(Node(None, "10.0.0.5", 6379), (b"EVALSHA", b"00", 1, KEY, PAYLOAD)),
    Item(RECORD, RECORD.key),
    Copy(RECORD, 1),
    Found(Copy(RECORD, 1), RECORD.version),
    Read("SELECT payload FROM sojourn_session WHERE lookup_key = ?", ROW),
    CHANGE,
    Transaction((CHANGE,), main=0),
]


@pytest.mark.parametrize("value", VALUES, ids=[type(value).__name__ for value in VALUES])
def test_T12_no_repr_of_what_goes_to_a_server_and_back_shows_a_key_or_a_payload(value: object) -> None:
    for shown in (repr(value), str(value), f"{value}"):
        for canary in (RECORD.key, PAYLOAD.decode(), repr(ROW[0])[2:-1]):
            assert canary not in shown
        assert type(value).__name__ in shown
