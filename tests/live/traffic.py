"""Bytes over TCP between namespaces, with checksums at both ends."""

from __future__ import annotations

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from random import Random

from tests.live.netns import Namespace
from tests.patience import PATIENCE

_NOISE = Random(1).randbytes(1 << 20)


def transfer(source: Namespace, destination: Namespace, address: str, size: int) -> None:
    """Send so many bytes to an address of the destination, and check what comes."""
    with destination.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        with ThreadPoolExecutor(1) as thread:
            sent = thread.submit(_send, source, listener.getsockname(), size)
            connection, _ = listener.accept()
            with connection:
                received = _receive(connection)
            assert received == sent.result()


def transfer_both_ways(left: Namespace, here: str, right: Namespace, there: str, size: int) -> None:
    """Send so many bytes each way at once, between these addresses."""
    with ThreadPoolExecutor() as threads:
        sendings = [
            threads.submit(transfer, left, right, there, size),
            threads.submit(transfer, right, left, here, size),
        ]
        for each in sendings:
            each.result()


def _send(namespace: Namespace, address: tuple[str, int], size: int) -> str:
    checksum = hashlib.sha256()
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(address)
        while size:
            chunk = _NOISE[:size]
            connection.sendall(chunk)
            checksum.update(chunk)
            size -= len(chunk)
    return checksum.hexdigest()


def _receive(connection: socket.socket) -> str:
    connection.settimeout(PATIENCE)
    checksum = hashlib.sha256()
    while chunk := connection.recv(1 << 20):
        checksum.update(chunk)
    return checksum.hexdigest()
