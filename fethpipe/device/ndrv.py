"""AF_NDRV: send whole frames out of an interface, one by each write (bsd/net/ndrv.c).

Such a socket cannot receive IP packets, because the IP stack takes them first. So BPF receives.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..abi import darwin
from ..errors import DeviceError, reason
from ..ether.frame import HEADER_LENGTH, Buffer
from ..stats import Counters
from ..system.libc_darwin import bind, connect
from .refusals import REFUSALS, gone

_VLAN_TAG = 4
# In bytes. The kernel starts with 8192, and refuses a longer frame. This has room for the longest
# possible frame, since the MTU may be raised while we run. No queue grows with it.
_SEND_BUFFER = darwin.FETH_MTU[-1] + HEADER_LENGTH + _VLAN_TAG

# EPIPE: the socket is cut off when its interface is destroyed.
_GONE = (errno.EPIPE, errno.ENXIO)
# ENOBUFS passes when the kernel has caught up, if ever. These pauses are for a whole batch and not
# for each frame: they limit how long a batch may take.
_PAUSES_SECONDS = (0.0001, 0.0005, 0.002)

_T = TypeVar("_T")


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
            if ndrv.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < _SEND_BUFFER:
                ndrv.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "SO_SNDBUF") from error
        # Both calls are needed, each once: without connect a socket has no destination, and a
        # second connect shuts it down.
        address = darwin.pack_sockaddr_ndrv(interface)
        bind(ndrv.fileno(), address)
        connect(ndrv.fileno(), address)
        return ndrv.detach()


class NdrvWriter:
    """The sending half of a device, from a descriptor of :func:`open_ndrv`.

    ``name`` is the name of the device in messages. The caller owns the descriptor, and closes it.
    """

    def __init__(self, descriptor: int, name: str, counters: Counters) -> None:
        self._descriptor = descriptor
        self._name = name
        self._counters = counters

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames in order. Those that the kernel refuses are counted by reason.

        Raises DeviceError.
        """
        self._write_each(os.write, frames)

    def write_vectored(self, buffers: Sequence[Buffer]) -> None:
        """Send one frame that lies in several buffers, like ``write_frames``."""
        self._write_each(os.writev, (buffers,))

    def _write_each(self, write: Callable[[int, _T], int], frames: Sequence[_T]) -> None:
        descriptor = self._descriptor
        pauses = iter(_PAUSES_SECONDS)
        size = refused = 0
        for frame in frames:
            while True:
                try:
                    size += write(descriptor, frame)
                except OSError as error:
                    if error.errno == errno.ENOBUFS:
                        pause = next(pauses, None)
                        if pause is not None:
                            time.sleep(pause)
                            continue
                    self._count_refusal(error)
                    refused += 1
                break
        self._counters.frames_sent += len(frames) - refused
        self._counters.bytes_sent += size

    def _count_refusal(self, error: OSError) -> None:
        if error.errno in REFUSALS:
            self._counters.drop(REFUSALS[error.errno])
        elif error.errno in _GONE:
            raise gone(self._name, error) from error
        else:
            raise DeviceError(f"cannot send to {self._name}: AF_NDRV: {reason(error)}") from error
