"""The other end: what we tell it about this one, and what to warn of when it has told the same."""

from __future__ import annotations

import logging
import os
from ipaddress import IPv6Address

from ..abi.address import IPInterface
from ..device import Device
from ..provision.request import Provisioned
from ..wire.hello import NONCE_LENGTH, Feature, Hello

log = logging.getLogger("fethpipe")

_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_MOST_ADDRESSES = 16
"""A hello has to fit into any frame."""


def make_hello(device: Device, facts: Provisioned, keepalive: float | None) -> Hello:
    """Return our hello, with a new random nonce. ``keepalive`` is in seconds."""
    return Hello(
        nonce=os.urandom(NONCE_LENGTH),
        mtu=facts.mtu,
        features=_features(device) | Feature.REPORTS,
        keepalive=round(1000 * (keepalive or 0)),
        addresses=tuple(map(_pack, facts.addresses[:_MOST_ADDRESSES])),
    )


def _pack(address: IPInterface) -> bytes:
    return (b"" if address.version == 6 else _MAPPED) + address.ip.packed


def _features(device: Device) -> Feature:
    """Return the features of our hello: what this device can take from a peer."""
    offload = device.offload
    if offload is None or not offload.super_frames:
        return Feature(0)
    return Feature.SUPER_FRAMES | (Feature.UDP_SEGMENTS if offload.udp else Feature(0))


def compare_ends(name: str, ours: Hello, theirs: Hello) -> None:
    """Warn of what does not fit: nothing else does, and it looks like a broken network."""
    if ours.mtu and theirs.mtu and ours.mtu != theirs.mtu:
        log.warning(
            "%s: its MTU is %d, but the other end has %d: frames with more than %d bytes of data "
            "may be dropped; use the same --mtu at both ends",
            name,
            ours.mtu,
            theirs.mtu,
            min(ours.mtu, theirs.mtu),
        )
    for both in sorted({*ours.addresses} & {*theirs.addresses}):
        address = IPv6Address(both)
        log.warning(
            "%s: both ends have the address %s; give each end its own",
            name,
            address.ipv4_mapped or address,
        )
