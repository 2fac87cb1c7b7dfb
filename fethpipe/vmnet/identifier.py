"""The identifier of a vmnet interface, which decides its MAC.

With the same identifier, vmnet gives an interface the same MAC (vmnet.h: vmnet_interface_id_key).
Without one, it gives a new MAC at each start, which takes another address of the DHCP server for a
day. So the identifier is made from this Mac and the options. Two running interfaces must not have
the same one: a lock on a file says that an identifier is in use, and then the next one is tried.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import uuid
from contextlib import suppress

from ..provision.request import VmnetOptions

_MOST_INTERFACES = 32  # vmnet's limit for one Mac
# The folder of the ledgers: the keeper of a feth pair removes files there that are not locked.
_ROOTS_FOLDER = "/var/run/fethpipe"


class Identifier:
    """An identifier that is in use until it is closed."""

    def __init__(self, value: bytes, path: str, lock: int) -> None:
        self.value = value
        self._path = path
        self._lock = lock

    def close(self) -> None:
        """Let others use it. Safe to call twice."""
        if self._lock >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self._lock)
            self._lock = -1


def claim_identifier(host: bytes, options: VmnetOptions) -> Identifier | None:
    """Return the first free identifier of this Mac and these options.

    Return None if none can be locked: then vmnet chooses, and the MAC is a new one.
    """
    for number in range(_MOST_INTERFACES):
        value = make_identifier(host, options, number)
        try:
            path = os.path.join(_folder(), f"fethpipe-vmnet-{value.hex()}")
            lock = _lock(path)
        except BlockingIOError:
            continue
        except OSError:
            return None
        return Identifier(value, path, lock)
    return None


def make_identifier(host: bytes, options: VmnetOptions, number: int) -> bytes:
    """Return a UUID (16 bytes), made from a hash, as ``host`` must not be shown to others."""
    words = "\0".join(map(str, (*options, number)))
    digest = hashlib.blake2s(words.encode(), key=hashlib.blake2s(host).digest(), person=b"fpvmnet")
    return uuid.UUID(bytes=digest.digest()[:16], version=4).bytes


def _folder() -> str:
    if os.geteuid() != 0:
        return tempfile.gettempdir()
    with suppress(FileExistsError):
        os.mkdir(_ROOTS_FOLDER, 0o700)
    return _ROOTS_FOLDER


def _lock(path: str) -> int:
    """Return a descriptor that holds the lock. Raises BlockingIOError if another process does."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(path, flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        if os.fstat(lock).st_nlink:  # otherwise its owner has just removed it
            return lock
        os.close(lock)
