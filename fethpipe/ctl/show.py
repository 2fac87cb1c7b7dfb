"""The verbs that show interfaces, as ifconfig(8) of macOS does, with addresses as each system
writes them, or as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from enum import IntFlag
from typing import Any

from ..abi.address import IPInterface
from ..errors import DeviceError
from ..library.feth import Feth
from ..netif.darwin import interface_names
from ..netif.existing import existing
from ..netif.linux import LinuxInterfaces
from ..netif.name import interface_index
from ..netif.status import Status

log = logging.getLogger("fethpipe")


def status(options: argparse.Namespace) -> None:
    """Print one interface, or all."""
    facts = [_read(options.name)] if options.name else _read_all()
    if options.json:
        print(json.dumps([_as_json(each) for each in facts], indent=2))
    else:
        for each in facts:
            print("\n".join(_as_ifconfig(each)))


def list_names(_options: argparse.Namespace) -> None:
    """Print the names of all feth interfaces; on Linux, of all TAPs."""
    darwin = _is_darwin()
    for each in _read_all():
        if each.name.startswith("feth") if darwin else each.kind == "tun":
            print(each.name)


def _is_darwin() -> bool:
    return os.uname().sysname == "Darwin"


def _read_all() -> list[Status]:
    facts = []
    for name in _names():
        try:
            facts.append(_read(name))
        except DeviceError as error:
            if interface_index(name):  # otherwise it was destroyed in the meantime
                log.warning("%s is left out: %s", name, error.message)
    return facts


def _names() -> list[str]:
    if _is_darwin():
        return sorted(interface_names(), key=_by_number)
    with LinuxInterfaces() as interfaces:
        return interfaces.names()


def _read(name: str) -> Status:
    if _is_darwin():
        return Feth(name).status()
    with existing(f"read the state of {name}", name), LinuxInterfaces() as interfaces:
        return interfaces.status(name)


def _by_number(name: str) -> tuple[str, int]:
    letters = name.rstrip("0123456789")
    return letters, int(name[len(letters) :] or 0)


def _flag_names(flags: IntFlag) -> list[str]:
    names = {each.name: each.value for each in type(flags)}
    told = [(name or "").replace("IFF_", "") for name, bit in names.items() if flags & bit]
    # ifconfig of macOS prints this bit as SMART, since macOS has no trailers any more.
    return ["SMART" if name == "NOTRAILERS" and _is_darwin() else name for name in told]


def _as_ifconfig(facts: Status) -> list[str]:
    flags = ",".join(_flag_names(facts.flags))
    first = f"{facts.name}: flags={facts.flags.value:x}<{flags}>"
    if facts.metric:
        first += f" metric {facts.metric}"
    lines = [f"{first} mtu {facts.mtu}"]
    if facts.mac:
        lines.append(f"ether {facts.mac.hex(':')}")
    lines += map(_format_address, facts.addresses)
    if facts.peer:
        lines.append(f"peer: {facts.peer}")
    if facts.active is not None:
        lines.append(f"status: {'active' if facts.active else 'inactive'}")
    return [lines[0], *(f"\t{line}" for line in lines[1:])]


def _format_address(address: IPInterface) -> str:
    network = address.network
    if not _is_darwin():  # as ip-address(8) does
        more = ""
        if address.version == 4 and network.prefixlen < 31:
            more = f" brd {network.broadcast_address}"
        return f"inet{'6' if address.version == 6 else ''} {address}{more}"
    if address.version == 6:
        return f"inet6 {address.ip} prefixlen {network.prefixlen}"
    text = f"inet {address.ip} netmask 0x{int(network.netmask):08x}"
    if network.prefixlen < 31:
        text += f" broadcast {network.broadcast_address}"
    return text


def _as_json(facts: Status) -> dict[str, Any]:
    return {
        **facts._asdict(),
        "kind": facts.kind or None,
        "peer": facts.peer or None,
        "flags": facts.flags.value,
        "flag_names": _flag_names(facts.flags),
        "mac": facts.mac.hex(":") if facts.mac else None,
        "addresses": [str(address) for address in facts.addresses],
    }
