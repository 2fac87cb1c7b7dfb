"""The ledger: what a keeper made, on disk, so that interfaces of a killed keeper can be destroyed.

There is one file for each keeper, in a folder of root, and one line of JSON (an entry) for each
interface. A keeper holds a lock on its file as long as it lives, so a file that can be locked
belongs to a dead keeper. Process ids are not used, as another process may get the same one later.
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


class Entry(NamedTuple):
    """An interface that stays until somebody destroys it.

    The index tells it from a later one of the same name, except on XNU, which gives that one the
    same index. There the MAC tells them apart; it is hexadecimal, and empty where it is not needed.
    """

    kind: str
    interface: str
    ifindex: int
    mac: str = ""


class Ledger:
    """The file of a living keeper. It owns the descriptor of the folder."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        try:
            self._name, self._file = _create(folder)
        except OSError:
            os.close(folder)
            raise

    def add(self, entry: Entry) -> None:
        """Add an entry. Raises OSError."""
        os.write(self._file, json.dumps(entry._asdict()).encode() + b"\n")

    def close(self, *, keep: bool = False) -> None:
        """Unlock the file. Remove it, unless ``keep`` leaves it for a later keeper."""
        if not keep:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        os.close(self._file)
        os.close(self._folder)


class Abandoned(NamedTuple):
    """The file of a dead keeper. It is locked until the iteration goes on."""

    folder: int
    name: str
    entries: list[Entry]

    def remove(self) -> None:
        """Remove the file, after its entries were dealt with."""
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.folder)


def open_folder(path: str = RUNTIME_FOLDER) -> int:
    """Return a descriptor of the folder of all ledgers. The folder is made if it does not exist.

    Raises OSError: PermissionError if anybody but root could have put files there.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        os.close(folder)
        raise PermissionError(f"{path} can be changed by others than root")
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
    """Make a file and lock it. If a reaper took it for abandoned in between, make another one."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        name = f"{os.urandom(8).hex()}.json"
        file = os.open(name, flags, 0o600, dir_fd=folder)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return name, file
        os.close(file)


def _lock_abandoned(folder: int, name: str) -> int | None:
    """Return a file that is not locked; None if it is locked, removed, or not a regular file."""
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


def _parse(text: bytes) -> list[Entry]:
    """Return the entries of a ledger. An incomplete line is ignored."""
    entries = []
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            fields = json.loads(line)
            entries.append(
                Entry(
                    str(fields["kind"]),
                    str(fields["interface"]),
                    int(fields["ifindex"]),
                    str(fields.get("mac", "")),
                )
            )
    return entries
