"""What keepers made, on disk, so that what a killed keeper left behind can be told and removed.

One file for each keeper, in a folder of root's. The keeper holds a lock on its file for life; a
file that can be locked is that of a dead one. No process number is believed, so none can be
mistaken for another that got the same number later.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

RUNTIME_FOLDER = "/var/run/fethpipe"
_LONGEST = 1 << 16


class Made(NamedTuple):
    """An interface that stays until somebody destroys it; the ifindex tells it from a later one of
    the same name.
    """

    kind: str
    interface: str
    ifindex: int


class Record:
    """The file of one living keeper."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._name, self._file = _create(folder)

    def write(self, made: list[Made]) -> None:
        """Replace what the file says. Raises OSError."""
        text = json.dumps([interface._asdict() for interface in made]).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text, 0)

    def remove(self) -> None:
        """Remove the file, and its lock with it."""
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._folder)
        os.close(self._file)
        os.close(self._folder)


def open_folder(path: str = RUNTIME_FOLDER) -> int:
    """Return a descriptor of the folder of records, made if need be.

    Raises OSError, PermissionError too if somebody but root could have put things there.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        os.close(folder)
        raise PermissionError(f"{path} is not root's alone")
    return folder


@contextmanager
def abandoned(folder: int) -> Iterator[list[Made]]:
    """Give what dead keepers left, and remove their files when the block ends without an error."""
    files: list[tuple[str, int]] = []
    left: list[Made] = []
    try:
        for name in os.listdir(folder):
            file = _lock_abandoned(folder, name)
            if file is not None:
                files.append((name, file))
                left += _parse(os.pread(file, _LONGEST, 0))
        yield left
        for name, _file in files:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    finally:
        for _name, file in files:
            os.close(file)


def _create(folder: int) -> tuple[str, int]:
    """Make and lock a file; one that a reaper took for abandoned in between is made again."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        name = f"{os.urandom(8).hex()}.json"
        file = os.open(name, flags, 0o600, dir_fd=folder)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return name, file
        os.close(file)


def _lock_abandoned(folder: int, name: str) -> int | None:
    try:
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _parse(text: bytes) -> list[Made]:
    """Return what a record says; one that was never finished says nothing."""
    try:
        return [
            Made(str(entry["kind"]), str(entry["interface"]), int(entry["ifindex"]))
            for entry in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError):
        return []
