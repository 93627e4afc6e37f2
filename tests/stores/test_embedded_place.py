"""Where the embedded store keeps its file, and which files it refuses."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sojourn.errors import ConfigurationError
from sojourn.stores.embedded import EmbeddedStore, place
from sojourn.testing import FakeClock
from sojourn.testing.records import new_record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sojourn" / "sessions.db"


def use(path: Path) -> None:
    clock = FakeClock()
    with closing(EmbeddedStore(path, clock=clock)) as store:
        store.create(new_record(clock))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_construction_creates_and_opens_nothing(path: Path) -> None:
    EmbeddedStore(path)
    assert not path.parent.exists()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_S7_the_files_are_0600_in_a_0700_folder_whatever_the_umask(path: Path, mask: int) -> None:
    clock = FakeClock()
    before = os.umask(mask)
    try:
        with closing(EmbeddedStore(path, clock=clock)) as store:
            store.create(new_record(clock))
            assert {file.name: mode(file) for file in path.parent.iterdir()} == {
                "sessions.db": 0o600,
                "sessions.db-wal": 0o600,
                "sessions.db-shm": 0o600,
            }
            assert mode(path.parent) == 0o700
    finally:
        os.umask(before)


def test_S7_a_file_others_may_read_is_made_private(path: Path) -> None:
    use(path)
    path.chmod(0o644)
    use(path)
    assert mode(path) == 0o600


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_S7_a_planted_symlink_is_not_followed(path: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    path.parent.mkdir(mode=0o700)
    path.with_name(path.name + suffix).symlink_to(target)
    with pytest.raises(ConfigurationError, match="is a symbolic link, which is not followed"):
        EmbeddedStore(path)
    assert target.read_text() == "untouched"


def test_S7_a_dangling_symlink_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        EmbeddedStore(path)


def test_S7_a_symlink_planted_between_construction_and_first_use_is_not_followed(
    path: Path, tmp_path: Path
) -> None:
    store = EmbeddedStore(path)
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        store.load("0" * 64)
    assert not (tmp_path / "nowhere").exists()


def test_S7_a_folder_that_is_a_symlink_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ConfigurationError, match=r"the folder .* is a symbolic link; give the path it points to"
    ):
        EmbeddedStore(path)


@pytest.mark.parametrize("written", ["sojourn/../sessions.db", "../sessions.db"])
def test_S7_dots_that_lead_upwards_are_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigurationError, match=r"contains '\.\.'; write the folder it means"):
        EmbeddedStore(f"{tmp_path}/{written}")


@pytest.mark.parametrize("written", ["", ".", "/", "a\0b"])
def test_a_path_without_a_name_is_refused(written: str) -> None:
    with pytest.raises(ConfigurationError, match="names no file"):
        EmbeddedStore(written)


def test_a_relative_path_means_where_the_process_was_when_the_store_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = EmbeddedStore("here/sessions.db")
    monkeypatch.chdir("/")
    store.load("0" * 64)
    store.close()
    assert (tmp_path / "here" / "sessions.db").is_file()


@pytest.mark.parametrize("name", ["a b?c#d%41&mode=ro.db", "naïve ключ.db", ":memory:"])
def test_a_name_with_odd_characters_is_just_a_name(tmp_path: Path, name: str) -> None:
    use(tmp_path / "folder" / name)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == [name]


def test_S7_a_folder_everybody_may_write_in_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    with pytest.raises(ConfigurationError, match=r"everybody may write in .*/sojourn/sojourn/sessions\.db"):
        EmbeddedStore(path)


def test_a_folder_shared_with_a_group_is_accepted(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o770)
    use(path)
    assert mode(path.parent) == 0o770


def test_S7_files_and_folders_of_other_users_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(path)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigurationError, match=f"belongs to another user .uid {owner}."):
        EmbeddedStore(path)


def test_a_folder_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="is no regular file; move it away or give another path"):
        EmbeddedStore(path)


def test_a_file_in_place_of_the_folder_is_refused(path: Path) -> None:
    path.parent.write_text("in the way")
    with pytest.raises(ConfigurationError, match="is no folder; give the path of a file in a folder"):
        EmbeddedStore(path)


@pytest.mark.parametrize(
    "made_by",
    ["CREATE TABLE theirs (id)", "PRAGMA application_id = 7", "PRAGMA user_version = 3"],
)
def test_a_database_of_another_application_is_refused_and_left_alone(path: Path, made_by: str) -> None:
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as other:
        other.execute(made_by)
    before = path.read_bytes()
    with closing(EmbeddedStore(path)) as store:
        with pytest.raises(
            ConfigurationError, match="is a database of another application; give another path"
        ):
            store.load("0" * 64)
        assert path.read_bytes() == before


def test_a_file_of_a_newer_release_is_refused_and_left_alone(path: Path) -> None:
    use(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")
    with (
        closing(EmbeddedStore(path)) as store,
        pytest.raises(ConfigurationError, match="its schema is 2, this one"),
    ):
        store.load("0" * 64)


def test_an_empty_file_is_taken(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(0o600)
    use(path)


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /srv rw,relatime shared:2 master:1 - nfs4 server:/export rw
31 30 0:27 / /srv/local rw - xfs /dev/vdb rw
32 22 0:28 / /mnt/with\040space rw - fuse.sshfs user@host:/ rw
33 22 0:29 / /twice rw - cifs //server/share rw
34 33 254:3 / /twice rw - ext4 /dev/vdc rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/app/sessions.db", "ext4"),
        ("/srv/app/sessions.db", "nfs4"),
        ("/srv/local/app/sessions.db", "xfs"),
        ("/srv/localized/sessions.db", "nfs4"),
        ("/mnt/with space/sessions.db", "fuse.sshfs"),
        ("/twice/sessions.db", "ext4"),
    ],
)
def test_the_longest_and_latest_mount_tells_the_file_system(path: str, kind: str) -> None:
    assert place.file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs"]
)
def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(place, "file_system_of", lambda *_: kind)
    with pytest.raises(ConfigurationError, match=rf"network file system \({kind}\).*disk of this machine"):
        EmbeddedStore(path)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuse.ntfs", ""])
def test_a_local_file_system_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(place, "file_system_of", lambda *_: kind)
    EmbeddedStore(path)
