"""``sojourn plan``: its formulas beside what real stores were measured to take, and what it says."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import closing
from socket import create_connection
from typing import TYPE_CHECKING, Any

import pytest

from bench.scale.places import PLACES
from bench.scale.sessions import records, sealed
from sojourn.cli import main
from sojourn.clock import SystemClock
from sojourn.errors import ConfigurationError
from sojourn.operations.plan import ENGINES, Load, Node, footprint, needs, needs_of
from sojourn.operations.plan.footprint import FOOTPRINTS, Shape, total
from sojourn.operations.plan.load import few
from sojourn.operations.plan.sample import sampled
from sojourn.record import Record, Version
from sojourn.stores.cached import item as cached_item
from sojourn.stores.from_url import from_url
from sojourn.stores.memcached import item as memcached_item
from sojourn.stores.sql import SQLStore
from sojourn.stores.valkey import item as valkey_item
from sojourn.testing.records import new_record
from sojourn.values import MAX_SIZE
from tests.django.test_budget import BUDGET
from tests.django.test_cached_db import WITHIN_THE_LEASE
from tests.django.test_cookie_engine import COOKIE_BUDGET
from tests.django.test_on_servers import ON_THE_WIRE
from tests.docs.pages import ROOT, blocks_of
from tests.servers.process import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.memcached import Memcached
    from tests.servers.valkey import Valkey

SHARE = 0.15
MEASURED: dict[str, Any] = json.loads((ROOT / "bench" / "scale" / "reference.json").read_text("utf-8"))
LOAD = Load(users=100_000_000, requests=50_000)


def shape_of(record: Record) -> Shape:
    return Shape(payload=len(record.payload), info=len(record.info), subject=len(record.subject or b""))


def planned(engine: str, shape: Shape, sessions: int) -> float:
    return total(FOOTPRINTS[engine](shape, sessions))


@pytest.mark.parametrize(
    ("engine", "size"),
    [(engine, size) for engine, sizes in MEASURED["sizes"].items() for size in sizes],
)
def test_a_formula_says_what_a_million_sessions_were_measured_to_take(engine: str, size: str) -> None:
    measured = MEASURED["sizes"][engine][size]
    shape = Shape(payload=measured["payload"], info=measured["info"], subject=measured["subject"])
    assert planned(engine, shape, measured["sessions"]) == pytest.approx(measured["per_session"], rel=SHARE)


def test_there_are_figures_for_every_store_that_is_planned() -> None:
    assert {"memcached", "redis", "postgresql", "mariadb", "embedded"} <= MEASURED["sizes"].keys()
    assert MEASURED["sessions"] == 1_000_000
    assert FOOTPRINTS.keys() - MEASURED["sizes"].keys() == {"memory"}


@pytest.mark.parametrize(
    "engine",
    [
        "embedded",
        pytest.param("memcached", marks=pytest.mark.asks_for("memcached")),
        pytest.param("redis", marks=pytest.mark.asks_for("valkey")),
        pytest.param("postgresql", marks=pytest.mark.asks_for("postgresql")),
    ],
)
def test_a_formula_says_what_the_sessions_of_this_release_take(engine: str, tmp_path: Path) -> None:
    """So that the figures above cannot have gone stale unnoticed."""
    count = 20_000
    with PLACES[engine](tmp_path / engine) as place:
        place.fill(records(count, 200))
        assert planned(engine, shape_of(sealed(200)), count) * count == pytest.approx(place.size(), rel=SHARE)


def test_heads_are_those_of_the_stores() -> None:
    record = Record("0" * 64, b"", 0, 0)
    version = Version.first()
    assert len(memcached_item.encode(record, version)) == footprint._MEMCACHED_HEAD
    assert len(valkey_item.encode(record, version)) == footprint._REDIS_HEAD
    assert len(cached_item.encode(cached_item.Copy(record, 0))) == needs._COPY_HEAD


def test_round_trips_are_those_the_budget_is_held_to() -> None:
    def budget(counted: dict[str, int]) -> needs.Budget:
        return needs.Budget(
            counted["read"], counted["modified"], counted["login, with one"], counted["logout"]
        )

    assert budget(BUDGET) == needs.SINGLE
    assert budget(ON_THE_WIRE["memcached"]) == needs.SEVERAL_NODES
    assert budget(WITHIN_THE_LEASE) == needs.CACHED
    assert budget(COOKIE_BUDGET) == needs.REVOCATIONS


@pytest.mark.parametrize(
    ("octets", "allocated"),
    [(1, 16), (16, 16), (17, 32), (128, 128), (129, 160), (2_049, 2_560), (2_561, 3_072)],
)
def test_what_jemalloc_takes(octets: int, allocated: int) -> None:
    assert footprint._allocated(octets) == allocated


@pytest.mark.parametrize(
    ("item", "chunk"), [(96, 96), (97, 120), (2_246, 2_320), (12_468, 13_880), (600_000, 2 * 524_288)]
)
def test_what_memcached_takes(item: int, chunk: int) -> None:
    assert footprint._memcached_chunk(item) == chunk


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_figures_with_formulas_and_parts_with_sources(engine: str) -> None:
    need = needs_of(engine, LOAD, Node())
    for name in ("memory", "disk", "operations", "bandwidth", "nodes"):
        assert getattr(need, name).formula
    assert need.memory.value + need.disk.value > 0
    assert need.nodes.value >= 1
    assert all(part.source for part in need.parts)


@pytest.mark.parametrize("engine", ENGINES)
def test_twice_the_users_need_no_less_of_anything(engine: str) -> None:
    one, two = (
        needs_of(engine, Load(users=users, requests=1_000, sign_ins=users / 1_000), Node())
        for users in (1_000_000, 2_000_000)
    )
    for name in ("memory", "disk", "operations", "bandwidth", "nodes"):
        assert getattr(two, name).value >= getattr(one, name).value
    assert two.disk.value + two.memory.value > one.disk.value + one.memory.value


def test_a_hundred_million_sessions_are_too_much_for_what_does_not_spread() -> None:
    found = {engine: needs_of(engine, LOAD, Node()) for engine in ENGINES}
    assert [name for name, need in found.items() if need.is_carried] == ["memcached", "redis", "cookies"]
    assert found["redis"].nodes.value > 10
    assert found["redis"].nodes.value >= found["redis"].memory.value / (Node().memory * Node().share_filled)
    roomy = needs_of("redis", LOAD, Node(memory=1 << 40))
    assert roomy.nodes.value == 2, "operations decide where memory does not"


def test_a_small_site_needs_one_node_of_anything() -> None:
    small = Load(users=500, requests=20)
    for engine in ENGINES:
        need = needs_of(engine, small, Node())
        assert need.is_carried
        assert need.nodes.value == (2 if engine == "cached_db" else 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"users": 0},
        {"session_size": 0},
        {"requests": -1.0},
        {"requests": float("inf")},
        {"requests": float("nan")},
        {"saves": 1.5},
        {"idle_timeout": 0},
        {"sign_ins": -0.1},
        {"users": 10**13},
        {"session_size": 17_000_000},  # takes a minute to plan, and ten times that an hour
        {"requests": 1e308},
        {"sign_ins": 1e300},
    ],
)
def test_numbers_no_site_has_are_refused_by_name(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ConfigurationError, match=f"^{name} is"):
        Load(**{"users": 1, "requests": 1.0, **wrong})


@pytest.mark.parametrize(
    "wrong", [{"memory": 0}, {"memory": -1}, {"operations": 0}, {"operations": float("nan")}]
)
def test_a_server_without_memory_or_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="of a node is "):
        Node(**wrong)


def test_the_largest_session_is_planned_like_any_other() -> None:
    for engine in ENGINES:
        need = needs_of(engine, Load(users=1, requests=1, session_size=MAX_SIZE), Node())
        stored = need.memory.value + need.disk.value
        assert stored > MAX_SIZE if engine != "cookies" else stored < MAX_SIZE
    shapes = [Shape.of_session(1_996 * chunks) for chunks in (59, 60, 61)]
    sizes = [total(FOOTPRINTS["postgresql"](shape, 1)) for shape in shapes]
    assert max(sizes) < 1.1 * min(sizes), "one way of laying chunks into pages goes on from the other"


# --- The command --------------------------------------------------------------------------------------

SITE = ("plan", "--users", "1_000_000", "--requests", "2000")


def test_the_command_prints_a_line_for_each_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SITE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1,000,000 sessions of 2,000 bytes")
    table = [line.split()[0] for line in lines[4 : 4 + len(ENGINES)]]
    assert table == list(ENGINES)


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [block.text for block in blocks_of("docs/deploying/sizing.md")]
    shown = [text for text in texts if text.startswith("$ sojourn plan")]
    assert len(shown) == 2
    for text in shown:
        command, _, printed = text.partition("\n")
        assert main(command.split()[2:]) == 0
        assert capsys.readouterr().out == printed


def test_the_formulas_of_one_engine_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SITE, "--engine", "redis", "--formulas"]) == 0
    said = capsys.readouterr().out
    assert "memory = 1,000,000 sessions × " in said
    assert "(stores/valkey/item.py)" in said
    assert "postgresql" not in said


def test_json_has_the_numbers_and_the_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SITE, "--format", "json", "--session-size", "500"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["load"]["sessions"] == 1_000_000
    assert said["engines"].keys() == ENGINES.keys()
    memcached = said["engines"]["memcached"]
    assert memcached["memory"]["value"] == pytest.approx(
        1_000_000 * sum(part["size"] for part in memcached["parts"])
    )


def test_a_wrong_number_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SITE, "--saves", "3"]) == 2
    assert capsys.readouterr().err == "sojourn: saves is 3.0; it is a share, such as 0.1\n"


def test_a_session_too_large_for_a_cookie_is_said_to_spill() -> None:
    small, large = (
        needs_of("cookies", Load(users=10, requests=1, session_size=size), Node()) for size in (1_000, 12_000)
    )
    assert len(small.notes) == 1
    assert "spill" in large.notes[1]


def test_a_session_too_large_for_an_item_is_planned_and_said_not_to_fit() -> None:
    for engine in ("memcached", "cached_db"):
        fitting, large = (
            needs_of(engine, Load(users=200, requests=5, session_size=size), Node())
            for size in (1_000_000, 2_000_000)
        )
        assert not any("does not fit" in note for note in fitting.notes)
        [said] = [note for note in large.notes if "does not fit" in note]
        assert "-I 2m" in said
        assert large.memory.value > fitting.memory.value


def test_what_is_too_much_is_said() -> None:
    many = Load(users=1_000, requests=20_000)
    for engine in ("embedded", "postgresql"):
        [said] = [note for note in needs_of(engine, many, Node()).notes if note.startswith("Too much")]
        assert "more than the 10,000 that one server is taken to carry (--node-operations)" in said
    small = needs_of("memory", Load(users=1_000_000, requests=1), Node(memory=1 << 30))
    [said] = [note for note in small.notes if note.startswith("Too much")]
    assert "more than the 0.8 GiB that one server has for sessions (--node-memory)" in said


def test_a_cache_before_the_database_says_what_it_saves_and_when_it_pays() -> None:
    rarely, often = (
        needs_of("cached_db", Load(users=1_000, requests=requests), Node()) for requests in (1, 1_000)
    )
    for need in (rarely, often):
        assert "It pays where one session is read several times within 30 s" in need.notes[0]
    assert "Of the operations 1 a second are the database's, which without a cache would have 1" in str(
        rarely
    )
    assert "have 1,104" in str(often) or "have 1,100" in str(often)


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0.0"), (0.000_165, "0.00016"), (0.1, "0.1"), (0.83, "0.8"), (1234, "1,234.0")]
)
def test_few_is_not_none(number: float, said: str) -> None:
    assert few(number) == said


@pytest.mark.parametrize(
    ("users", "sessions"),
    [("10k", 10_000), ("2.5M", 2_500_000), ("1_000", 1_000), ("1e6", 1_000_000), ("1G", 1_000_000_000)],
)
def test_users_may_be_given_in_thousands_and_millions(
    users: str, sessions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--users", users, "--requests", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{sessions:,} sessions of 2,000 bytes")


@pytest.mark.parametrize("users", ["", "k", "10x", "many", "infk"])
def test_users_that_are_no_number_are_refused_in_words(
    users: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["plan", f"--users={users}", "--requests", "1"])
    assert "is no number, such as 100_000, 100k or 2.5M" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("10k", "10,000"),
        ("2KB", "2,000"),
        ("2 kB", "2,000"),
        ("2KiB", "2,048"),
        ("1.5MB", "1,500,000"),
        ("7B", "7"),
    ],
)
def test_a_size_may_be_given_in_kilobytes(size: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--users=5", "--requests=2k", f"--session-size={size}"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"5 sessions of {said} bytes")
    assert "2,000 requests/s" in first


@pytest.mark.parametrize("size", ["", "KB", "2XB", "nan", "infK", "2K B", "1e999"])
def test_a_size_that_is_none_is_refused_in_words(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--users=5", "--requests=2", f"--session-size={size}"])
    assert "is no number of bytes, such as 2000, 2KB or 2KiB" in capsys.readouterr().err


# --- A sample -----------------------------------------------------------------------------------------


def stored(address: str, sizes: list[int]) -> str:
    """Store signed-in sessions whose values are of these sizes; return the address."""
    shape = Shape.of_session(0)
    with closing(from_url(address)) as store:
        if isinstance(store, SQLStore):
            store.create_table()
        for size in sizes:
            record = new_record(
                SystemClock(),
                payload=os.urandom(shape.payload + size),
                subject=os.urandom(shape.subject),
                info=os.urandom(shape.info),
            )
            store.create(record)
    return address


SIZES = [1_000] * 90 + [3_000] * 10
MEAN = 1_200


@pytest.mark.parametrize(
    ("fixture", "template"),
    [
        pytest.param(
            "memcached", "memcached://{}/?key_prefix=sampled:", marks=pytest.mark.asks_for("memcached")
        ),
        pytest.param("valkey", "redis://{}/0?key_prefix=sampled:", marks=pytest.mark.asks_for("valkey")),
        pytest.param(
            "postgresql",
            "postgresql://postgres@{}/sessions?table=sampled",
            marks=pytest.mark.asks_for("postgresql"),
        ),
    ],
)
def test_a_sample_of_a_server_says_how_large_its_sessions_are(
    fixture: str, template: str, request: pytest.FixtureRequest
) -> None:
    address = stored(template.format(request.getfixturevalue(fixture).address), SIZES)
    found = sampled(address)
    # By scanning, 500 are drawn of 100: some twice, some not.
    assert found.mean == pytest.approx(MEAN, rel=0.25 if fixture == "postgresql" else 0.02)
    assert found.largest == pytest.approx(3_000, rel=0.02)
    assert found.sessions >= len(SIZES)


@pytest.mark.asks_for("memcached")
def test_a_sample_of_memcached_counts_sessions_alone(memcached: Memcached) -> None:
    prefix = f"of{secrets.token_hex(4)}:"
    address = f"memcached://{memcached.address}/?key_prefix={prefix}"
    with create_connection((HOST, memcached.port)) as theirs:
        for number in range(4):
            theirs.sendall(b"set :1:django.contrib.sessions.cache%d 0 60 1\r\nx\r\n" % number)
            assert theirs.recv(64) == b"STORED\r\n"
    with pytest.raises(ConfigurationError, match=r"no sessions of Sojourn's .* or give --session-size"):
        sampled(address)
    found = sampled(stored(address, [1_000] * 3))
    assert found.sessions == 3
    assert found.mean == pytest.approx(1_000, rel=0.01)


@pytest.mark.asks_for("valkey")
def test_a_sample_of_redis_counts_sessions_alone(valkey: Valkey) -> None:
    prefix = f"of{secrets.token_hex(4)}:"
    address = f"redis://{valkey.address}/0?key_prefix={prefix}"
    with create_connection((HOST, valkey.port)) as theirs:
        theirs.sendall(f"SET {prefix}:1:django.contrib.sessions.cache x\r\n".encode())
        assert theirs.recv(64) == b"+OK\r\n"
    with pytest.raises(ConfigurationError, match="no sessions of Sojourn's"):
        sampled(address)
    found = sampled(stored(address, [1_000] * 3))
    assert found.sessions == 3
    assert found.mean == pytest.approx(1_000, rel=0.01)


def test_a_sample_of_a_file_is_taken_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = stored(f"sqlite://{tmp_path / 'folder' / 'sessions.db'}", [1_000])
    assert main([*SITE, "--sample", address]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("have 1,000 bytes on average, 99 of 100 at most 1,000")
    assert second.startswith("1,000,000 sessions of 1,000 bytes")
    assert main([*SITE, "--sample", address, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["sample"]["mean"] == 1_000


def test_to_sample_a_file_that_is_not_there_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    assert main([*SITE, "--sample", f"sqlite://{folder}/sessions.db"]) == 2
    assert capsys.readouterr().err == f"sojourn: there is no file {folder}/sessions.db; check the address\n"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("scheme", "rest"), [("memcached", ""), ("redis", "0"), ("postgresql", "sessions"), ("memory", "")]
)
def test_a_store_that_cannot_be_sampled_is_one_line_and_exit_code_2(
    scheme: str, rest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "" if scheme == "memory" else f"{HOST}:{free_port()}/"
    assert main([*SITE, "--sample", f"{scheme}://{place}{rest}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("sojourn: ")
