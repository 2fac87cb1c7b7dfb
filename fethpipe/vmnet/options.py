"""Check the options of a vmnet interface."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, ip_network

from ..errors import UsageError
from ..provision.request import VmnetOptions
from .abi import Mode

MODES = {
    "host": Mode.VMNET_HOST_MODE,
    "shared": Mode.VMNET_SHARED_MODE,
    "bridged": Mode.VMNET_BRIDGED_MODE,
}

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PRIVATE = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def check_options(options: VmnetOptions, mtu: int | None) -> None:
    """Raise UsageError for options that cannot work: vmnet would only say "invalid argument"."""
    if options.mode not in MODES:
        raise UsageError(f"--vmnet-mode {options.mode!a} is not one of {', '.join(MODES)}")
    bridged = options.mode == "bridged"
    if bridged and options.interface is None:
        raise UsageError(
            "--vmnet-mode bridged needs an interface of this Mac", hint="add --vmnet-interface en0"
        )
    if not bridged and options.interface is not None:
        raise UsageError("--vmnet-interface needs --vmnet-mode bridged")
    if bridged and mtu is not None:
        raise UsageError(
            "--mtu does not work with --vmnet-mode bridged: the interface of this Mac decides"
        )
    if options.network is not None:
        _check_network(options)
    _check_range(options)


def _check_network(options: VmnetOptions) -> None:
    if options.mode != "host":
        raise UsageError("--vmnet-network needs --vmnet-mode host")
    if not _UUID.fullmatch(options.network or ""):
        raise UsageError(
            f"--vmnet-network {options.network!a} is not a UUID", hint="uuidgen prints one"
        )


def _check_range(options: VmnetOptions) -> None:
    """Check the range of addresses of the host and its DHCP server."""
    given = {"start": options.start, "end": options.end, "mask": options.mask}
    texts = [text for text in given.values() if text is not None]
    if not texts:
        return
    if len(texts) < len(given):
        raise UsageError("--vmnet-start, --vmnet-end and --vmnet-mask need each other")
    if options.mode == "bridged" or options.network is not None:
        raise UsageError(
            "--vmnet-start, --vmnet-end and --vmnet-mask need a network where macOS gives out "
            "addresses: --vmnet-mode host or shared, without --vmnet-network"
        )
    addresses = {name: _address(name, text) for name, text in given.items() if text is not None}
    start, end = addresses["start"], addresses["end"]
    try:
        network = IPv4Network(f"{start}/{addresses['mask']}", strict=False)
    except ValueError as error:
        raise UsageError(f"--vmnet-mask {options.mask} is not a network mask") from error
    if not start < end or end not in network or not any(start in each for each in _PRIVATE):
        raise UsageError(
            f"--vmnet-start {start} and --vmnet-end {end} are not a range of private addresses in "
            f"one network with mask {options.mask}",
            hint="for example 192.168.77.1, 192.168.77.254 and 255.255.255.0",
        )


def _address(name: str, text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise UsageError(f"--vmnet-{name} {text!a} is not an IPv4 address") from error
