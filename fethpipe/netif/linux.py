"""Linux interfaces, through rtnetlink."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ..abi import linux
from ..abi.address import IPInterface
from ..abi.linux import AddressMessage, InterfaceFlag
from ..system.netlink import Netlink
from .status import Status

# The cookie of the first network namespace (net/core/net_namespace.c).
_INITIAL_NAMESPACE = 1


class LinuxInterfaces(Netlink):
    """The interfaces of the network namespace of the thread that makes it.

    Every method raises OSError with the kernel's errno: ENODEV if the interface does not exist,
    EPERM without CAP_NET_ADMIN.
    """

    def names(self) -> list[str]:
        """Return the names of all interfaces, in the order in which they were made."""
        everything = self.request(linux.RTM_GETLINK, linux.pack_link(0), flags=linux.NLM_F_DUMP)
        return [linux.unpack_link(message.payload).name for message in everything]

    def status(self, name: str) -> Status:
        link = self.link(name)
        messages = self.addresses()
        flags = InterfaceFlag(link.flags)
        return Status(
            name=link.name,
            kind=link.kind,
            flags=flags,
            mtu=link.mtu,
            mac=link.mac,
            active=bool(flags & InterfaceFlag.IFF_LOWER_UP),
            addresses=tuple(each.interface for each in messages if each.ifindex == link.ifindex),
        )

    def addresses(self) -> list[AddressMessage]:
        everything = self.request(
            linux.RTM_GETADDR, linux.pack_any_address(), flags=linux.NLM_F_DUMP
        )
        return [linux.unpack_address(message.payload) for message in everything]

    def set_mtu(self, name: str, mtu: int) -> None:
        self._set(name, {linux.IFLA_MTU: linux.pack_u32(mtu)})

    def set_mac(self, name: str, mac: bytes) -> None:
        self._set(name, {linux.IFLA_ADDRESS: mac})

    def set_master(self, name: str, master: str) -> None:
        """Make the interface a port of a bridge."""
        index = self.link(master).ifindex
        self._set(name, {linux.IFLA_MASTER: linux.pack_u32(index)})

    def set_up(self, name: str) -> None:
        request = linux.pack_link(self.link(name).ifindex, flags=linux.IFF_UP, change=linux.IFF_UP)
        self.request(linux.RTM_NEWLINK, request)

    def add_address(self, name: str, address: IPInterface, *, metric: int | None = None) -> None:
        """Add an address, unless the interface has it already.

        ``metric`` is the metric of the route to its network: on Linux an interface has none.
        """
        request = linux.pack_address(self.link(name).ifindex, address, metric=metric)
        flags = linux.NLM_F_CREATE | linux.NLM_F_REPLACE
        self.request(linux.RTM_NEWADDR, request, flags=flags)

    def remove_address(self, name: str, address: IPInterface) -> None:
        """Remove an address; EADDRNOTAVAIL if the interface does not have it."""
        request = linux.pack_address(self.link(name).ifindex, address)
        self.request(linux.RTM_DELADDR, request)

    def remove(self, name: str) -> None:
        request = linux.pack_link(self.link(name).ifindex)
        self.request(linux.RTM_DELLINK, request)

    def _set(self, name: str, attributes: dict[int, bytes]) -> None:
        request = linux.pack_link(self.link(name).ifindex, attributes)
        self.request(linux.RTM_NEWLINK, request)


def all_addresses() -> Iterator[tuple[str, IPInterface]]:
    """Yield the addresses of all interfaces, with the name of each. Raises OSError."""
    with LinuxInterfaces() as interfaces:
        for message in interfaces.addresses():
            yield socket.if_indextoname(message.ifindex), message.interface


def host_identity() -> bytes:
    """Return bytes that identify this host, the same at every start.

    Each network namespace counts as a host of its own. Otherwise the two ends of a tunnel between
    two namespaces would get the same MAC. The identity lasts as long as the namespace.
    """
    return _machine_id() + _namespace_cookie()


def _machine_id() -> bytes:
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            identity = Path(path).read_bytes().strip()
        except OSError:
            continue
        if identity:
            return identity
    return socket.gethostname().encode()


def _namespace_cookie() -> bytes:
    cookie = network_cookie()
    return b"" if cookie in (0, _INITIAL_NAMESPACE) else cookie.to_bytes(8, sys.byteorder)


# include/uapi/asm-generic/socket.h
_SO_NETNS_COOKIE = 71


def network_cookie() -> int:
    """Return the cookie of this process's network namespace (SO_NETNS_COOKIE).

    Unlike the inode number of a namespace, it is never used again. Returns 0 before Linux 5.14 and
    on other systems, which have no such cookie.
    """
    if os.uname().sysname != "Linux":
        return 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            cookie = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
    return int.from_bytes(cookie, sys.byteorder)
