"""Facts about feth interfaces (bsd/net/if_fake.c): how they are made, joined, set and destroyed."""

from __future__ import annotations

import errno
import os
import select

from ..abi.darwin import FETH_MTU
from ..netif.darwin import UNSUPPORTED
from .frames import make_frame
from .pairs import FethPairs, buffer_length, refused
from .report import DiffersError, NotAvailableError, Report, expect

_MTU_SYSCTL = (19, 0)  # Darwin 19 is macOS 10.15


def check_feth(report: Report, pairs: FethPairs) -> None:
    """Check the facts about existing interfaces."""
    interfaces, pair, early = pairs.interfaces, pairs.late, pairs.early

    def kept() -> str:
        if pairs.release < _MTU_SYSCTL:
            raise NotAvailableError("before macOS 10.15 nothing limits it")
        after = interfaces.largest_mtu(early.primary)
        if after != pairs.limit_before:
            raise DiffersError(f"it went from {pairs.limit_before} to {after}")
        return f"{after}"

    def raised() -> str:
        largest = interfaces.largest_mtu(pair.primary)
        return expect(largest == FETH_MTU[-1], f"{largest}")

    def beyond() -> str:
        largest = interfaces.largest_mtu(early.io)
        return refused(lambda: interfaces.set_mtu(early.io, largest + 1), errno.EINVAL)

    def mac() -> str:
        return expect(pair.mac == pairs.requested_mac, pair.mac.hex(":"))

    def active() -> str:
        return expect(all(interfaces.active(name) for name in (pair.primary, pair.io)), "inactive")

    def peered() -> str:
        found = interfaces.peer(pair.primary)
        return expect(found == pair.io, f"{found!a} for {pair.io}")

    check = report.check
    check(
        "feth exists",
        "making a feth that exists is EEXIST",
        lambda: refused(lambda: interfaces.create(pair.primary), errno.EEXIST),
    )
    check(
        "feth absent",
        "asking for an interface that does not exist is ENXIO",
        lambda: refused(lambda: interfaces.flags(pairs.absent), errno.ENXIO),
    )
    check("peer", "a feth tells its peer", peered)
    check(
        "peer busy",
        "joining a feth that has a peer is EBUSY",
        lambda: refused(lambda: interfaces.set_peer(pair.primary, pair.io), errno.EBUSY),
    )
    check(
        "peer unsupported",
        "asking what is no feth for its peer is refused as unsupported",
        lambda: refused(lambda: interfaces.peer("lo0"), *UNSUPPORTED),
    )
    check("link", "two peers have an active link", active)
    check("MAC", "a feth takes the MAC that it is given", mac)
    check("max_mtu raised", f"raised before, the largest MTU is {FETH_MTU[-1]}", raised)
    check("max_mtu kept", "a feth keeps the largest MTU that it was made with", kept)
    check("mtu refused", "a larger MTU is EINVAL", beyond)


def check_gone(report: Report, pairs: FethPairs) -> None:
    """Check what happens to users of an interface that goes down or is destroyed.

    Afterwards the first pair no longer exists.
    """
    interfaces, early = pairs.interfaces, pairs.early
    frame = make_frame(60)
    length = buffer_length(early.bpf)

    def down() -> str:
        interfaces.set_up(early.io, up=False)
        try:
            return refused(lambda: os.write(early.ndrv, frame), errno.ENETDOWN)
        finally:
            interfaces.set_up(early.io)

    def announced() -> str:
        early.far.write_frames([frame])
        waits = bool(select.select([early.bpf], [], [], 1.0)[0])
        interfaces.destroy(early.io)
        if not select.select([early.bpf], [], [], 1.0)[0]:
            raise DiffersError("select waits")
        if waits and frame not in os.read(early.bpf, length):
            raise DiffersError("the frame that waited is lost")
        return refused(lambda: os.read(early.bpf, length), errno.ENXIO)

    check = report.check
    check("NDRV down", "AF_NDRV on an interface that is down is ENETDOWN", down)
    check("BPF gone", "BPF on a destroyed feth is readable: what waits, then ENXIO", announced)
    check(
        "NDRV gone",
        "AF_NDRV on a destroyed feth is ENXIO",
        lambda: refused(lambda: os.write(early.ndrv, frame), errno.ENXIO),
    )
    check(
        "feth gone",
        "destroying what has gone is ENXIO",
        lambda: refused(lambda: interfaces.destroy(early.io), errno.ENXIO),
    )
