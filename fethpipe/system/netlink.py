"""Speak rtnetlink(7): one request, and every message of its answer.

Each reply's sequence number is checked and each error becomes an OSError; a silent kernel is an
error too, not a wait for ever.
"""

from __future__ import annotations

import os
import socket

from ..abi import linux

_ANSWER_SECONDS = 5.0
_LARGEST_DATAGRAM = 1 << 16


class Netlink:
    """A route socket in the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        protocol = socket.NETLINK_ROUTE
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._sequence = 0

    def request(self, kind: int, payload: bytes, *, flags: int = 0) -> list[linux.Message]:
        """Send one request and return the messages that answer it, without the acknowledgement.

        Raises OSError with the kernel's errno.
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
        """Return the facts of an interface. Raises OSError: ENODEV when it does not exist."""
        by_name = linux.pack_link(0, {linux.IFLA_IFNAME: linux.pack_string(name)})
        (message,) = self.request(linux.RTM_GETLINK, by_name)
        return linux.unpack_link(message.payload)

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
