"""The feth interfaces of macOS: make them, join two as a cable, set what ifconfig(8) can set.

    with create_pair(0, Side(addresses=["10.0.0.1/24"]), 101) as pair:
        with pair.io.open() as device:
            for frame in device: ...

An interface from ``create_feth`` or ``create_pair`` is a context manager, which destroys it at the
end of the block. ``Feth(name)`` is an interface that somebody else made, and does not destroy it.
Everything here raises UsageError for wrong values, NotAllowedError where root is needed, and
DeviceError for what the kernel refuses, such as an interface that does not exist.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from ..abi.darwin import FETH_MTU, IF_MAXUNIT
from ..errors import DeviceError, UsageError, errno_behind, step
from ..netif.darwin import BUSY_SECONDS, UNSUPPORTED, DarwinInterfaces, allow_mtu, check_settings
from ..netif.existing import existing
from ..netif.status import Status
from ..provision.feth import set_mtu
from .device import EthernetDevice
from .opening import Owned, destroy_owned, open_interface, own
from .values import Address, Mac, as_address, as_mac, checked_name


class Side(NamedTuple):
    """The settings of one side of a pair. None leaves a setting as the kernel made it.

    ``mtu`` is in bytes without the Ethernet header; ``metric`` is the interface metric.
    """

    addresses: Sequence[Address] = ()
    mac: Mac | None = None
    mtu: int | None = None
    metric: int | None = None
    up: bool = True


class Feth:
    """An interface of this Mac, by its name.

    It need not exist until a method is called. The methods about its peer work with a feth only,
    all others with any interface.
    """

    def __init__(self, name: str) -> None:
        self.name = checked_name(name)
        self._owned: list[Owned] = []

    def __repr__(self) -> str:
        return f"Feth({self.name!r})"

    # ---- the cable ----

    def peer(self) -> str:
        """Return the name of the interface at the other end, empty if there is none."""
        with self._interfaces(f"ask for the peer of {self.name}") as interfaces:
            try:
                return interfaces.peer(self.name)
            except OSError as error:
                if error.errno in UNSUPPORTED:
                    raise DeviceError(f"{self.name} is not a feth") from error
                raise

    def set_peer(self, peer: str | Feth) -> None:
        """Join this interface and another, unless they are joined already."""
        other = peer if isinstance(peer, Feth) else Feth(peer)
        what = f"join {self.name} and {other.name}"
        try:
            with self._interfaces(what, other.name) as interfaces:
                interfaces.set_peer(self.name, other.name)
        except DeviceError as error:
            number = errno_behind(error)
            if number == errno.EBUSY:
                self._explain_taken(what, other, error)
            elif number in UNSUPPORTED:
                self._explain_kind(what, other, error)
            else:
                raise

    def remove_peer(self) -> None:
        """Disconnect this interface from its peer, if it has one."""
        what = f"disconnect {self.name} from its peer"
        if self.peer():
            with self._interfaces(what) as interfaces:
                interfaces.set_peer(self.name, "")

    def _explain_taken(self, what: str, other: Feth, error: DeviceError) -> None:
        if self.peer() == other.name:
            return
        taken = [each for each in (self, other) if each.peer()]
        if not taken:
            raise error
        raise DeviceError(
            f"cannot {what}: "
            + " and ".join(f"{each.name} is joined to {each.peer()}" for each in taken),
            hint=f"disconnect them first: fethctl set {taken[0].name} --peer none",
        ) from error

    def _explain_kind(self, what: str, other: Feth, error: DeviceError) -> None:
        for each in (self, other):
            try:
                each.peer()
            except DeviceError as reason:
                raise DeviceError(f"cannot {what}: {reason.message}") from error
        raise error

    # ---- its settings ----

    def apply(self, side: Side) -> None:
        """Apply the settings, in the order that the kernel needs: MTU and MAC before the interface
        is up, and up after the addresses.
        """
        if side.mtu is not None:
            self.set_mtu(side.mtu)
        if side.mac is not None:
            self.set_mac(side.mac)
        if side.metric is not None:
            self.set_metric(side.metric)
        for address in side.addresses:
            self.add_address(address)
        if side.up or side.addresses:  # adding an address brings it up
            self.set_up(up=side.up)

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU, in bytes without the Ethernet header.

        The largest possible one was fixed when the interface was made.
        """
        if mtu not in FETH_MTU:
            raise UsageError(
                f"an MTU of {mtu} is out of range for a feth: {FETH_MTU[0]} to {FETH_MTU[-1]}"
            )
        with self._interfaces(f"set the MTU of {self.name} to {mtu}") as interfaces:
            set_mtu(interfaces, self.name, mtu)

    def set_mac(self, mac: Mac) -> None:
        """Set the MAC address."""
        packed = as_mac(mac)
        with self._interfaces(f"set the MAC of {self.name} to {packed.hex(':')}") as interfaces:
            interfaces.set_mac(self.name, packed)

    def set_metric(self, metric: int) -> None:
        """Set the interface metric."""
        with self._interfaces(f"set the metric of {self.name} to {metric}") as interfaces:
            interfaces.set_metric(self.name, metric)

    def add_address(self, address: Address) -> None:
        """Add an address, unless the interface has it already. This brings the interface up."""
        added = as_address(address)
        with self._interfaces(f"add {added} to {self.name}") as interfaces:
            interfaces.add_address(self.name, added)
            interfaces.set_up(self.name)  # adding the first address sets UP, but not RUNNING

    def remove_address(self, address: Address) -> None:
        """Remove an address."""
        removed = as_address(address)
        with self._interfaces(f"remove {removed} from {self.name}") as interfaces:
            interfaces.remove_address(self.name, removed)

    def remove_addresses(self) -> None:
        """Remove all addresses except the IPv6 link-local one, which the kernel added itself."""
        for address in self.status().addresses:
            if address.version == 4 or not address.is_link_local:
                self.remove_address(address)

    def set_up(self, *, up: bool = True) -> None:
        """Bring the interface up, or down."""
        what = f"bring {self.name} {'up' if up else 'down'}"
        with self._interfaces(what) as interfaces:
            interfaces.set_up(self.name, up=up)

    def status(self) -> Status:
        """Return the state of the interface."""
        with self._interfaces(f"read the state of {self.name}") as interfaces:
            return interfaces.status(self.name)

    # ---- its frames, and its end ----

    def open(self) -> EthernetDevice:
        """Open this side: receive what the IP stack of the peer sends, and send to it."""
        return open_interface(self.name)

    def destroy(self) -> None:
        """Destroy the interface. Its peer stays, without a peer."""
        with self._interfaces(f"destroy {self.name}") as interfaces:
            interfaces.destroy(self.name)

    def close(self) -> None:
        """Destroy the interface if this object made it and it still exists. Safe to call twice."""
        owned, self._owned = self._owned, []
        destroy_owned(owned)

    def __enter__(self) -> Feth:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _made(self) -> Feth:
        self._owned.append(own(self.name))
        return self

    @contextmanager
    def _interfaces(self, what: str, *others: str) -> Iterator[DarwinInterfaces]:
        require_macos(what)
        with existing(what, self.name, *others), DarwinInterfaces() as interfaces:
            yield interfaces


