"""Make or take a feth pair of macOS, and configure it through ioctl.

    IP stack = fethN, the primary side  <= peers =>  feth(N + 10000), the I/O side = BPF, AF_NDRV

The addresses, the MAC and the metric are the primary side's; the MTU is that of both.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from contextlib import ExitStack

from ..abi.darwin import FETH_MTU, IF_MAXUNIT, InterfaceFlag
from ..device import Device
from ..device.bpf import open_bpf, set_batch_write
from ..device.feth import FethDevice
from ..device.ndrv import open_ndrv
from ..errors import DeviceError, UsageError, reason
from ..netif.darwin import (
    UNSUPPORTED,
    DarwinInterfaces,
    allow_mtu,
    host_identity,
    interface_names,
)
from ..netif.mac import format_mac, stable_mac
from .kind import Kind
from .request import DEFAULT_MTU, Change, DeviceRequest, MadeHook, Provisioned, step

__all__ = ["FETH_MTU", "change_feth", "destroy_feth", "open_feth_device", "provision_feth"]

log = logging.getLogger("fethpipe")

# From the primary side's unit to the I/O side's. ZeroTier's service destroys all of feth0 to
# feth9999 when it starts, so neither side of a pair that we choose is among them.
_IO_DISTANCE = 10000
_FIRST_UNIT = 10000
_LAST_UNIT = IF_MAXUNIT - _IO_DISTANCE


def provision_feth(request: DeviceRequest, on_made: MadeHook) -> Provisioned:
    """Return a pair that is ready, with descriptors of its I/O side: BPF, AF_NDRV, and BPF once
    more where that is to send batches.
    """
    unit = None if request.attach else _requested_unit(request.name)
    with DarwinInterfaces() as interfaces, ExitStack() as undo:
        if request.attach:
            primary, io = _existing_pair(interfaces, request.name or "")
            _configure(interfaces, primary, io, mtu=request.mtu, mac=request.mac)
        else:
            mtu = request.mtu or DEFAULT_MTU
            with step(f"allow an MTU of {mtu}"):
                allow_mtu(mtu)
            primary, io = _make_pair(interfaces, unit, undo, on_made)
            mac = request.mac or _stable_mac(primary)
            _configure(interfaces, primary, io, mtu=mtu, mac=mac)
            with step(f"join {primary} and {io}"):
                interfaces.set_peer(primary, io)
            with step(f"bring {io} up"):
                interfaces.set_up(io)
        # Before the primary side is up, so that not even its first frame is missed.
        descriptors = _open_descriptors(io, request.inject, undo)
        if not request.attach:
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


def change_feth(provisioned: Provisioned, change: Change) -> None:
    """Change a pair that :func:`provision_feth` returned."""
    primary, io = provisioned.interface, provisioned.io_interface or ""
    with DarwinInterfaces() as interfaces:
        _configure(interfaces, primary, io, mtu=change.mtu, mac=None)
        _change_addresses(interfaces, primary, change)


def destroy_feth(name: str) -> None:
    """Destroy one side of a pair, unless it has gone already."""
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


def _requested_unit(name: str | None) -> int | None:
    """Return the unit of the primary side that a name asks for, None if any will do."""
    if name is None:
        return None
    if not re.fullmatch(r"feth(0|[1-9][0-9]*)", name):
        raise UsageError(f"{name} is no name for a feth", hint="its name is feth and a number")
    unit = int(name[len("feth") :])
    if unit > _LAST_UNIT:
        raise UsageError(
            f"{name} has no I/O side: that would be feth{unit + _IO_DISTANCE}, and the last is "
            f"feth{IF_MAXUNIT}",
            hint=f"choose a unit up to {_LAST_UNIT}",
        )
    return unit


def _existing_pair(interfaces: DarwinInterfaces, primary: str) -> tuple[str, str]:
    """Return a pair that somebody else made, by its primary side."""
    tried = f"cannot attach to {primary}"
    try:
        with step(f"attach to {primary}"):
            io = interfaces.peer(primary)
    except DeviceError as error:
        number = getattr(error.__cause__, "errno", None)
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


def _make_pair(
    interfaces: DarwinInterfaces, unit: int | None, undo: ExitStack, on_made: MadeHook
) -> tuple[str, str]:
    """Make both sides: of this unit, or of the lowest one whose pair is free."""
    if unit is not None:
        try:
            return _make_sides(interfaces, unit, undo, on_made)
        except _TakenError as taken:
            raise DeviceError(
                f"cannot create {taken.name}: it exists",
                hint=f"choose another unit, or use --attach feth{unit}",
            ) from taken.__cause__
    with step("list the interfaces"):
        names = interface_names()
    for candidate in range(_FIRST_UNIT, _LAST_UNIT + 1):
        if names.isdisjoint(_pair_names(candidate)):
            try:
                return _make_sides(interfaces, candidate, undo, on_made)
            except _TakenError:  # somebody else was faster
                continue
    raise DeviceError("cannot create a feth pair: every unit is taken")


class _TakenError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _make_sides(
    interfaces: DarwinInterfaces, unit: int, undo: ExitStack, on_made: MadeHook
) -> tuple[str, str]:
    """Make the two sides of a unit, to be destroyed by ``undo``. Raises _TakenError."""
    primary, io = _pair_names(unit)
    with ExitStack() as both:
        for name in (primary, io):
            with step(f"create {name}"):
                try:
                    interfaces.create(name)
                except FileExistsError as error:
                    raise _TakenError(name) from error
            both.callback(_undo_creation, interfaces, name)
            on_made(name)
        undo.push(both.pop_all())
    return primary, io


def _undo_creation(interfaces: DarwinInterfaces, name: str) -> None:
    """Destroy what a failed attempt made; the failure itself is what the user gets to know."""
    try:
        interfaces.destroy(name)
    except OSError as error:
        if error.errno != errno.ENXIO:
            log.warning(
                "cannot destroy %s: %s; do it: ifconfig %s destroy", name, reason(error), name
            )


def _pair_names(unit: int) -> tuple[str, str]:
    return f"feth{unit}", f"feth{unit + _IO_DISTANCE}"


# ---- its configuration ----


def _stable_mac(primary: str) -> bytes:
    with step("ask for the identity of this Mac (--mac does without)"):
        return stable_mac(host_identity(), primary)


def _configure(
    interfaces: DarwinInterfaces, primary: str, io: str, *, mtu: int | None, mac: bytes | None
) -> None:
    """Set MTU and MAC. The MAC has to be there before UP: feth's own is the same on every Mac."""
    if mtu is not None:
        for name in (primary, io):
            _set_mtu(interfaces, name, mtu)
    if mac is not None:
        with step(f"set the MAC of {primary} to {format_mac(mac)}"):
            interfaces.set_mac(primary, mac)


