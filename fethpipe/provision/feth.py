"""Make a feth pair of macOS, or attach to one, and configure it through ioctl.

    IP stack = fethN, the primary side  <= peers =>  feth(N + 10000), the I/O side = BPF, AF_NDRV

The addresses and the metric belong to the primary side; both sides have the same MTU. Each side
gets a MAC of its own as soon as it is made, for two reasons: the MACs that the kernel chooses are
the same on every Mac, and only the MAC tells an interface from a later one of the same name, since
XNU gives that the same index.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from ..abi.address import IPInterface
from ..abi.darwin import FETH_MTU, IF_MAXUNIT, InterfaceFlag
from ..device import Device
from ..device.bpf import batches_leave, open_bpf, set_batch_write
from ..device.feth import FethDevice
from ..device.ndrv import open_ndrv
from ..errors import DeviceError, UsageError, errno_behind, reason, step
from ..netif.darwin import (
    BUSY_SECONDS,
    UNSUPPORTED,
    DarwinInterfaces,
    all_addresses,
    allow_mtu,
    check_settings,
    interface_names,
)
from ..netif.existing import existing
from ..netif.mac import random_mac, stable_mac
from ..system.libc_darwin import host_uuid
from .kind import Kind, check_bridge_mtu
from .request import DEFAULT_MTU, Change, DeviceRequest, MadeHook, Provisioned

log = logging.getLogger("fethpipe")

# The I/O side's unit minus the primary side's. ZeroTier's service destroys all of feth0 to feth9999
# when it starts, so both sides of a pair that we choose are above these.
_IO_DISTANCE = 10000
_FIRST_UNIT = 10000
_LAST_UNIT = IF_MAXUNIT - _IO_DISTANCE


def provision_feth(request: DeviceRequest, on_made: MadeHook) -> Provisioned:
    """Return a pair that is ready, with descriptors of its I/O side: BPF, AF_NDRV, and a duplicate
    of the BPF one if BPF shall send batches.

    Raises UsageError, NotAllowedError or DeviceError.
    """
    pair = None if request.attach else _requested_pair(request.name, request.io_unit)
    with DarwinInterfaces() as interfaces, ExitStack() as undo:
        if request.attach:
            primary, io = _existing_pair(interfaces, request.name or "")
            if request.mac is not None:
                _change_mac(interfaces, primary, request.mac)
            _set_mtus(interfaces, primary, io, request.mtu)
        else:
            check_settings()
            mtu = request.mtu or DEFAULT_MTU
            with step(f"allow an MTU of {mtu}"):
                allow_mtu(mtu)
            make = partial(_make_sides, interfaces, request.mac, undo, on_made)
            primary, io = _make_pair(make, pair)
            _set_mtus(interfaces, primary, io, mtu)
            with step(f"join {primary} and {io}"):
                interfaces.set_peer(primary, io)
            with step(f"bring {io} up"):
                interfaces.set_up(io)
        # Open them before the primary side is up, so that its first frame is not missed.
        descriptors = open_descriptors(io, request.inject, undo)
        if not request.attach:
            if request.bridge is not None:
                _join_bridge(interfaces, primary, mtu, request.bridge)
            with step(f"bring {primary} up"):
                interfaces.set_up(primary)
        if request.metric is not None:
            with step(f"set the metric of {primary} to {request.metric}"):
                interfaces.set_metric(primary, request.metric)
        _change_addresses(interfaces, primary, Change(add=request.addresses))
        with step(f"read the state of {primary} and {io}"):
            provisioned = Provisioned(
                interface=primary,
                io_interface=io,
                mac=interfaces.mac(primary),
                mtu=interfaces.mtu(primary),
                addresses=request.addresses,
                up=bool(interfaces.flags(primary) & interfaces.flags(io) & InterfaceFlag.IFF_UP),
                descriptors=descriptors,
            )
        undo.pop_all()
    return provisioned


def _join_bridge(interfaces: DarwinInterfaces, name: str, mtu: int, bridge: str) -> None:
    """Make a side, which is not up yet, a member of a bridge. It leaves the bridge when it goes."""
    tried = f"make {name} a port of {bridge}"
    if not re.fullmatch(r"bridge[0-9]+", bridge):
        raise DeviceError(f"cannot {tried}: {bridge} is not a bridge")
    with existing(tried, bridge, hint=f"make it first: ifconfig {bridge} create"):
        bridge_mtu = interfaces.mtu(bridge)
    check_bridge_mtu(bridge, bridge_mtu, name, mtu)
    with step(tried):
        interfaces.add_to_bridge(name, bridge)


def change_feth(provisioned: Provisioned, change: Change) -> None:
    """Change a pair that :func:`provision_feth` returned."""
    primary, io = provisioned.interface, provisioned.io_interface or ""
    with DarwinInterfaces() as interfaces:
        _set_mtus(interfaces, primary, io, change.mtu)
        _change_addresses(interfaces, primary, change)


def check_feth(provisioned: Provisioned) -> Callable[[], None]:
    """Return a function that raises DeviceError if the two sides are no longer joined.

    The descriptors do not show it: they are on the I/O side, which stays when its peer is
    destroyed, and then never receives a frame (bsd/net/if_fake.c: feth_clone_destroy).
    """
    primary, io = provisioned.interface, provisioned.io_interface or ""
    with step(f"check whether {primary} is still joined"):
        interfaces = DarwinInterfaces()  # now: a confined process can open no socket

    def check() -> None:
        with step(f"check whether {primary} is still joined"):
            peer = interfaces.peer(io)
        if peer != primary:
            raise DeviceError(
                f"{primary} has gone: {io} is no longer joined to it",
                hint="somebody destroyed or disconnected it",
            )

    return check


def find_lost_addresses(provisioned: Provisioned) -> tuple[IPInterface, ...]:
    """Return those of its addresses that the primary side no longer has.

    A VPN or a change of the network services can remove them. None if the kernel does not tell.
    """
    with suppress(OSError):
        name = provisioned.interface
        present = {address.ip for owner, address in all_addresses() if owner == name}
        return tuple(each for each in provisioned.addresses if each.ip not in present)
    return ()


def find_address(name: str) -> IPInterface | None:
    """Return the IPv4 address of an interface, None if it has none, or one that macOS takes when
    nobody gives it any (RFC 3927). Raises OSError.
    """
    found = (address for owner, address in all_addresses() if owner == name)
    return next((each for each in found if each.version == 4 and not each.is_link_local), None)


def set_link(provisioned: Provisioned, up: bool) -> None:
    """Join the two sides, or disconnect them, which is a cable plugged in or out for macOS. Flags,
    addresses and routes stay (bsd/net/if_fake.c: feth_config).
    """
    primary, io = provisioned.interface, provisioned.io_interface or ""
    tried = f"join {primary} and {io}" if up else f"disconnect {primary} from {io}"
    with step(tried), DarwinInterfaces() as interfaces:
        peer = interfaces.peer(primary)
        if peer not in ("", io):
            raise DeviceError(
                f"cannot {tried}: {primary} is joined to {peer}", hint="somebody else did that"
            )
        if bool(peer) != up:
            interfaces.set_peer(primary, io if up else "")


def mac_of_feth(name: str) -> bytes:
    """Return the MAC of one side (6 bytes), empty if it no longer exists."""
    with step(f"read the MAC of {name}"), DarwinInterfaces() as interfaces:
        return interfaces.mac(name)


def destroy_feth(name: str) -> None:
    """Destroy one side of a pair, if it still exists."""
    with step(f"destroy {name}"), DarwinInterfaces() as interfaces:
        try:
            interfaces.destroy(name)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise


def open_feth_device(provisioned: Provisioned) -> Device:
    """Return the device of a provisioned pair."""
    with step(f"use the BPF device of {provisioned.interface}"):
        return FethDevice(*provisioned.descriptors, name=provisioned.interface)


# ---- which pair ----


def _requested_pair(name: str | None, io_unit: int | None) -> tuple[str, str] | None:
    """Return the names of both sides if the user named a pair, None if any pair will do."""
    if name is None:
        return None
    if not re.fullmatch(r"feth(0|[1-9][0-9]*)", name):
        raise UsageError(f"{name} is not a feth name", hint="use feth and a number: feth10000")
    unit = int(name[len("feth") :])
    if io_unit is not None:
        if unit == io_unit or max(unit, io_unit) > IF_MAXUNIT:
            raise UsageError(f"{name} and feth{io_unit} cannot form a pair")
        return name, f"feth{io_unit}"
    if unit > _LAST_UNIT:
        raise UsageError(
            f"{name} cannot have an I/O side: its name would be feth{unit + _IO_DISTANCE}, but the "
            f"last feth is feth{IF_MAXUNIT}",
            hint=f"choose a unit up to {_LAST_UNIT}",
        )
    return _pair_names(unit)


def _existing_pair(interfaces: DarwinInterfaces, primary: str) -> tuple[str, str]:
    """Return both sides of a pair that somebody else made, by the name of its primary side."""
    tried = f"cannot attach to {primary}"
    try:
        with step(f"attach to {primary}"):
            io = interfaces.peer(primary)
    except DeviceError as error:
        number = errno_behind(error)
        if number == errno.ENXIO:
            raise DeviceError(f"{tried}: it does not exist") from error
        if number in UNSUPPORTED:
            raise DeviceError(f"{tried}: it is not a feth") from error
        raise
    if not io:
        raise DeviceError(
            f"{tried}: it has no peer", hint=f"join it first: ifconfig {primary} peer fethN"
        )
    return primary, io


def _make_pair(make: Callable[..., None], pair: tuple[str, str] | None) -> tuple[str, str]:
    """Make both sides of this pair, or of the lowest free one."""
    if pair is not None:
        try:
            make(pair, patience=BUSY_SECONDS)
        except _TakenError as taken:
            busy = getattr(taken.__cause__, "errno", None) == errno.EBUSY
            why = "it is still being destroyed" if busy else "it already exists"
            raise DeviceError(
                f"cannot create {taken.name}: {why}",
                hint=f"choose another unit, or use --attach {pair[0]}",
            ) from taken.__cause__
        return pair
    with step("list the interfaces"):
        names = interface_names()
    for candidate in map(_pair_names, range(_FIRST_UNIT, _LAST_UNIT + 1)):
        if names.isdisjoint(candidate):
            try:
                make(candidate)
            except _TakenError:  # another process made it since we listed the names
                continue
            return candidate
    raise DeviceError(
        "cannot create a feth pair: every unit is taken", hint="destroy some: fethctl list"
    )


class _TakenError(Exception):
    """An interface of this name exists already."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _make_sides(
    interfaces: DarwinInterfaces,
    mac: bytes | None,
    undo: ExitStack,
    on_made: MadeHook,
    pair: tuple[str, str],
    *,
    patience: float = 0,
) -> None:
    """Make both sides of a pair, each with its MAC. ``undo`` destroys them.

    ``mac`` is the primary side's, None for the stable one. The I/O side gets a random one: no frame
    carries it, but it identifies the interface. Raises _TakenError if one side exists already, or
    still after ``patience`` seconds.
    """
    primary, io = pair
    macs = {primary: mac or _stable_mac(primary), io: random_mac()}
    with ExitStack() as both:
        for name in pair:
            with step(f"create {name}"):
                try:
                    interfaces.create(name, patience=patience)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.EBUSY):
                        raise
                    raise _TakenError(name) from error
            both.callback(_undo_creation, interfaces, name)
            _set_mac(interfaces, name, macs[name])
            on_made(name)
        undo.push(both.pop_all())


