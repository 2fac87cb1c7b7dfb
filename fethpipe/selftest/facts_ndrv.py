"""Facts about AF_NDRV sockets (bsd/net/ndrv.c), which send whole frames out of an interface."""

from __future__ import annotations

import errno
import os

from ..abi.darwin import FETH_FRAME_LIMIT, pack_sockaddr_ndrv
from ..device.ndrv import open_ndrv
from ..system.libc_darwin import bind
from .frames import make_frame
from .pairs import FethPairs, closed_later, new_ndrv, refused, send_buffer
from .report import DiffersError, Report, expect

_DEFAULT_SEND_BUFFER = 8192
_SMALL_SEND_BUFFER = 4096


def check_ndrv(report: Report, pairs: FethPairs) -> None:
    """Check the facts about sockets that do not depend on whether frames arrive."""
    pair = pairs.late

    def default() -> str:
        with new_ndrv() as ndrv:
            size = send_buffer(ndrv.fileno())
        return expect(size == _DEFAULT_SEND_BUFFER, f"{size}")

    def too_long() -> str:
        with closed_later(open_ndrv(pair.io)) as descriptor:
            size = send_buffer(descriptor, _SMALL_SEND_BUFFER)
            return refused(lambda: os.write(descriptor, make_frame(size + 1)), errno.EMSGSIZE)

    def enlarged() -> str:
        size = send_buffer(pair.ndrv)
        if size != FETH_FRAME_LIMIT:
            raise DiffersError(f"{size}, but we asked for {FETH_FRAME_LIMIT}")
        return f"{size}"

    def unconnected() -> str:
        with new_ndrv() as ndrv:
            bind(ndrv.fileno(), pack_sockaddr_ndrv(pair.io))
            return refused(lambda: os.write(ndrv.fileno(), make_frame(60)), errno.EDESTADDRREQ)

    check = report.check
    check(
        "NDRV send buffer",
        f"an AF_NDRV socket starts with room for {_DEFAULT_SEND_BUFFER} bytes",
        default,
    )
    check("NDRV too long", "a frame longer than the send buffer is EMSGSIZE", too_long)
    check("NDRV enlarged", f"the send buffer can be set to {FETH_FRAME_LIMIT} bytes", enlarged)
    check(
        "NDRV absent",
        "binding to an interface that does not exist is EADDRNOTAVAIL",
        lambda: refused(lambda: open_ndrv(pairs.absent), errno.EADDRNOTAVAIL),
    )
    check("NDRV unconnected", "sending without connect is EDESTADDRREQ", unconnected)