def _set_mtu(interfaces: DarwinInterfaces, name: str, mtu: int) -> None:
    with step(f"set the MTU of {name} to {mtu}"):
        try:
            interfaces.set_mtu(name, mtu)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            largest = interfaces.largest_mtu(name)
            raise DeviceError(
                f"cannot set the MTU of {name} to {mtu}: it was made for at most {largest}",
                hint="destroy it and have it made again",
            ) from error


def _change_addresses(interfaces: DarwinInterfaces, name: str, change: Change) -> None:
    for address in change.add:
        with step(f"add {address} to {name}"):
            interfaces.add_address(name, address)
    for address in change.remove:
        with step(f"remove {address} from {name}"):
            interfaces.remove_address(name, address)
    if change.add:
        # The first address makes an interface UP, but not RUNNING.
        with step(f"bring {name} up"):
            interfaces.set_up(name)


def _open_descriptors(io: str, inject: str | None, undo: ExitStack) -> tuple[int, ...]:
    """Open BPF and AF_NDRV on the I/O side, to be closed by ``undo``."""
    with step(f"attach a BPF device to {io}"):
        bpf_descriptor = open_bpf(io)
    undo.callback(os.close, bpf_descriptor)
    with step(f"open an AF_NDRV socket on {io}"):
        ndrv_descriptor = open_ndrv(io)
    undo.callback(os.close, ndrv_descriptor)
    if inject != "bpf" or not _can_batch(bpf_descriptor, io):
        return bpf_descriptor, ndrv_descriptor
    with step(f"send through the BPF device of {io}"):
        batch_descriptor = os.dup(bpf_descriptor)
    undo.callback(os.close, batch_descriptor)
    return bpf_descriptor, ndrv_descriptor, batch_descriptor


def _can_batch(bpf_descriptor: int, io: str) -> bool:
    try:
        set_batch_write(bpf_descriptor)
    except OSError as error:
        log.warning(
            "%s: this macOS takes no batches through BPF: BIOCSBATCHWRITE: %s; AF_NDRV is used",
            io,
            reason(error),
        )
        return False
    return True


KIND = Kind("feth", "Darwin", FETH_MTU, provision_feth, change_feth, open_feth_device, destroy_feth)
