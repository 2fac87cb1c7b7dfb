"""AF_NDRV: send whole frames out of an interface, one by each write (bsd/net/ndrv.c).

Such a socket cannot receive IP packets, because the IP stack takes them first. So BPF receives.
"""

from __future__ import annotations

import socket

from ..abi import darwin
from ..abi.darwin import Request
from ..stats import Counters
from ..system.libc_darwin import bind, connect, ioctl
from .writer import FrameWriter

# ENOBUFS passes when the kernel has caught up, if ever. These pauses are for a whole batch and not
# for each frame: they limit how long a batch may take, to half a millisecond more.
_PAUSES_SECONDS = (0.0001, 0.0004)


def open_ndrv(interface: str) -> int:
    """Return the descriptor of a socket that sends out of an interface. Needs root.

    Raises OSError, with the failed call in ``filename``.
    """
    try:
        ndrv = socket.socket(darwin.AF_NDRV, socket.SOCK_RAW, 0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "socket") from error
    with ndrv:
        ndrv.setblocking(False)
        try:
            # The kernel starts with 8192 bytes, and refuses a longer frame. Not more than the
            # longest frame, so that it refuses whatever is longer. No queue grows with it.
            ndrv.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, darwin.FETH_FRAME_LIMIT)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "SO_SNDBUF") from error
        # Both calls are needed, each once: without connect a socket has no destination, and a
        # second connect shuts it down.
        address = darwin.pack_sockaddr_ndrv(interface)
        bind(ndrv.fileno(), address)
        connect(ndrv.fileno(), address)
        return ndrv.detach()


def mtu_of(descriptor: int, name: str) -> int:
    """Return the MTU of an interface in bytes, asked through a socket of :func:`open_ndrv`.

    A confined process can open no other. Raises OSError.
    """
    return darwin.IFREQ_NUMBER.number(
        ioctl(descriptor, Request.SIOCGIFMTU, darwin.IFREQ.pack(name))
    )


def ndrv_writer(descriptor: int, name: str, counters: Counters) -> FrameWriter:
    """Return what sends through a descriptor of :func:`open_ndrv`."""
    return FrameWriter(descriptor, name, counters, kind="AF_NDRV", pauses=_PAUSES_SECONDS)