def _undo_creation(interfaces: DarwinInterfaces, name: str) -> None:
    """Destroy what a failed attempt made. On failure warn: the error is that of the attempt."""
    try:
        interfaces.destroy(name)
    except OSError as error:
        if error.errno != errno.ENXIO:
            log.warning(
                "cannot destroy %s: %s; destroy it with: ifconfig %s destroy",
                name,
                reason(error),
                name,
            )


def _pair_names(unit: int) -> tuple[str, str]:
    return f"feth{unit}", f"feth{unit + _IO_DISTANCE}"


# ---- its configuration ----


def _stable_mac(primary: str) -> bytes:
    with step("get the UUID of this Mac (not needed with --mac)"):
        return stable_mac(host_uuid(), primary)


def _set_mac(interfaces: DarwinInterfaces, name: str, mac: bytes) -> None:
    with step(f"set the MAC of {name} to {mac.hex(':')}"):
        interfaces.set_mac(name, mac)


def _change_mac(interfaces: DarwinInterfaces, name: str, mac: bytes) -> None:
    """Set the MAC of an interface in use: macOS reads it when the link becomes active."""
    with step(f"read the state of {name}"):
        up = bool(interfaces.flags(name) & InterfaceFlag.IFF_UP)
    if up:
        with step(f"bring {name} down"):
            interfaces.set_up(name, up=False)
    try:
        _set_mac(interfaces, name, mac)
    finally:
        if up:
            with step(f"bring {name} up"):
                interfaces.set_up(name)


