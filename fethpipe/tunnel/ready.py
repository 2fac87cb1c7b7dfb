"""Announce that the device is up: a message for people, one line of JSON for a program."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

from ..errors import UsageError, reason
from ..netif.mac import format_mac
from ..provision.request import Provisioned, VmnetFacts

log = logging.getLogger("fethpipe")

_STDERR = 2


def announce(device: Provisioned, ready_descriptor: int | None) -> None:
    """Announce that the device is up. Raises UsageError if ``ready_descriptor`` cannot be written.

    That descriptor is closed afterwards.
    """
    addresses = [str(address) for address in device.addresses]
    state = "is ready" if device.up else "is down: bring it up to pass frames"
    log.info(
        "%s %s: MAC %s, MTU %d%s",
        device.interface,
        state,
        format_mac(device.mac),
        device.mtu,
        "".join(f", {fact}" for fact in (*addresses, *_describe_vmnet(device.vmnet))),
    )
    if ready_descriptor is None:
        return
    facts: dict[str, object] = {
        "interface": device.interface,
        "io_interface": device.io_interface,
        "mac": format_mac(device.mac),
        "mtu": device.mtu,
        "addresses": addresses,
        "pid": os.getpid(),
    }
    if device.vmnet:
        facts["vmnet"] = device.vmnet._asdict()
    try:
        os.write(ready_descriptor, json.dumps(facts).encode() + b"\n")
    except OSError as error:
        raise UsageError(
            f"cannot write to --ready-fd {ready_descriptor}: {reason(error)}"
        ) from error
    if ready_descriptor != _STDERR:  # stderr is still needed
        os.close(ready_descriptor)  # so that a reader sees the end of file


def _describe_vmnet(facts: VmnetFacts | None) -> Iterator[str]:
    """Yield the facts of a vmnet interface, besides its MAC and MTU, in words."""
    if facts is None:
        return
    yield f"{facts.mode} mode"
    yield f"longest frame {facts.max_packet}"
    on = f" on {facts.host_interface}" if facts.host_interface else ""
    if facts.start_address:
        yield f"host {facts.start_address}{on}, up to {facts.end_address}, mask {facts.subnet_mask}"
