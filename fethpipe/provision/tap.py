"""Make a TAP, or attach to one, and configure it through rtnetlink."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

from ..abi.address import IPInterface
from ..abi.linux import IFF_UP, LinkMessage
from ..device import Device
from ..device.tap import TUN_PATH, TapDevice, open_tap
from ..errors import DeviceError, NotAllowedError, UsageError, reason, step
from ..netif.existing import existing
from ..netif.linux import LinuxInterfaces, host_identity
from ..netif.mac import stable_mac
from ..netif.name import interface_index
from ..system.privileges import user_name
from .kind import Kind, check_bridge_mtu
from .request import DEFAULT_MTU, Change, DeviceRequest, MadeHook, Provisioned

_HIGHEST = b"\xfe"
"""How the highest MAC begins that is locally administered and of one station."""

# drivers/net/tun.c: tun_net_initialize: from ETH_MIN_MTU to 65535 minus the Ethernet header.
TAP_MTU = range(68, 65521 + 1)


def provision_tap(request: DeviceRequest, on_made: MadeHook) -> Provisioned:
    """Return a TAP that is ready, with its descriptor.

    Raises UsageError, NotAllowedError, which says how root prepares the TAP, or DeviceError.
    """
    try:
        return _provision(request, on_made)
    except NotAllowedError as error:
        hint = f"run as root, or {_advice(request)}"
        raise NotAllowedError(error.message, hint=hint) from error.__cause__


def _provision(request: DeviceRequest, on_made: MadeHook) -> Provisioned:
    with ExitStack() as undo:
        interfaces = undo.enter_context(LinuxInterfaces())
        prepared = _prepared_tap(interfaces, request)
        if prepared and request.bridge is not None:
            raise UsageError(
                f"--bridge does not work with {request.name}, which exists already",
                hint="its owner can make it a port of the bridge: "
                f"ip link set {request.name} master {request.bridge}",
            )
        descriptor, name = open_tap(
            request.name or "fp%d", attach=prepared, offload=request.offload
        )
        undo_descriptor = undo.enter_context(ExitStack())
        undo_descriptor.callback(os.close, descriptor)
        if prepared:
            _configure(interfaces, name, request, mtu=request.mtu, mac=request.mac)
        else:
            on_made(name)
            mac = request.mac or stable_mac(host_identity(), name)
            if request.bridge is not None and request.mac is None:
                # A bridge without a MAC of its own takes the lowest of its ports': not ours.
                mac = _HIGHEST + mac[1:]
            mtu = request.mtu or DEFAULT_MTU
            _configure(interfaces, name, request, mtu=mtu, mac=mac)
            if request.bridge is not None:
                _join_bridge(interfaces, name, mtu, request.bridge)
            with step(f"bring {name} up"):
                interfaces.set_up(name)
        with step(f"read the state of {name}"):
            link = interfaces.link(name)
        undo_descriptor.pop_all()
    return Provisioned(
        interface=name,
        io_interface=None,
        mac=link.mac,
        mtu=link.mtu,
        addresses=request.addresses,
        up=bool(link.flags & IFF_UP),
        descriptors=(descriptor,),
    )


def _prepared_tap(interfaces: LinuxInterfaces, request: DeviceRequest) -> bool:
    """Return whether to attach to a TAP that an administrator made.

    ``--attach`` asks for it. So does ``--name`` when a persistent TAP of this name belongs to this
    very user: he could not make another one of the same name.
    """
    if request.name is None:
        return False
    link: LinkMessage | None = None
    with step(f"look for {request.name}"):
        try:
            link = interfaces.link(request.name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
    if request.attach:
        if link is None:
            raise DeviceError(
                f"cannot attach to {request.name}: it does not exist",
                hint=f"make it first: ip tuntap add dev {request.name} mode tap",
            )
        if link.kind != "tun":
            raise DeviceError(f"cannot attach to {request.name}: it is not a TAP")
        return True
    return link is not None and link.tun_persistent and link.tun_owner == os.geteuid() != 0


def _configure(
    interfaces: LinuxInterfaces,
    name: str,
    request: DeviceRequest,
    *,
    mtu: int | None,
    mac: bytes | None,
) -> None:
    """Set what is not so yet: what is needs no root."""
    with step(f"read the state of {name}"):
        now = interfaces.status(name)
    if mtu is not None and mtu != now.mtu:
        with step(f"set the MTU of {name} to {mtu}"):
            interfaces.set_mtu(name, mtu)
    if mac is not None and mac != now.mac:
        with step(f"set the MAC of {name} to {mac.hex(':')}"):
            interfaces.set_mac(name, mac)
    for address in request.addresses:
        if address in now.addresses and request.metric is None:
            continue
        with step(f"add {address} to {name}"), _ipv6_switch(address, name):
            interfaces.add_address(name, address, metric=request.metric)


def _join_bridge(interfaces: LinuxInterfaces, name: str, mtu: int, bridge: str) -> None:
    """Make a TAP, which is not up yet, a port of a bridge. It leaves the bridge when it goes."""
    tried = f"make {name} a port of {bridge}"
    with existing(tried, bridge, hint=f"make it first: ip link add {bridge} type bridge"):
        link = interfaces.link(bridge)
    if link.kind == "openvswitch":
        raise DeviceError(
            f"cannot {tried}: {bridge} is a bridge of Open vSwitch",
            hint=f"leave --bridge out, and use: ovs-vsctl add-port {bridge} {name}",
        )
    if link.kind != "bridge":
        raise DeviceError(f"cannot {tried}: {bridge} is not a bridge")
    check_bridge_mtu(bridge, link.mtu, name, mtu)
    with step(tried):
        interfaces.set_master(name, bridge)


def _advice(request: DeviceRequest) -> str:
    """Return what to do without root: the commands with which root prepares what is requested for
    this user, as far as it is not so yet.
    """
    with LinuxInterfaces() as interfaces:
        name = request.name or next(
            name for name in map("fp{}".format, count()) if not interface_index(name)
        )
        link: LinkMessage | None = None
        addresses: tuple[IPInterface, ...] = ()
        with suppress(OSError):
            link, addresses = interfaces.link(name), interfaces.status(name).addresses
    if link and link.tun_owner != os.geteuid():
        return f"choose another name: {name} belongs to another user"
    commands = [] if os.access(TUN_PATH, os.R_OK | os.W_OK) else [f"chmod 666 {TUN_PATH}"]
    if link is None:
        commands.append(f"ip tuntap add dev {name} mode tap user {user_name()}")
    if request.mtu is not None and not (link and link.mtu == request.mtu):
        commands.append(f"ip link set {name} mtu {request.mtu}")
    if request.mac is not None and not (link and link.mac == request.mac):
        commands.append(f"ip link set {name} address {request.mac.hex(':')}")
    commands += [
        f"ip address add {address} dev {name}"
        for address in request.addresses
        if address not in addresses
    ]
    if link is None and request.bridge is not None:
        commands.append(f"ip link set {name} master {request.bridge}")
    if link is None:
        commands.append(f"ip link set {name} up")
    then = "" if request.attach else f"; then use --attach {name}"
    return f"have root prepare it: {' && '.join(commands)}{then}"


@contextmanager
def _ipv6_switch(address: IPInterface, name: str) -> Iterator[None]:
    """Name the cause if an address cannot be added because IPv6 is switched off.

    The kernel then answers EACCES, and EPERM for a missing privilege (net/ipv6/addrconf.c:
    inet6_addr_add). Python raises PermissionError for both.
    """
    try:
        yield
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        raise DeviceError(
            f"cannot add {address} to {name}: {reason(error)}",
            hint="IPv6 is switched off: sysctl net.ipv6.conf.default.disable_ipv6=0",
        ) from error


def change_tap(provisioned: Provisioned, change: Change) -> None:
    """Change a TAP that :func:`provision_tap` returned."""
    name = provisioned.interface
    with LinuxInterfaces() as interfaces:
        wanted = DeviceRequest(addresses=change.add, mtu=change.mtu)
        _configure(interfaces, name, wanted, mtu=change.mtu, mac=None)
        for address in change.remove:
            with step(f"remove {address} from {name}"):
                interfaces.remove_address(name, address)


def destroy_tap(name: str) -> None:
    """Destroy a TAP, if it still exists.

    As a rule it does not: it goes when its descriptor is closed. But a process that has the
    descriptor can make the TAP persistent (TUNSETPERSIST), or pass the descriptor on.
    """
    with step(f"destroy {name}"), LinuxInterfaces() as interfaces:
        try:
            interfaces.remove(name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def open_tap_device(provisioned: Provisioned) -> Device:
    """Return the device of a provisioned TAP."""
    (descriptor,) = provisioned.descriptors
    with step(f"use the TAP {provisioned.interface}"):
        return TapDevice(descriptor, provisioned.interface)


KIND = Kind("tap", "Linux", TAP_MTU, provision_tap, change_tap, open_tap_device, destroy_tap)