def _set_mtus(interfaces: DarwinInterfaces, primary: str, io: str, mtu: int | None) -> None:
    if mtu is not None:
        for name in (primary, io):
            set_mtu(interfaces, name, mtu)


def set_mtu(interfaces: DarwinInterfaces, name: str, mtu: int) -> None:
    """Set the MTU of one side, in bytes.

    Raises DeviceError; for an MTU above the largest one, which is fixed when a feth is made, the
    error names that.
    """
    with step(f"set the MTU of {name} to {mtu}"):
        try:
            interfaces.set_mtu(name, mtu)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            largest = interfaces.largest_mtu(name)
            raise DeviceError(
                f"cannot set the MTU of {name} to {mtu}: it was made for at most {largest}",
                hint="destroy it and make it again",
            ) from error


def _change_addresses(interfaces: DarwinInterfaces, name: str, change: Change) -> None:
    for address in change.add:
        with step(f"add {address} to {name}"):
            interfaces.add_address(name, address)
    for address in change.remove:
        with step(f"remove {address} from {name}"):
            interfaces.remove_address(name, address)
    if change.add:
        # Adding the first address sets UP, but not RUNNING.
        with step(f"bring {name} up"):
            interfaces.set_up(name)


def open_descriptors(io: str, inject: str | None, undo: ExitStack) -> tuple[int, ...]:
    """Open BPF and AF_NDRV on the I/O side, and return their descriptors. ``undo`` closes them.

    With ``inject`` None, batches are sent if the kernel takes them and they are seen to leave.
    """
    with step(f"attach a BPF device to {io}"):
        bpf_descriptor = open_bpf(io)
    undo.callback(os.close, bpf_descriptor)
    with step(f"open an AF_NDRV socket on {io}"):
        ndrv_descriptor = open_ndrv(io)
    undo.callback(os.close, ndrv_descriptor)
    if not _shall_batch(bpf_descriptor, io, inject):
        return bpf_descriptor, ndrv_descriptor
    with step(f"duplicate the descriptor of the BPF device of {io}"):
        batch_descriptor = os.dup(bpf_descriptor)
    undo.callback(os.close, batch_descriptor)
    return bpf_descriptor, ndrv_descriptor, batch_descriptor


def _shall_batch(bpf_descriptor: int, io: str, inject: str | None) -> bool:
    if inject == "ndrv":
        return False
    try:
        set_batch_write(bpf_descriptor)
    except OSError as error:
        if inject is None:
            return False
        log.warning(
            "%s: this macOS cannot send batches through BPF: BIOCSBATCHWRITE: %s; using AF_NDRV",
            io,
            reason(error),
        )
        return False
    return inject == "bpf" or batches_leave(bpf_descriptor)


KIND = Kind(
    "feth",
    "Darwin",
    FETH_MTU,
    provision_feth,
    change_feth,
    open_feth_device,
    destroy_feth,
    lasting=True,
    mac=mac_of_feth,
    check=check_feth,
    find_lost=find_lost_addresses,
    find_address=find_address,
    set_link=set_link,
)
