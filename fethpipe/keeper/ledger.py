"""What keepers made, on disk, so that what a killed keeper left behind can be told and removed.

One file for each keeper, in a folder of root's, one line of JSON for each interface. The keeper
holds a lock on its file for life; a file that can be locked is that of a dead one. No process
number is believed, so none can be mistaken for another that got the same number later.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

RUNTIME_FOLDER = "/var/run/fethpipe"
_LONGEST = 1 << 16


class Made(NamedTuple):
    """An interface that stays until somebody destroys it.

    The index tells it from a later one of the same name. XNU gives that one the same index: there
    the MAC does, in hexadecimal, empty where it is not needed.
    """

    kind: str
    interface: str
    ifindex: int
    mac: str = ""


class Record:
    """The file of one living keeper. It owns the descriptor of the folder."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        try:
            self._name, self._file = _create(folder)
        except OSError:
            os.close(folder)
            raise

    def add(self, made: Made) -> None:
        """Write down one interface more. Raises OSError."""
        os.write(self._file, json.dumps(made._asdict()).encode() + b"\n")

    def close(self, *, keep: bool = False) -> None:
        """Let go of the file, and remove it unless it is to be kept for a reaper."""
        if not keep:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        os.close(self._file)
        os.close(self._folder)


class Abandoned(NamedTuple):
    """The file of a dead keeper, which is locked until the iteration goes on."""

    folder: int
    name: str
    made: list[Made]

    def remove(self) -> None:
        """Remove the file: what it says is done with."""
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.folder)


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


def abandoned(folder: int) -> Iterator[Abandoned]:
    """Yield the files of dead keepers."""
    for name in os.listdir(folder):
        file = _lock_abandoned(folder, name)
        if file is None:
            continue
        try:
            yield Abandoned(folder, name, _parse(os.pread(file, _LONGEST, 0)))
        finally:
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
    """Return a file that nobody has locked, None for what is locked, removed, or no such file."""
    try:
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode) and status.st_nlink:
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None


def _parse(text: bytes) -> list[Made]:
    """Return what a record says; a line that was never finished says nothing."""
    made = []
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            entry = json.loads(line)
            made.append(
                Made(
                    str(entry["kind"]),
                    str(entry["interface"]),
                    int(entry["ifindex"]),
                    str(entry.get("mac", "")),
                )
            )
    return made