class FethPair:
    """Two feth interfaces that are joined. As a context manager, it destroys both at the end."""

    def __init__(self, primary: Feth, io: Feth) -> None:
        self.primary = primary
        self.io = io

    def open(self) -> EthernetDevice:
        """Open the I/O side, to receive and send frames."""
        return self.io.open()

    def close(self) -> None:
        """Destroy both interfaces. Safe to call twice."""
        self.io.close()
        self.primary.close()

    def __enter__(self) -> FethPair:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def create_feth(unit: int | None = None, *, largest_mtu: int | None = None) -> Feth:
    """Make ``feth<unit>``, or the feth with the lowest free unit.

    The largest MTU that it can have, in bytes, is fixed now: 2048, or what ``largest_mtu`` asks
    for. That raises the limit for every feth that is made from now on. Raises UsageError,
    NotAllowedError or DeviceError.
    """
    name = "feth" if unit is None else f"feth{unit}"
    require_macos(f"create {name}")
    if unit is not None and unit not in range(IF_MAXUNIT + 1):
        raise UsageError(f"{name} cannot exist: units go from 0 to {IF_MAXUNIT}")
    check_settings()
    if largest_mtu is not None:
        with step(f"allow an MTU of {largest_mtu}"):
            allow_mtu(largest_mtu)
    with step(f"create {name}"), DarwinInterfaces() as interfaces:
        try:
            return Feth(interfaces.create(name, patience=BUSY_SECONDS))._made()
        except FileExistsError as error:
            raise DeviceError(f"cannot create {name}: it already exists") from error


def create_pair(
    unit: int | None = None,
    side: Side = Side(),  # noqa: B008 - a tuple cannot be changed
    io_unit: int | None = None,
    io_side: Side = Side(),  # noqa: B008
) -> FethPair:
    """Make two interfaces with these settings and join them. On failure, both are destroyed.

    The first, the primary side, gets the addresses; the second, the I/O side, is for the frames.
    Raises UsageError, NotAllowedError or DeviceError.
    """
    mtu = max((each.mtu for each in (side, io_side) if each.mtu is not None), default=None)
    with ExitStack() as undo:
        primary = undo.enter_context(create_feth(unit, largest_mtu=mtu))
        io = undo.enter_context(create_feth(io_unit, largest_mtu=mtu))
        primary.set_peer(io)
        io.apply(io_side)
        primary.apply(side)
        undo.pop_all()
    return FethPair(primary, io)


def require_macos(what: str) -> None:
    """Raise UsageError on any system but macOS, as only that has feth interfaces."""
    system = os.uname().sysname
    if system != "Darwin":
        raise UsageError(f"cannot {what}: this needs macOS, but this is {system}")
