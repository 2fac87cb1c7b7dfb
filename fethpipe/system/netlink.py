"""Speak rtnetlink(7): send one request, and return every message of its answer.

The sequence number of each message is checked, and an error becomes an OSError. If the kernel does
not answer, that is an error too, and not an endless wait.
"""

from __future__ import annotations

import os
import socket
from typing import TypeVar

from ..abi import linux

_ANSWER_SECONDS = 5.0
_LARGEST_DATAGRAM = 1 << 16

_Self = TypeVar("_Self", bound="Netlink")


class Netlink:
    """A route socket in the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        protocol = socket.NETLINK_ROUTE
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._sequence = 0

    def request(self, kind: int, payload: bytes, *, flags: int = 0) -> list[linux.Message]:
        """Send one request, and return the messages of its answer without the acknowledgement.

        Raises OSError with the kernel's errno, and TimeoutError if no answer comes.
        """
        self._sequence += 1
        flags |= linux.NLM_F_REQUEST | linux.NLM_F_ACK
        self._socket.send(linux.pack_message(kind, flags, self._sequence, payload))
        answer: list[linux.Message] = []
        while True:
            for message in linux.unpack_messages(self._socket.recv(_LARGEST_DATAGRAM)):
                if message.sequence != self._sequence:
                    continue
                if message.type in (linux.NLMSG_ERROR, linux.NLMSG_DONE):
                    error = linux.unpack_error(message.payload)
                    if error:
                        raise OSError(error, os.strerror(error))
                    return answer
                answer.append(message)

    def link(self, name: str) -> linux.LinkMessage:
        """Return what RTM_GETLINK tells about an interface. Raises OSError: ENODEV if none is."""
        by_name = linux.pack_link(0, {linux.IFLA_IFNAME: linux.pack_string(name)})
        (message,) = self.request(linux.RTM_GETLINK, by_name)
        return linux.unpack_link(message.payload)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
