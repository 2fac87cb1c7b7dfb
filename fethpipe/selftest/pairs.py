"""The tools to check the facts of Darwin: two feth pairs, open on both sides, and calls."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..abi.darwin import AF_NDRV, Request, pack_u32, unpack_u32
from ..device.bpf import open_bpf
from ..device.feth import FethDevice
from ..device.ndrv import open_ndrv
from ..errors import reason
from ..netif.darwin import DarwinInterfaces
from ..provision.request import Provisioned
from ..system.libc_darwin import ioctl
from .report import DiffersError

ADDRESS = "198.51.100.1/24"
"""The address of the primary side. It is reserved for documentation (RFC 5737)."""


class OpenPair:
    """A pair, opened on its I/O side (``near``) as in a tunnel, and its primary side (``far``)."""

    def __init__(self, made: Provisioned) -> None:
        self.primary = made.interface
        self.io = made.io_interface or ""
        self.mac = made.mac
        self.mtu = made.mtu
        self.bpf, self.ndrv = made.descriptors
        self.near = FethDevice(self.bpf, self.ndrv, name=self.primary)
        with ExitStack() as undo:
            undo.callback(self.near.close)
            self.far_bpf = open_bpf(self.primary)
            undo.callback(os.close, self.far_bpf)
            self.far = FethDevice(self.far_bpf, open_ndrv(self.primary), name=self.primary)
            undo.pop_all()

    def close(self) -> None:
        self.near.close()
        self.far.close()


@dataclass
class FethPairs:
    """Two pairs, and what was found out about this Mac so far.

    ``early`` was made when the largest MTU was ``limit_before``, ``late`` after it was raised. No
    interface has the name ``absent``.
    """

    interfaces: DarwinInterfaces
    early: OpenPair
    late: OpenPair
    limit_before: int
    requested_mac: bytes
    absent: str
    receives: bool = False
    """Whether BPF receives what the IP stack sends. If not, no other fact can be checked."""
    injects: bool = False
    """Whether the IP stack receives what AF_NDRV sends."""

    @property
    def release(self) -> tuple[int, int]:
        """The release of Darwin, major and minor."""
        major, minor = (os.uname().release + ".0").split(".")[:2]
        return int(major), int(minor)


def refused(call: Callable[[], object], *expected: int) -> str:
    """Make a call that must fail with one of these errnos. Raises DiffersError if it does not."""
    try:
        call()
    except OSError as error:
        if error.errno not in expected:
            raise DiffersError(reason(error)) from error
        return ""
    raise DiffersError(
        f"it works; expected {' or '.join(errno.errorcode[each] for each in expected)}"
    )


@contextmanager
def closed_later(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end of the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def new_ndrv() -> socket.socket:
    """Return an AF_NDRV socket that is neither bound nor connected. Raises OSError."""
    return socket.socket(AF_NDRV, socket.SOCK_RAW, 0)


def send_buffer(descriptor: int, size: int | None = None) -> int:
    """Return the send buffer of an AF_NDRV socket, in bytes. Set it first if ``size`` is given."""
    # Python cannot get the family of such a socket from the kernel, so we pass it.
    with socket.socket(AF_NDRV, socket.SOCK_RAW, 0, fileno=os.dup(descriptor)) as ndrv:
        if size is not None:
            ndrv.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        return ndrv.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def buffer_length(descriptor: int) -> int:
    """Return the buffer length of a BPF device, in bytes. A read must ask for exactly that."""
    return unpack_u32(ioctl(descriptor, Request.BIOCGBLEN, pack_u32(0)))
