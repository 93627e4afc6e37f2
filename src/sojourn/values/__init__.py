"""Session values ↔ bytes, each top-level key decoded only when read.

:mod:`~sojourn.values.framing` makes one payload of a session: a MessagePack map of top-level key to *encoded*
value, so finding the keys descends into nothing.  A :class:`Codec` translates the value under one key:
:mod:`~sojourn.values.messagepack` is the default, :mod:`~sojourn.values.serializers` lends the place to a
project's own Django-style serializer.

The default lets ormsgpack do what it can at once.  What that leaves goes to
:mod:`~sojourn.values.extensions`, type by type, or through :mod:`~sojourn.values.careful`, value by value;
:mod:`~sojourn.values.surrogates` are about text, :mod:`~sojourn.values.paths` about messages.

What JSON stores comes back as it would from JSON: a tuple as a list, ``{1: …}`` as ``{"1": …}``, a
subclass of ``str``, ``int``, ``float``, ``list``, ``tuple`` or ``dict`` as its base.  Beyond JSON:
``bytes``, ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``, ``UUID`` and ``set``, of exactly
these types; ``bytearray`` and ``memoryview`` come back as ``bytes``.  Everything else is refused.

Encoding is deterministic, and stable under decoding: ``encode(decode(encode(v))) == encode(v)``.
"""

from __future__ import annotations

from sojourn.values.careful import text_key
from sojourn.values.codec import IMMUTABLE, MAX_DEPTH, MAX_SIZE, Codec
from sojourn.values.framing import frame, largest_keys, unframe
from sojourn.values.messagepack import MessagePackCodec
from sojourn.values.serializers import Serializer, SerializerCodec

__all__ = [
    "IMMUTABLE",
    "MAX_DEPTH",
    "MAX_SIZE",
    "Codec",
    "MessagePackCodec",
    "Serializer",
    "SerializerCodec",
    "frame",
    "largest_keys",
    "text_key",
    "unframe",
]
