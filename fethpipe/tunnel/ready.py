"""Tell people, and a waiting program, that the device is up."""

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
    """Tell people, and a waiting program, that the device is up."""
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
    if ready_descriptor != _STDERR:  # which is there for more than this
        os.close(ready_descriptor)  # who reads to the end need not wait for ours


def _describe_vmnet(facts: VmnetFacts | None) -> Iterator[str]:
    """Yield what is to be told of a vmnet interface besides its MAC and MTU."""
    if facts is None:
        return
    yield f"{facts.mode} mode"
    yield f"largest packet {facts.max_packet}"
    on = f" on {facts.host_interface}" if facts.host_interface else ""
    if facts.start_address:
        yield f"host {facts.start_address}{on}, up to {facts.end_address}, mask {facts.subnet_mask}"
