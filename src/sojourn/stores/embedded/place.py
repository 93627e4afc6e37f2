"""Which file sessions may be kept in: a private one, on a disk of this machine, that nobody swapped."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sojourn.errors import ConfigurationError, StoreUnavailableError

__all__ = ["check", "file_system_of", "local_path", "prepare"]

#: File systems where SQLite's locks or its shared memory do not reach every machine that sees the file.
#: "fuse.x" stands for itself; what it is a front for is on the list by its own name.
# fmt: off
_NETWORK = frozenset((
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "lustre",
    "gpfs", "beegfs", "pvfs2", "ocfs2", "gfs2", "coda", "sshfs", "s3fs", "gcsfuse", "goofys",
    "rclone", "juicefs", "davfs", "vboxsf", "prl_fs", "vmhgfs-fuse",
))
# fmt: on

#: What SQLite keeps beside the database file.
_SIDE_FILES = ("-wal", "-shm", "-journal")


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` made absolute, if sessions may be kept there.  Creates nothing.

    Raises ``ConfigurationError`` for an empty path, one with ``..``, one on a network file system, and
    for whatever :func:`check` refuses.
    """
    given = Path(path)
    if not given.name or "\0" in str(given):
        raise ConfigurationError(f"path={str(given)!r} names no file; give the path of the sessions' file")
    if ".." in given.parts:
        raise ConfigurationError(f"path={str(given)!r} contains '..'; write the folder it means")
    absolute = given.absolute()
    _refuse_network(absolute)
    check(absolute)
    return absolute


def check(path: Path) -> None:
    """Refuse symbolic links, files of other users and folders where others could plant files.

    Absent is fine.  A file that others may read is made private.  Raises ``ConfigurationError``.
    """
    _check_folder(path.parent)
    for file in (path, *(path.with_name(path.name + suffix) for suffix in _SIDE_FILES)):
        _check_file(file)


def prepare(path: Path) -> bool:
    """Create the folder (0700) and an empty file (0600) if absent; return whether the file was.

    Never opens a file that exists: closing it again would drop the locks this process holds on it.
    Raises ``ConfigurationError`` as :func:`check` does, ``StoreUnavailableError`` if the file system
    refuses.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreUnavailableError(
            f"{path}: it cannot be created ({error.strerror}); check the disk and who may write in its folder"
        ) from error
    return True


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system ``path`` is on, given the text of ``/proc/self/mountinfo``."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        mount, separator, source = line.partition(" - ")
        fields = mount.split(" ")
        if not separator or len(fields) < 5:  # noqa: PLR2004 - the mount point is the fifth field
            continue
        point = Path(fields[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace"))
        if len(point.parts) >= best and path.is_relative_to(point):  # a later mount covers an earlier one
            best, kind = len(point.parts), source.split(" ")[0]
    return kind


def _refuse_network(path: Path) -> None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # not Linux: nothing tells
    kind = file_system_of(Path(os.path.realpath(path.parent)), mounts)
    if kind.removeprefix("fuse.") in _NETWORK:
        raise ConfigurationError(
            f"{path} is on a network file system ({kind}), where file locks fail and sessions get lost; "
            "give a path on a disk of this machine, or use a store with a server"
        )


def _check_folder(folder: Path) -> None:
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"the folder {folder} cannot be looked at ({error.strerror})") from error
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(f"the folder {folder} is a symbolic link; give the path it points to")
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{folder} is no folder; give the path of a file in a folder")
    if status.st_mode & stat.S_IWOTH:
        raise ConfigurationError(
            f"everybody may write in the folder {folder}, so anybody could swap the sessions' file; "
            f"give a path in a folder below it, such as {folder / 'sojourn' / 'sessions.db'}"
        )
    if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0:
        raise ConfigurationError(
            f"the folder {folder} belongs to another user (uid {status.st_uid}), who could swap the "
            "sessions' file; give a path in a folder of the user the application runs as"
        )


def _check_file(file: Path) -> None:
    try:
        status = file.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be looked at ({error.strerror})") from error
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(
            f"{file} is a symbolic link, which is not followed; give the path it points to"
        )
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{file} is no regular file; move it away or give another path")
    if os.geteuid() not in (0, status.st_uid):
        raise ConfigurationError(
            f"{file} belongs to another user (uid {status.st_uid}); run as that user or give another path"
        )
    if status.st_mode & 0o077:
        file.chmod(0o600)
