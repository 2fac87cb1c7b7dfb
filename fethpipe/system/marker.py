"""The marker behind which the stream of the remote end starts, and its nonce."""

from __future__ import annotations

import os


def make_nonce() -> str:
    """Return a random id, unique to this start."""
    return os.urandom(16).hex()


def make_marker(nonce: str) -> bytes:
    """Return the bytes that the remote end prints before its stream.

    The nonce is in them backwards, so that no echo of it is one.
    """
    return f"\0fethpipe {nonce[::-1]}\n".encode()
