"""MAC addresses: read and write them as text, make a random or a stable one."""

from __future__ import annotations

import os
import re

MAC_LENGTH = 6
_WRITTEN = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_LOCALLY_ADMINISTERED = 0x02
_MULTICAST = 0x01


def parse_mac(text: str) -> bytes:
    """Return the 6 bytes of text like ``02:00:5e:00:53:01``.

    Raises ValueError, with a reason for the user, for what cannot be the MAC of an interface.
    """
    if not _WRITTEN.fullmatch(text):
        raise ValueError("not a MAC address, like 02:00:5e:00:53:01")
    mac = bytes.fromhex(text.replace(text[2], ""))
    if mac[0] & _MULTICAST:
        raise ValueError("a multicast address: the first byte must be even")
    if not any(mac):
        raise ValueError("a MAC address cannot be all zeros")
    return mac


def random_mac() -> bytes:
    """Return a random, locally administered MAC."""
    return _locally_administered(os.urandom(MAC_LENGTH))


def stable_mac(host: bytes, name: str) -> bytes:
    """Return a locally administered MAC that is always the same for this host and device name.

    ``host`` identifies the host. It must not be shown to others (machine-id(5)), so the MAC is made
    from a hash of it.
    """
    # It takes several milliseconds, and only the keeper makes a MAC.
    import hashlib  # noqa: PLC0415

    digest = hashlib.blake2s(name.encode(), key=hashlib.blake2s(host).digest(), person=b"fethpipe")
    return _locally_administered(digest.digest()[:MAC_LENGTH])


def _locally_administered(mac: bytes) -> bytes:
    return bytes(((mac[0] | _LOCALLY_ADMINISTERED) & ~_MULTICAST,)) + mac[1:]
