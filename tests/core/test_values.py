"""Session values to bytes and back: what JSON does, the types beyond it, refusals, hostile bytes."""

# ruff: noqa: DTZ001, DTZ901 - naive datetimes are session values too

from __future__ import annotations

import base64
import copyreg
import enum
import inspect
import json
import pickle
import sys
import tracemalloc
import zlib
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.core.signing import JSONSerializer
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st
from ormsgpack import Ext, packb

from sojourn.errors import ConfigurationError, DecodeError, EncodeError, PayloadTooLargeError
from sojourn.values import (
    IMMUTABLE,
    MAX_DEPTH,
    MAX_SIZE,
    MessagePackCodec,
    SerializerCodec,
    frame,
    text_key,
    unframe,
)

CODEC = MessagePackCodec()
DJANGO = JSONSerializer()
PARIS = ZoneInfo("Europe/Paris")


class Number(int):
    def __repr__(self) -> str:
        return "a number"


class Real(float):
    def __repr__(self) -> str:
        return "a real"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Items(list[Any]):
    pass


class Tier(enum.IntEnum):
    GOLD = 3


class Colour(str, enum.Enum):  # noqa: UP042 - the older form, whose str() differs
    RED = "red"

    def __str__(self) -> str:
        return "a colour"


class Share(float, enum.Enum):
    HALF = 0.5


class Plain(enum.Enum):
    ONE = 1


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Basket:
    items: int


def through(value: Any) -> Any:
    return CODEC.decode("key", CODEC.encode("key", value))


def through_django(value: Any) -> Any:
    return DJANGO.loads(DJANGO.dumps({"key": value}))["key"]


