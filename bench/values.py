"""What reading and writing session values costs, beside Django's serializer and beside msgspec.

    python bench/values.py

Needs Django; msgspec is measured where it is installed.  The best of many short rounds is the figure
that other work on the machine disturbs least.
"""

# ruff: noqa: T201

from __future__ import annotations

import json
import platform
import timeit
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import ormsgpack
from django.core.signing import JSONSerializer
from django.utils.safestring import SafeString

from sojourn.values import MessagePackCodec, frame, unframe

if TYPE_CHECKING:
    from collections.abc import Callable

CODEC = MessagePackCodec()
DJANGO = JSONSerializer()


def microseconds(call: Callable[[], object]) -> float:
    """Return what one call takes, in microseconds: the best of many short rounds."""
    timer = timeit.Timer(call)
    number = max(1, timer.autorange()[0] // 200)
    return min(timer.repeat(200, number)) / number * 1e6


def item(number: int) -> dict[str, Any]:
    """Return one item of a cart: 65 bytes of JSON."""
    return {"sku": f"SKU-{number:06}", "title": "A thing to buy", "qty": 2, "price": 9.5, "gift": False}


def session(size: int, keys: int) -> dict[str, Any]:
    """Return a signed-in user's session of about ``size`` bytes of JSON; the last key is the largest."""
    signed_in = {
        "_auth_user_id": "42",
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": "5f" * 32,
    }
    small = {f"view_{number}": {"page": number, "order": "name"} for number in range(keys - 5)}
    values: dict[str, Any] = {**signed_in, "visits": 7, **small, "cart": []}
    while len(json.dumps(values)) < size:
        values["cart"].append(item(len(values["cart"])))
    return values


def spread(size: int) -> dict[str, Any]:
    """Return a session of about ``size`` bytes of JSON in many keys of one size."""
    values: dict[str, Any] = {"visits": 7}
    while len(json.dumps(values)) < size:
        values[f"page_{len(values)}"] = [item(1), item(2)]
    return values


SESSIONS = {
    "200 B": session(200, 5),
    "2 KB": session(2_000, 8),
    "12 KB": session(12_000, 12),
    "12 KB, spread": spread(12_000),
}


def walk(value: Any) -> bool:
    """Look at every type inside: what msgspec would need first, so as to change none silently."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and walk(inner) for key, inner in value.items())
    if kind is list or kind is tuple:
        return all(map(walk, value))
    return kind in {str, int, float, bool, type(None)}


def table(title: str, columns: dict[str, dict[str, float]]) -> None:
    """Print one column per name, one line per figure."""
    print(f"\n{title:36}" + "".join(f"{name:>14}" for name in columns))
    for line in max(columns.values(), key=len):
        figures = [column.get(line) for column in columns.values()]
        shown = (
            "" if figure is None else f"{figure:.{0 if line.startswith('#') else 2}f}" for figure in figures
        )
        print(f"{line:36}" + "".join(f"{figure:>14}" for figure in shown))


def request(values: dict[str, Any]) -> dict[str, float]:
    """Return what a request pays for this session."""
    encodings = {key: CODEC.encode(key, value) for key, value in values.items()}
    payload, text = frame(encodings), DJANGO.dumps(values)
    largest = max(encodings, key=lambda key: len(encodings[key]))
    return {
        "# keys": len(values),
        "# bytes, Sojourn": len(payload),
        "# bytes, Django": len(text),
        "frame": microseconds(lambda: frame(encodings)),
        "unframe": microseconds(lambda: unframe(payload)),
        "read a small key": microseconds(lambda: CODEC.decode("visits", unframe(payload)["visits"])),
        "read the largest key": microseconds(lambda: CODEC.decode(largest, unframe(payload)[largest])),
        "encode a small changed key": microseconds(lambda: CODEC.encode("visits", 8)),
        "encode the largest key": microseconds(lambda: CODEC.encode(largest, values[largest])),
        "save with a small key changed": microseconds(
            lambda: frame(encodings | {"visits": CODEC.encode("visits", 8)})
        ),
        "Django: read any key": microseconds(lambda: DJANGO.loads(text)),
        "Django: save any change": microseconds(lambda: DJANGO.dumps(values)),
    }


def encoding(value: Any) -> dict[str, float]:
    """Return what the candidates take to encode one value."""
    figures = {
        "Sojourn": microseconds(lambda: CODEC.encode("key", value)),
        "Sojourn, with one SafeString in it": microseconds(
            lambda: CODEC.encode("key", [value, SafeString("x")])
        ),
        "ormsgpack alone": microseconds(lambda: ormsgpack.packb(value)),
    }
    if find_spec("msgspec"):
        from msgspec.msgpack import Encoder  # noqa: PLC0415

        encode = Encoder().encode
        figures["msgspec alone"] = microseconds(lambda: encode(value))
        figures["msgspec after a walk over the types"] = microseconds(lambda: walk(value) and encode(value))
    return figures | {"Django": microseconds(lambda: DJANGO.dumps(value))}


def framing(values: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return what the candidates take to frame and unframe one session."""
    encodings = {key: CODEC.encode(key, value) for key, value in values.items()}
    payload = frame(encodings)
    framed = {
        "Sojourn": microseconds(lambda: frame(encodings)),
        "ormsgpack alone": microseconds(lambda: ormsgpack.packb(encodings)),
    }
    unframed = {
        "Sojourn": microseconds(lambda: unframe(payload)),
        "ormsgpack alone": microseconds(lambda: ormsgpack.unpackb(payload)),
    }
    if find_spec("msgspec"):
        from msgspec.msgpack import Decoder, Encoder  # noqa: PLC0415

        encode, decode = Encoder().encode, Decoder(dict[str, bytes]).decode
        framed["msgspec alone"] = microseconds(lambda: encode(encodings))
        unframed["msgspec alone"] = microseconds(lambda: decode(payload))
    return {"frame 12 KB": framed, "unframe 12 KB": unframed}


if __name__ == "__main__":
    print(
        f"CPython {platform.python_version()}, ormsgpack {ormsgpack.__version__}; µs, the best of many rounds"
    )
    table("A request", {name: request(values) for name, values in SESSIONS.items()})
    cart = SESSIONS["12 KB"]["cart"]
    columns = {"encode 100 B": encoding(cart[0]), "encode 11 KB": encoding(cart)}
    table("The candidates", columns | framing(SESSIONS["12 KB"]))
