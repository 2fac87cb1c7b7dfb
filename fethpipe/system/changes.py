"""Hear of changes of the network: of links, addresses and routes.

Linux tells them to an rtnetlink(7) socket, macOS to a routing socket, route(4).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Container, Iterator
from contextlib import suppress

from ..abi import linux
from ..abi.address import IPInterface

_DATAGRAM = 1 << 16


class _Listener:
    """A socket of the kernel's that tells changes; none where it is refused or does not exist."""

    _socket: socket.socket | None = None

    @property
    def descriptors(self) -> list[int]:
        return [self._socket.fileno()] if self._socket else []

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None


class NetworkChanges(_Listener):
    """A socket that selects as readable after a change. Without one (it is refused, or the system
    is another) there is nothing to hear.

    ``ignored`` are the indexes of our own interfaces. Make it before the process is confined.
    """

    def __init__(self, ignored: Container[int]) -> None:
        self._ignored = ignored
        self._linux = os.uname().sysname == "Linux"
        with suppress(OSError):
            self._socket = (
                _open_netlink(linux.RTMGRP_CHANGES) if self._linux else _open_routing_socket()
            )

    def read(self) -> bool:
        """Take all that was told, and return whether the network has changed. Does not block."""
        changed = False
        while self._socket:
            try:
                datagram = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                changed = True
                if error.errno != errno.ENOBUFS:
                    break
                continue  # there were more changes than the socket had room for
            changed = self._is_change(datagram) or changed
        return changed

    def _is_change(self, datagram: bytes) -> bool:
        if self._linux:
            unpack = linux.unpack_changes
        else:
            from ..abi.darwin import unpack_changes as unpack  # noqa: PLC0415
        return any(index not in self._ignored for index in unpack(datagram))


class NewAddresses(_Listener):
    """A socket that selects as readable when an interface may have got an IPv4 address (Linux).
    Elsewhere there is nothing to hear.

    Make it before the process is confined.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._last: IPInterface | None = None
        if os.uname().sysname == "Linux":
            with suppress(OSError):
                self._socket = _open_netlink(linux.RTMGRP_IPV4_IFADDR)

    def read(self) -> Iterator[IPInterface]:
        """Yield the addresses that are new: one that was set again is not. Does not block."""
        while self._socket:
            try:
                datagram = self._socket.recv(_DATAGRAM)
            except OSError:
                break
            for address in linux.unpack_new_addresses(datagram, self._index):
                if address != self._last:
                    self._last = address
                    yield address


def _open_netlink(groups: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    made.setblocking(False)
    made.bind((0, groups))
    return made


def _open_routing_socket() -> socket.socket:
    from ..abi.darwin import AF_ROUTE  # noqa: PLC0415 - a start elsewhere does not need it

    made = socket.socket(AF_ROUTE, socket.SOCK_RAW, socket.AF_UNSPEC)
    made.setblocking(False)
    return made
