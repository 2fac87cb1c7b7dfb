"""Darwin interfaces, through ioctl: what ifconfig(8) can do with a feth.

The kernel accepts IPv6 requests on an AF_INET6 socket only. All others go to an AF_INET socket.
"""

from __future__ import annotations

import array
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import TypeVar

from ..abi import darwin
from ..abi.darwin import InterfaceFlag, Request
from ..errors import DeviceError, step
from ..system.libc_darwin import (
    interface_addresses,
    ioctl,
    set_sysctl_number,
    sysctl_number,
)
from .status import Status

UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""The errors with which a driver refuses a request that its kind of interface does not have."""

BUSY_SECONDS = 1.0
"""How long a feth may be in the way after it was destroyed."""
_BUSY_PAUSE_SECONDS = 0.01

_T = TypeVar("_T")


class DarwinInterfaces:
    """The interfaces of this Mac.

    Every method raises OSError with the kernel's errno, and the name of the request in
    ``filename``: ENXIO if the interface does not exist, EPERM if the request needs root.
    """

    def __init__(self) -> None:
        self._inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inet6: socket.socket | None = None

    # ---- feth ----

    def create(self, name: str, *, patience: float = 0) -> str:
        """Make a feth and return its name. The bare ``feth`` gets the lowest free unit.

        While one of this name is still being destroyed, which the list of interfaces does not show,
        the answer is EBUSY; it is asked again for ``patience`` seconds. Raises FileExistsError if
        there is one.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                made = self._named(Request.SIOCIFCREATE2, name)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(_BUSY_PAUSE_SECONDS)
            else:
                return darwin.IFREQ.name(made)

    def destroy(self, name: str) -> None:
        """Destroy a feth. Its peer stays, without a peer."""
        self._named(Request.SIOCIFDESTROY, name)

    def set_peer(self, name: str, peer: str) -> None:
        """Join two feth interfaces; EBUSY if one of them has a peer already. An empty ``peer``
        disconnects the interface from its peer.
        """
        request = darwin.IF_FAKE_REQUEST.pack(peer)
        self._drive(Request.SIOCSDRVSPEC, name, darwin.IF_FAKE_S_CMD_SET_PEER, request)

    def peer(self, name: str) -> str:
        """Return the name of the peer, empty if there is none; UNSUPPORTED if it is not a feth."""
        request = darwin.IF_FAKE_REQUEST.pack("")
        answer = self._drive(Request.SIOCGDRVSPEC, name, darwin.IF_FAKE_G_CMD_GET_PEER, request)
        return darwin.IF_FAKE_REQUEST.name(answer)

    def add_to_bridge(self, name: str, bridge: str) -> None:
        """Make the interface a member of a bridge; EINVAL if their MTUs differ, EBUSY if it is a
        member of another one (bsd/net/if_bridge.c: bridge_ioctl_add).
        """
        request = darwin.IFBREQ.pack(name)
        self._drive(Request.SIOCSDRVSPEC, bridge, darwin.BRDGADD, request)

    def _drive(self, request: Request, name: str, command: int, data: bytes) -> bytes:
        """Make a request whose argument contains the address of its data."""
        pointed = array.array("B", data)  # stays where it is until the call returns
        address, length = pointed.buffer_info()
        self._request(request, darwin.IFDRV.pack(name, command, length, address))
        return pointed.tobytes()

    # ---- any interface ----

    def flags(self, name: str) -> InterfaceFlag:
        return InterfaceFlag(darwin.IFREQ_FLAGS.number(self._named(Request.SIOCGIFFLAGS, name)))

    def set_up(self, name: str, *, up: bool = True) -> None:
        """Bring the interface up or down.

        The kernel then sets RUNNING too. Adding a first address sets UP, but not RUNNING.
        """
        flags = self.flags(name)
        flags = flags | InterfaceFlag.IFF_UP if up else flags & ~InterfaceFlag.IFF_UP
        self._request(Request.SIOCSIFFLAGS, darwin.IFREQ_FLAGS.pack(name, flags))

    def mtu(self, name: str) -> int:
        return darwin.IFREQ_NUMBER.number(self._named(Request.SIOCGIFMTU, name))

    def largest_mtu(self, name: str) -> int:
        """Return the largest MTU that it can have, in bytes. It is fixed when a feth is made."""
        return darwin.IFREQ_LARGEST_MTU.number(self._named(Request.SIOCGIFDEVMTU, name))

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU, in bytes without the Ethernet header; EINVAL above the largest."""
        self._request(Request.SIOCSIFMTU, darwin.IFREQ_NUMBER.pack(name, mtu))

    def metric(self, name: str) -> int:
        return darwin.IFREQ_NUMBER.number(self._named(Request.SIOCGIFMETRIC, name))

    def set_metric(self, name: str, metric: int) -> None:
        self._request(Request.SIOCSIFMETRIC, darwin.IFREQ_NUMBER.pack(name, metric))

    def set_mac(self, name: str, mac: bytes) -> None:
        self._request(Request.SIOCSIFLLADDR, darwin.pack_mac(name, mac))

    def mac(self, name: str) -> bytes:
        """Return the MAC (6 bytes), empty if there is none."""
        return _link_and_addresses(name)[0]

    def active(self, name: str) -> bool | None:
        """Return whether the link is active, None if the interface does not tell it."""
        answer = self._request(Request.SIOCGIFMEDIA, darwin.IFMEDIAREQ.pack(name, 0))
        status = darwin.IFMEDIAREQ.number(answer)
        return bool(status & darwin.IFM_ACTIVE) if status & darwin.IFM_AVALID else None

    def status(self, name: str) -> Status:
        mac, addresses = _link_and_addresses(name)
        return Status(
            name=name,
            flags=self.flags(name),
            mtu=self.mtu(name),
            largest_mtu=_ask(self.largest_mtu, name),
            metric=_ask(self.metric, name),
            mac=mac,
            peer=(_ask(self.peer, name) or "") if name.startswith("feth") else "",
            active=_ask(self.active, name),
            addresses=addresses,
        )

    # ---- addresses ----

    def add_address(self, name: str, address: IPv4Interface | IPv6Interface) -> None:
        """Add an address, unless the interface has it already. The first address brings it up."""
        if isinstance(address, IPv4Interface):
            self._request(Request.SIOCAIFADDR, darwin.pack_add_address(name, address))
        else:
            self._request6(Request.SIOCAIFADDR_IN6, darwin.pack_add_address6(name, address))

    def remove_address(self, name: str, address: IPv4Interface | IPv6Interface) -> None:
        """Remove an address; EADDRNOTAVAIL if the interface does not have it."""
        if isinstance(address, IPv4Interface):
            self._request(Request.SIOCDIFADDR, darwin.pack_remove_address(name, address))
        else:
            self._request6(Request.SIOCDIFADDR_IN6, darwin.pack_remove_address6(name, address))

    # ---- the sockets ----

    def _named(self, request: Request, name: str) -> bytes:
        return self._request(request, darwin.IFREQ.pack(name))

    def _request(self, request: Request, argument: bytes) -> bytes:
        return ioctl(self._inet.fileno(), request, argument)

    def _request6(self, request: Request, argument: bytes) -> bytes:
        if self._inet6 is None:
            self._inet6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        return ioctl(self._inet6.fileno(), request, argument)

    def close(self) -> None:
        self._inet.close()
        if self._inet6 is not None:
            self._inet6.close()

    def __enter__(self) -> DarwinInterfaces:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _ask(question: Callable[[str], _T], name: str) -> _T | None:
    """Return the answer, None if there is none: lo0, for one, does not tell its largest MTU.

    Which errno says so is up to the driver, so each of them does.
    """
    try:
        return question(name)
    except OSError:
        return None


def _link_and_addresses(
    name: str,
) -> tuple[bytes, tuple[IPv4Interface | IPv6Interface, ...]]:
    """Return the MAC and the addresses of an interface."""
    mac = b""
    for entry in interface_addresses():
        if entry.interface == name and darwin.address_family(entry.address) == darwin.AF_LINK:
            mac = darwin.unpack_mac(entry.address)
    return mac, tuple(address for owner, address in all_addresses() if owner == name)


def interface_names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def all_addresses() -> Iterator[tuple[str, IPv4Interface | IPv6Interface]]:
    """Yield the addresses of all interfaces, with the name of each. Raises OSError."""
    for entry in interface_addresses():
        family = darwin.address_family(entry.address)
        if family == darwin.AF_INET:
            yield entry.interface, darwin.unpack_address(entry.address, entry.netmask)
        elif family == darwin.AF_INET6:
            yield entry.interface, darwin.unpack_address6(entry.address, entry.netmask)


def interface_with(address: IPv4Address) -> str | None:
    """Return the name of the interface that has this address. Raises OSError."""
    return next((name for name, found in all_addresses() if found.ip == address), None)


def altered_setting() -> str:
    """Return the sysctl that has every new feth carry other frames than it is given, "" if none.

    With one of them, pings pass and TCP does not. An older macOS lacks some. Raises OSError.
    """
    for name in darwin.FETH_SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            if sysctl_number(name):
                return name
    return ""


def check_settings() -> None:
    """Raise DeviceError if a setting of this Mac spoils every feth that is made."""
    with step("read the settings of feth"):
        altered = altered_setting()
    if altered:
        raise DeviceError(
            f"cannot create a feth: {altered} is not 0, so its frames would be altered",
            hint=f"run: sudo sysctl {altered}=0",
        )


def allow_mtu(mtu: int) -> None:
    """Let every feth that is made from now on have this MTU, in bytes. Raises OSError.

    The whole Mac has one limit, the sysctl net.link.fake.max_mtu. A feth keeps the limit of the
    moment when it was made. This raises it to the maximum at once: if two programs raised it to
    different values, one could lower it for the other. Before macOS 10.15 there is no limit.
    """
    try:
        limit = sysctl_number(darwin.MAX_MTU_SYSCTL)
    except FileNotFoundError:
        return
    if limit < mtu:
        set_sysctl_number(darwin.MAX_MTU_SYSCTL, darwin.FETH_MTU[-1])
