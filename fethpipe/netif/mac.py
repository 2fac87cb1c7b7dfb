"""MAC addresses: as people write them, by chance, and the same for a host and a device."""

from __future__ import annotations

import hashlib
import os
import re

MAC_LENGTH = 6
_WRITTEN = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_LOCALLY_ADMINISTERED = 0x02
_MULTICAST = 0x01


def parse_mac(text: str) -> bytes:
    """Return the 6 bytes of ``02:00:5e:00:53:01``.

    Raises ValueError, with a reason that a person can read, for what is no station's address.
    """
    if not _WRITTEN.fullmatch(text):
        raise ValueError("not six bytes in hexadecimal, like 02:00:5e:00:53:01")
    mac = bytes.fromhex(text.replace(text[2], ""))
    if mac[0] & _MULTICAST:
        raise ValueError("a group address: the first byte must be even")
    if not any(mac):
        raise ValueError("all zero")
    return mac


def format_mac(mac: bytes) -> str:
    """Return a MAC as people write it."""
    return mac.hex(":")


def random_mac() -> bytes:
    """Return a locally administered address that nobody else has, as far as chance can tell."""
    return _locally_administered(os.urandom(MAC_LENGTH))


def stable_mac(host: bytes, name: str) -> bytes:
    """Return a locally administered address that depends on host and device name alone.

    ``host`` is secret to some systems (machine-id(5) asks not to show it): only a hash leaves.
    """
    digest = hashlib.blake2s(name.encode(), key=hashlib.blake2s(host).digest(), person=b"fethpipe")
    return _locally_administered(digest.digest()[:MAC_LENGTH])


def _locally_administered(mac: bytes) -> bytes:
    return bytes(((mac[0] | _LOCALLY_ADMINISTERED) & ~_MULTICAST,)) + mac[1:]