def anatomy(value: Any) -> Any:
    """Return types and content in order: what == is too generous about (1 == 1.0 == True, nan != nan)."""
    if isinstance(value, dict):
        return type(value), [(anatomy(key), anatomy(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [anatomy(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted((anatomy(item) for item in value), key=repr)
    return type(value), repr(value)


def nested(levels: int, leaf: Any = 1) -> Any:
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


texts = st.text(st.characters(exclude_categories=()), max_size=8)
integers = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.sampled_from([2**63, 2**64 - 1, 2**64]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    texts,
    texts.map(Text),
    texts.map(SafeString),
    integers.map(Number),
    st.floats().map(Real),
    st.sampled_from([Tier.GOLD, Colour.RED, Share.HALF, -0.0]),
)
keys = st.one_of(texts, texts.map(Text), st.none(), st.booleans(), integers, st.floats(), st.just(Tier.GOLD))


def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(keys, items, max_size=4)
    sequences = st.lists(items, max_size=4)
    return st.one_of(
        sequences,
        sequences.map(tuple),
        sequences.map(Items),
        st.tuples(items, items).map(lambda pair: Point(*pair)),
        mappings,
        mappings.map(OrderedDict),
        mappings.map(lambda mapping: defaultdict(list, mapping)),
    )


json_values = st.recursive(scalars, containers, max_leaves=12)

extended_scalars = st.one_of(
    st.binary(max_size=300),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
)
elements = st.recursive(
    scalars | extended_scalars.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    lambda items: st.lists(items, max_size=3).map(tuple),
    max_leaves=4,
)
values = st.recursive(scalars | extended_scalars | st.sets(elements, max_size=4), containers, max_leaves=12)


# --- what JSON does ----------------------------------------------------------------------------------


@given(json_values)
@example("\ud800")
@example("\ud83d\ude00")
@example({"\ud83d\ude00": 1, "\U0001f600": 2})
@example({1: "a", "x": 0, "1": "b"})
@example({1.5: 1, True: 2, None: 3, float("nan"): 4, float("-inf"): 5, 10**400: 6})
@example([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**4000])
def test_what_djangos_serializer_stores_comes_back_as_it_would_from_there(value: Any) -> None:
    assert anatomy(through(value)) == anatomy(through_django(value))


def test_integers_are_stored_beyond_the_digits_json_can_print() -> None:
    assert through(10**5000) == 10**5000
    assert through([-(10**5000)]) == [-(10**5000)]


def test_a_key_with_too_many_digits_is_refused_as_json_refuses_it() -> None:
    with pytest.raises(ValueError, match="digits"):
        DJANGO.dumps({10**5000: 1})
    with pytest.raises(EncodeError, match=r"cart: a key .* digits"):
        CODEC.encode("cart", {10**5000: 1})


def test_top_level_keys_become_the_text_json_makes_of_them() -> None:
    assert [text_key(key) for key in ("a", 1, 1.5, True, None, Colour.RED)] == [
        "a", "1", "1.5", "true", "null", "red",
    ]  # fmt: skip
    with pytest.raises(EncodeError, match="tuple"):
        text_key((1, 2))


# --- beyond JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"", b"\x00\xff", b"x" * 70_000,
        datetime(2024, 2, 29, 23, 59, 59, 999999), datetime.min, datetime.max,
        datetime(2024, 10, 27, 2, 30, fold=1),
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, 3, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2024, 1, 1, tzinfo=timezone(-timedelta(hours=23, minutes=59, seconds=59, microseconds=1))),
        date.min, date(2024, 2, 29), date.max,
        time.min, time.max, time(1, 2, 3, 4, fold=1), time(1, 2, tzinfo=timezone(timedelta(hours=-3))),
        timedelta.min, timedelta(-1, 1, 1), timedelta(0), timedelta.max,
        Decimal("0.10"), Decimal("-0"), Decimal("1E+999999"), Decimal("1E-1000020"), Decimal("NaN"),
        Decimal("-sNaN123"), Decimal("Infinity"), Decimal("9" * 5000), Decimal("1E+999999999999999999"),
        UUID(int=0), UUID("12345678-1234-5678-1234-567812345678"),
        set(), {1, "a", b"b", None, 2.5, False}, {("a", (1, ("b",)), ()), ()}, {Decimal(1), date(2024, 1, 1)},
        {"\ud800", ("\udfff", 2**80)}, [{1, 2}, {"a": {3}}],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_beyond_json_comes_back_exactly(value: Any) -> None:
    assert anatomy(through(value)) == anatomy(value)
    assert anatomy(through({"a": [value]})) == anatomy({"a": [value]})
    assert getattr(through(value), "fold", 0) == getattr(value, "fold", 0)


def test_a_buffer_comes_back_as_bytes() -> None:
    for value in (bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a-b-c")[::2]):
        assert through(value) == b"abc"
        assert anatomy(through({SafeString("a"): [value]})) == anatomy({"a": [b"abc"]})
    released = memoryview(b"abc")
    released.release()
    with pytest.raises(EncodeError, match=r"^key\.a: memoryview cannot be stored"):
        CODEC.encode("key", {"a": released})


@given(st.datetimes(timezones=st.timezones()))
def test_an_aware_datetime_comes_back_at_the_same_instant_with_its_offset_fixed(value: datetime) -> None:
    restored = through(value)
    assert restored.replace(tzinfo=None) == value.replace(tzinfo=None)
    assert restored.utcoffset() == value.utcoffset()
    assert restored.astimezone(UTC) == value.astimezone(UTC)
    assert type(restored.tzinfo) is timezone


def test_both_readings_of_a_repeated_hour_stay_apart() -> None:
    first = datetime(2024, 10, 27, 2, 30, tzinfo=PARIS)
    second = first.replace(fold=1)
    assert through(second).astimezone(UTC) - through(first).astimezone(UTC) == timedelta(hours=1)


def test_a_time_whose_zone_gives_no_offset_is_refused_not_stripped_of_its_zone() -> None:
    with pytest.raises(EncodeError, match=r"^alarm\.at: the time zone of this datetime\.time "):
        CODEC.encode("alarm", {"at": time(7, tzinfo=PARIS)})


def test_decimals_are_stored_alike_whatever_the_threads_decimal_context() -> None:
    value = Decimal("1.23456789E+50")
    expected = CODEC.encode("key", value)
    with localcontext(Context(prec=2, capitals=0, traps=[])):
        assert CODEC.encode("key", value) == expected
        assert CODEC.decode("key", expected).compare_total(value) == 0


def test_equal_sets_encode_equally_in_whatever_order_they_were_filled() -> None:
    one = {f"element {n}" for n in range(100)}
    other = {f"element {n}" for n in reversed(range(100))}
    for n in range(1000):  # another table size, another order
        other.add(str(n))
    for n in range(1000):
        other.discard(str(n))
    assert list(one) != list(other)
    assert CODEC.encode("key", one) == CODEC.encode("key", other)


# --- stability ---------------------------------------------------------------------------------------


@given(values)
@example({float("nan"), -float("nan")})
@example({"\ud800": {1.0: {("\ud83d\ude00",)}}})
def test_encoding_what_was_decoded_gives_the_same_bytes(value: Any) -> None:
    encoded = CODEC.encode("key", value)
    assert CODEC.encode("key", value) == encoded
    assert CODEC.encode("key", CODEC.decode("key", encoded)) == encoded


def test_the_order_of_a_dictionary_is_part_of_its_encoding() -> None:
    assert CODEC.encode("key", {"a": 1, "b": 2}) != CODEC.encode("key", {"b": 2, "a": 1})
    assert list(through({"b": 2, "a": 1})) == ["b", "a"]


def test_the_fast_and_the_careful_way_write_the_same_bytes() -> None:
    plain = {"a": [1, 2.5, None, True, "text"], "b": {"c": "ąćę"}, "n": 2**64 - 1}
    unusual = OrderedDict(
        a=Items([Number(1), Real(2.5), None, True, Text("text")]), b={SafeString("c"): "ąćę"}, n=2**64 - 1
    )
    assert CODEC.encode("key", plain) == CODEC.encode("key", unusual) == packb(plain)


def test_the_format_does_not_change_unnoticed() -> None:
    value = [
        2**64, datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2024, 1, 2), time(3, 4), timedelta(1, 2, 3),
        Decimal("1.50"), UUID(int=1), {1, "a"}, b"b", "\ud800",
    ]  # fmt: skip
    assert CODEC.encode("key", value[:-1]).hex() == (
        "99"
        "c7090101" + "00" * 8 +
        "c72102" + b"02024-01-02T03:04:05.000006+00:00".hex() +
        "c70a03" + b"2024-01-02".hex() +
        "c70904" + b"003:04:00".hex() +
        "c70c05" + "000000010000000200000003" +
        "d606" + b"1.50".hex() +
        "d807" + "00" * 15 + "01" +
        "d608" + "9201a161" +
        "c40162"
    )  # fmt: skip
    assert CODEC.encode("key", value[-1]).hex() == "c70709" + "a6c3adc2a0c280"


# --- refusals ----------------------------------------------------------------------------------------


class BrokenZone(tzinfo):
    def utcoffset(self, _when: datetime | None) -> timedelta | None:
        raise RuntimeError("secret content")

    def dst(self, _when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _when: datetime | None) -> str | None:
        return None


class HashableDict(dict[Any, Any]):
    def __hash__(self) -> int:  # type: ignore[override]
        return 0


class Birthday(date):
    pass


REFUSED = [
    object(), Plain.ONE, Basket(1), frozenset({1}), 1j, PurePosixPath("/secret"), Fraction(1, 2), range(3),
    type("A", (bytearray,), {})(b"secret"), iter([]), len, int, NotImplemented,
    gettext_lazy("secret"), {1: 2}.keys(), Birthday(2024, 1, 1), datetime(2024, 1, 1, tzinfo=BrokenZone()),
    {frozenset({1})}, {HashableDict(a=1)}, {(HashableDict(a=1),)}, {object()}, {Plain.ONE},
    type("B", (bytes,), {})(), type("S", (set,), {})(),
    {(1, 2): "secret"}, {b"secret": 1}, {frozenset(): 1}, {date(2024, 1, 1): 1},
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_anything_else_is_refused_by_a_message_with_its_path_and_type_and_not_its_content(value: Any) -> None:
    for wrapped, path in (
        (value, "cart"),
        ({"items": [1, 2, 3, {"price": value}]}, "cart.items[3].price"),
        ({"a b": (0, Point(1, value))}, "cart['a b'][1][1]"),
        ({1: {None: SafeString("\ud800"), "x": value}}, "cart['1'].x"),
    ):
        with pytest.raises(EncodeError) as caught:
            CODEC.encode("cart", wrapped)
        message = str(caught.value)
        assert message.startswith((path + ":", path + "{}")), message
        assert "secret" not in message
        assert len(message) < 300


def test_the_message_names_the_type_met() -> None:
    with pytest.raises(EncodeError, match=r"^key\[0\]: fractions\.Fraction cannot be stored; convert"):
        CODEC.encode("key", [Fraction(1, 2)])
    with pytest.raises(EncodeError, match=r"^key\{\}\[0\]: frozenset cannot be stored in a set; convert"):
        CODEC.encode("key", {(frozenset(),)})


def test_a_very_long_path_is_shortened() -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode("key" * 100, {"x" * 1000: {"\n" * 1000: nested(50, object())}})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", [list, dict, tuple, "through a set-free mix"])
def test_a_value_that_contains_itself_is_refused(kind: Any) -> None:
    loop: list[Any] = []
    if kind is list:
        loop.append(loop)
    elif kind is dict:
        loop.append({"a": {"b": loop}})
    elif kind is tuple:
        loop.append((1, (2, loop)))
    else:
        loop.append(OrderedDict(a=Items([loop])))
    with pytest.raises(EncodeError, match=r"^key[^:]+: the list here contains itself"):
        CODEC.encode("key", loop)


def test_a_value_met_twice_is_no_loop() -> None:
    shared = [SafeString("a")]
    assert through([shared, shared, {"a": shared}]) == [["a"], ["a"], {"a": ["a"]}]


@pytest.mark.parametrize("leaf", [1, "\ud800", SafeString("a"), date(2024, 1, 1), b"b"], ids=repr)
def test_nesting_is_limited_alike_on_every_way_through_the_encoder(leaf: Any) -> None:
    assert through(nested(MAX_DEPTH, leaf)) == nested(MAX_DEPTH, leaf)
    for levels in (MAX_DEPTH + 1, 2_000, 100_000):
        with pytest.raises(EncodeError, match=f"nested more than {MAX_DEPTH} levels deep"):
            CODEC.encode("key", nested(levels, leaf))


def test_nesting_never_ends_in_a_recursion_error() -> None:
    def from_deep_inside(frames: int) -> None:
        if frames:
            from_deep_inside(frames - 1)
        else:
            CODEC.encode("key", nested(200, SafeString("a")))

    with pytest.raises(EncodeError, match="nested too deeply"):
        from_deep_inside(sys.getrecursionlimit() - len(inspect.stack(0)) - 150)


# --- hostile bytes -----------------------------------------------------------------------------------


def decode_anything(data: bytes) -> None:
    """Decoding either succeeds or raises ``DecodeError``; any other exception fails the test."""
    for decode in (lambda data: CODEC.decode("key", data), unframe):
        try:
            decode(data)
        except DecodeError as error:
            assert len(str(error)) < 200  # noqa: PT017 - that it may be raised is the point


@given(st.binary())
def test_S4_random_bytes_decode_or_give_a_decode_error(data: bytes) -> None:
    decode_anything(data)


@given(st.integers(0, 12), st.binary(max_size=40), st.booleans())
def test_S4_random_extensions_decode_or_give_a_decode_error(tag: int, data: bytes, inside: bool) -> None:
    extension = packb(Ext(tag, data))
    decode_anything(extension)
    decode_anything(packb(Ext(8, b"\x91" + extension)))
    decode_anything(packb(Ext(9, b"\x81\xa1a" + extension)))
    decode_anything(b"\x91" + extension if inside else b"\x81\xa1a" + extension)


@given(st.integers(1, 9), st.text(max_size=30))
def test_S4_random_text_in_extensions_decodes_or_gives_a_decode_error(tag: int, text: str) -> None:
    decode_anything(packb(Ext(tag, text.encode())))


@given(values, st.data())
def test_S4_altered_encodings_decode_or_give_a_decode_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(CODEC.encode("key", value))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(encoded) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "insert", "delete"]))
        if change == "set":
            encoded[position] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del encoded[position + 1 :]
        elif change == "insert":
            encoded[position:position] = data.draw(st.binary(min_size=1, max_size=5))
        elif len(encoded) > 1:
            del encoded[position]
    decode_anything(bytes(encoded))
    decode_anything(frame({"key": bytes(encoded)})[:-1])


def ext(tag: int, data: bytes) -> bytes:
    return packb(Ext(tag, data))


def ext_bomb(tag: int, levels: int) -> bytes:
    data = b"\xc0"
    for _ in range(levels):
        data = b"\x91" + ext(tag, data)
    return data


BOMBS = {
    "array of four billion": b"\xdd\xff\xff\xff\xff",
    "map of four billion": b"\xdf\xff\xff\xff\xff",
    "text of four billion": b"\xdb\xff\xff\xff\xff",
    "bytes of four billion": b"\xc6\xff\xff\xff\xff",
    "extension of four billion": b"\xc9\xff\xff\xff\xff\x01",
    "arrays of four billion, nested": b"\xdd\xff\xff\xff\xff" * 1000,
    "maps of four billion, nested": b"\xdf\xff\xff\xff\xff\xa1a" * 1000,
    "deep arrays": b"\x91" * 1_000_000,
    "deep maps": b"\x81\xa1a" * 1_000_000,
    "deep set": ext(8, b"\x91" * 1_000 + b"\x01"),
    "deep escaped value": ext(9, b"\x91" * 1_000 + b"\x01"),
    "set in set": ext(8, b"\x91" + ext(8, b"\x90")),
    "escaped in escaped": ext(9, ext(9, b"\xa1a")),
    "escaped in set": ext(8, b"\x91" + ext(9, b"\xa1a")),
    "sets in sets": ext_bomb(8, 200),
    "escaped in escaped, many times": ext_bomb(9, 200),
    "set of four billion": ext(8, b"\xdd\xff\xff\xff\xff"),
    "unhashable in set": ext(8, b"\x91\x80"),
    "signalling NaN in set": ext(8, b"\x91" + ext(6, b"sNaN")),
    "exponent": ext(6, b"1E+99999999999999999999"),
    "no decimal": ext(6, b"one"),
    "no date": ext(3, b"2024-02-30"),
    "no datetime": ext(2, b"02024-02-30T00:00:00"),
    "no fold": ext(2, b"92024-02-03T00:00:00"),
    "no time": ext(4, b"024:00:01"),
    "long duration": ext(5, b"\x7f\xff\xff\xff" * 3),
    "short duration": ext(5, b"\x00"),
    "no UUID": ext(7, b"\x00"),
    "unknown extension": ext(100, b""),
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "no UTF-8": b"\xa1\xff",
    "a key that is a number": b"\x81\x01\x01",
    "no escape": ext(9, packb("\u0100")),
    "nothing": b"",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_S4_bombs_give_a_decode_error_and_take_no_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            CODEC.decode("key", bomb)
        with pytest.raises(DecodeError):
            unframe(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_S4_a_huge_exponent_stays_small() -> None:
    tracemalloc.start()
    try:
        assert through(Decimal("1E+999999999999999999")).adjusted() == 999999999999999999
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_S4_oversize_bytes_are_refused_before_they_are_parsed() -> None:
    oversize = b"\x91" * (MAX_SIZE + 1)
    with pytest.raises(DecodeError):
        CODEC.decode("key", oversize)
    with pytest.raises(DecodeError, match=f"{MAX_SIZE + 1} bytes, the limit is {MAX_SIZE}"):
        unframe(oversize)


def gadgets() -> list[bytes]:
    class Gadget:
        def __reduce__(self) -> Any:
            return pytest.fail, ("unpickled",)

    pickles = [pickle.dumps(Gadget(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    yaml = b"!!python/object/apply:pytest.fail ['built']"
    code = b"__import__('pytest').fail('evaluated')"
    return [*pickles, *map(zlib.compress, pickles), *map(base64.b64encode, pickles), yaml, code]


@pytest.mark.parametrize("gadget", gadgets(), ids=range(len(gadgets())))
def test_S4_gadgets_are_not_executed(gadget: bytes) -> None:
    decode_anything(gadget)
    decode_anything(packb(gadget))
    for tag in range(1, 10):
        decode_anything(ext(tag, gadget))


def test_a_decode_error_names_the_key_and_no_content() -> None:
    with pytest.raises(DecodeError, match="'cart'") as caught:
        CODEC.decode("cart", b"\xa7secret")
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__


# --- the frame ---------------------------------------------------------------------------------------


@given(st.dictionaries(texts.filter(lambda key: text_key(key) == through(key)), st.binary(max_size=20)))
@example({})
@example({"\ud800": b"", "": b"x"})
def test_a_frame_gives_back_keys_and_encodings_in_order(encodings: dict[str, bytes]) -> None:
    assert list(unframe(frame(encodings)).items()) == list(encodings.items())


def test_keys_in_a_frame_are_joined_as_json_joins_them() -> None:
    assert unframe(frame({"\ud83d\ude00": b"1", "\U0001f600": b"2"})) == {"\U0001f600": b"2"}


def test_the_frame_does_not_look_into_values() -> None:
    assert unframe(frame({"broken": b"\xc1\xc1", "fine": b"\x01"})) == {
        "broken": b"\xc1\xc1",
        "fine": b"\x01",
    }


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xc0", b"\x90", b"\x01", b"\xa1a", b"\xc4\x01a", b"\xc1",
        b"\x81\xa1a\x01", b"\x81\xa1a\xa1b", b"\x81\xa1a\x80", b"\x81\xa1a\xc0", b"\x81\x01\xc4\x00",
        b"\x82\xa1a\xc4\x01x\xa1b\x91\xc4\x00",
        b"\x80\x00", b"\x81\xa1a\xc4\x01x" + b"y",  # something follows
        b"\xde\x00\x01\xa1a\xc4\x01x", b"\x81\xd9\x01a\xc4\x01x", b"\x81\xa1a\xc5\x00\x01x",  # too long
        b"\x82\xa1a\xc4\x01x\xa1a\xc4\x01y",  # a key twice
        ext(9, b"\x81\xa1a\xc4\x01x"), ext(9, b"\x80"), ext(8, b"\x90"), ext(9, b"\xc0"),
    ],
    ids=bytes.hex,
)  # fmt: skip
def test_S4_what_frame_does_not_write_unframe_does_not_read(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="damaged"):
        unframe(payload)


@given(st.dictionaries(texts, st.binary(max_size=20), min_size=1, max_size=4), st.data())
def test_S4_cut_frames_are_refused(encodings: dict[str, bytes], data: st.DataObject) -> None:
    payload = frame(encodings)
    with pytest.raises(DecodeError):
        unframe(payload[: data.draw(st.integers(0, len(payload) - 1))])


def test_an_oversize_session_is_refused_naming_size_limit_and_largest_keys() -> None:
    encodings = {"small": b"x", "large": b"y" * 3_000, "larger": b"z" * 9_000, "middle": b"m" * 500}
    assert unframe(frame(encodings, limit=20_000)) == encodings
    with pytest.raises(PayloadTooLargeError) as caught:
        frame(encodings, limit=10_000)
    assert str(caught.value).startswith("the session is 12539 bytes, the limit is 10000; ")
    assert "'larger' 9000, 'large' 3000, 'middle' 500" in str(caught.value)


def test_nothing_is_framed_that_could_not_be_read_back() -> None:
    with pytest.raises(PayloadTooLargeError):
        frame({"key": bytes(MAX_SIZE)})
    with pytest.raises(PayloadTooLargeError):
        frame({"key": bytes(MAX_SIZE)}, limit=MAX_SIZE * 2)


def test_immutable_types_are_those_that_need_no_comparison() -> None:
    assert {
        str, int, float, bool, type(None), bytes, datetime, date, time, timedelta, Decimal, UUID,
    } == IMMUTABLE  # fmt: skip


# --- a project's own serializer ----------------------------------------------------------------------


class Token:
    def __init__(self, name: str) -> None:
        self.name = name


class ProjectSerializer:
    """JSON that also knows the project's ``Token``, as OpenStack Horizon's does."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, default=self._default).encode("latin-1")

    def loads(self, data: bytes) -> Any:
        return json.loads(data.decode("latin-1"), object_hook=self._hook)

    def _default(self, value: object) -> object:
        if isinstance(value, Token):
            return {"__token__": value.name}
        raise TypeError("no")

    def _hook(self, value: dict[str, Any]) -> object:
        return Token(value["__token__"]) if "__token__" in value else value


def test_a_projects_own_serializer_is_given_each_key_with_its_value() -> None:
    codec = SerializerCodec(ProjectSerializer())
    encoded = codec.encode("token", [Token("abc")])
    assert encoded == b'{"token": [{"__token__": "abc"}]}'
    (restored,) = codec.decode("token", encoded)
    assert isinstance(restored, Token)
    assert restored.name == "abc"


def test_djangos_own_serializer_fits() -> None:
    codec = SerializerCodec(DJANGO)
    assert codec.decode("a", codec.encode("a", {1: (2,)})) == {"1": [2]}


@pytest.mark.parametrize(
    "value", [object(), {1j: 1}, [10**5000], nested(100_000)], ids=lambda v: type(v).__name__
)
def test_what_the_serializer_cannot_store_is_an_encode_error_naming_the_key(value: Any) -> None:
    with pytest.raises(EncodeError, match=r"^cart: the serializer .*ProjectSerializer cannot store this"):
        SerializerCodec(ProjectSerializer()).encode("cart", value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"other": 1}', b"[" * 100_000, b"null", b"\xff", b"1"])
def test_S4_what_the_serializer_cannot_read_is_a_decode_error_naming_the_key(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^cart: the serializer .*ProjectSerializer cannot read"):
        SerializerCodec(ProjectSerializer()).decode("cart", data)


def test_a_serializer_must_give_bytes() -> None:
    class TextSerializer:
        dumps = staticmethod(json.dumps)
        loads = staticmethod(json.loads)

    with pytest.raises(
        EncodeError, match=r"^cart: dumps\(\) of the serializer .* must return bytes, not str"
    ):
        SerializerCodec(TextSerializer()).encode("cart", 1)  # type: ignore[arg-type]


class Pickles:
    """What Django's PickleSerializer was."""

    protocol = pickle.HIGHEST_PROTOCOL

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, self.protocol)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - what is to be refused


class OldPickles(Pickles):
    def loads(self, data: bytes) -> Any:
        if data[:1] == b"\x80":
            raise ValueError("protocol 0 or 1, please")
        return super().loads(data)


class ReadsPicklesToo(ProjectSerializer):
    def loads(self, data: bytes) -> Any:
        try:
            return super().loads(data)
        except ValueError:
            return Pickles().loads(data)


class PackedPickles(Pickles):
    """Hides its pickles from who looks at the bytes."""

    def dumps(self, obj: Any) -> bytes:
        return base64.b64encode(zlib.compress(super().dumps(obj)))

    def loads(self, data: bytes) -> Any:
        return super().loads(zlib.decompress(base64.b64decode(data)))


class BuildsAnything:
    """What jsonpickle and unsafe YAML do."""

    def dumps(self, obj: Any) -> bytes:
        value = obj["sojourn"]
        return f"{type(value).__module__}:{type(value).__qualname__}".encode()

    def loads(self, data: bytes) -> Any:
        module, _, name = data.decode().partition(":")
        return {"sojourn": copyreg.__newobj__(getattr(__import__(module, fromlist=[name]), name))}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Pickles, OldPickles, ReadsPicklesToo, PackedPickles, BuildsAnything])
def test_S4_a_serializer_that_rebuilds_objects_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__} rebuilds Python objects.*based on JSON"):
        SerializerCodec(kind())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_S4_a_serializer_bound_to_one_pickle_protocol_is_refused(protocol: int) -> None:
    class OneProtocol(Pickles):
        def loads(self, data: bytes) -> Any:
            return {"other": 1} if data == pickle.dumps({"other": 1}, protocol) else super().loads(data)

    with pytest.raises(ConfigurationError):
        SerializerCodec(OneProtocol())
