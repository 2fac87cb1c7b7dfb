"""The self-test on Linux: a throw-away TAP in a new network namespace, then the demonstration."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import closing

from ..device.tap import TUN_PATH
from ..errors import NotAllowedError, SystemFailureError, reason
from ..provision import find_kind, provision
from ..provision.request import DeviceRequest
from ..stats import Counters
from ..system.namespace import end_with_parent, enter_new_network
from .cable_linux import demonstrate
from .frames import HEADER_LENGTH, measure, try_sizes
from .report import Report

_LONGEST = 65535  # what a record of the default framing can carry
_BUFFER = 1 << 20
_ETH_P_ALL = 3  # linux/if_ether.h


def try_linux(report: Report) -> None:
    """Show that frames of every size pass a TAP, and that two ends make a network."""
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
            hint="run as root" if denied else "have an administrator load it: modprobe tun",
        ) from error


def _try_tap(report: Report) -> None:
    kind = find_kind("tap")
    request = DeviceRequest(mtu=_LONGEST - HEADER_LENGTH, offload=True)
    with closing(kind.open(provision(kind, request))) as near, closing(_Wire(near.name)) as far:
        passed = try_sizes(report, near, far, largest=_LONGEST, limit="", highest=_LONGEST)
        measure(report, near, far)
    if not passed:
        raise SystemFailureError("frames do not pass the TAP unchanged")


class _Wire:
    """An interface of this machine as a Device: what comes in there is received."""

    offload = None
    filler = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters = Counters()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._socket.bind((name, 0))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read_frames(self) -> list[bytes]:
        frames: list[bytes] = []
        try:
            while True:
                frame, sender = self._socket.recvfrom(1 << 17)
                if sender[2] != socket.PACKET_OUTGOING:
                    frames.append(frame)
        except BlockingIOError:
            return frames

    def write_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            try:
                self._socket.send(frame)
            except OSError as error:
                self.counters.drop(reason(error))

    def kernel_drops(self) -> int:
        return 0

    def close(self) -> None:
        self._socket.close()
