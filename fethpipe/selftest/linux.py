"""The self-test on Linux: frames through a TAP in a new network namespace, then a whole tunnel."""

from __future__ import annotations

import os
import signal
from contextlib import closing

from ..device.packet import PacketDevice, open_packet
from ..device.tap import TUN_PATH
from ..errors import NotAllowedError, SystemFailureError, os_errors_as, reason
from ..ether.frame import HEADER_LENGTH
from ..provision.kind import find_kind, provision
from ..provision.request import DeviceRequest
from ..system.namespace import end_with_parent, enter_new_network
from .cable_linux import demonstrate
from .frames import try_sizes
from .report import Report

_LONGEST = 65535  # bytes that a record of the default framing can carry


def try_system(report: Report) -> None:
    """Show that frames of every size pass through a TAP, and that a tunnel joins two networks.

    Raises FethpipeError.
    """
    _require_tun()
    as_user = enter_new_network()
    end_with_parent(signal.SIGTERM)
    _try_tap(report)
    demonstrate(report, as_user=as_user)


def _require_tun() -> None:
    try:
        os.close(os.open(TUN_PATH, os.O_RDWR))
    except OSError as error:
        denied = isinstance(error, PermissionError)
        raise NotAllowedError(
            f"cannot open {TUN_PATH}: {reason(error)}",
            hint="run as root" if denied else "ask an administrator to load it: modprobe tun",
        ) from error


def _try_tap(report: Report) -> None:
    kind = find_kind("tap")
    request = DeviceRequest(mtu=_LONGEST - HEADER_LENGTH, offload=True)
    with closing(kind.open(provision(kind, request))) as near, closing(_open_far(near.name)) as far:
        passed = try_sizes(report, near, far, largest=_LONGEST, limit="", highest=_LONGEST)
    if not passed:
        raise SystemFailureError("frames do not pass through the TAP unchanged")


def _open_far(name: str) -> PacketDevice:
    """Return a device on the IP stack's side of the TAP."""
    with os_errors_as("cannot set up the self-test"):
        return PacketDevice(open_packet(name), name)
