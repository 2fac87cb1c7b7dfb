"""The identifier of a vmnet interface, which decides its MAC.

vmnet gives the same identifier the same MAC again (vmnet.h: vmnet_interface_id_key), and without
one a new MAC at each start, which takes another address from the DHCP server for a day. So the
identifier is made from this Mac and the options. Two interfaces that run at a time must not share
one: a lock on a file tells that an identifier is taken, and then the next is tried.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import uuid
from contextlib import suppress

from ..provision.request import VmnetOptions

_MOST_INTERFACES = 32  # that vmnet lets one Mac have
# That of the keepers' ledgers: a keeper that starts removes what nobody has locked there.
_ROOTS_FOLDER = "/var/run/fethpipe"


class Identifier:
    """An identifier that nobody else gets until it is closed."""

    def __init__(self, value: bytes, path: str, lock: int) -> None:
        self.value = value
        self._path = path
        self._lock = lock

    def close(self) -> None:
        """Let others have it; safe to call twice."""
        if self._lock >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self._lock)
            self._lock = -1


def claim_identifier(host: bytes, options: VmnetOptions) -> Identifier | None:
    """Return the first free identifier of this Mac and these options.

    Return None where none can be locked: then vmnet chooses, and the MAC is a new one.
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
    """Return 16 bytes in the form of a UUID. ``host`` stays secret: only a hash leaves."""
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
    """Return a descriptor that holds the lock. Raises BlockingIOError when somebody else does."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(path, flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        if os.fstat(lock).st_nlink:  # else its owner removed it just now
            return lock
        os.close(lock)
