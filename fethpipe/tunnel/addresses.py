"""Warn of addresses that are in the network of another interface."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress

from ..abi.address import IPInterface
from ..provision.request import Provisioned

log = logging.getLogger("fethpipe")


def warn_of_networks(device: Provisioned) -> None:
    """Warn if what is meant for the tunnel may leave through another interface."""
    ours = (device.interface, device.io_interface)
    for address in device.addresses:
        for name, other in _all_addresses():
            if name not in ours and address.ip in other.network:
                log.warning(
                    "%s: its address %s is in the network %s of %s, so what is meant for the "
                    "tunnel may go there; choose another network for --address",
                    device.interface,
                    address,
                    other.network,
                    name,
                )
                break


def _all_addresses() -> Iterable[tuple[str, IPInterface]]:
    """Return the addresses of all interfaces, none if the system does not tell."""
    with suppress(OSError):
        if os.uname().sysname == "Linux":
            from ..netif.linux import all_addresses  # noqa: PLC0415 - each system needs its own
        else:
            from ..netif.darwin import all_addresses  # noqa: PLC0415
        return list(all_addresses())
    return []
