"""The marker behind which the stream of the remote end starts, and its nonce."""

from __future__ import annotations

import hashlib
import os


def make_nonce() -> str:
    """Return a random id, unique to this start."""
    return os.urandom(16).hex()


def make_marker(nonce: str) -> bytes:
    """Return the bytes that the remote end prints before its stream."""
    proof = hashlib.sha256(f"fethpipe {nonce}".encode()).hexdigest()
    return f"\0fethpipe {proof}\n".encode()
