"""Facts about BPF devices (bsd/net/bpf.c): what they receive, its format, and what they send."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial

from ..abi import darwin
from ..abi.darwin import Request
from ..device.bpf import BpfBatchWriter, open_bpf, set_batch_write
from ..errors import reason
from ..ether.datagram import has_whole_checksum, make_datagram
from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
from ..system.libc_darwin import ioctl
from .frames import PATIENCE_SECONDS, drain, is_ours, make_frame, receive
from .pairs import ADDRESS, FethPairs, buffer_length, closed_later, refused
from .report import DiffersError, NotAvailableError, Report, expect

_BUFFER = 1 << 20
_OLD_BUFFER = 1 << 19
_LARGE_BUFFERS = (22, 0)  # Darwin 22 is macOS 13
_LONG_WRITES = (23, 0)  # macOS 14
_OLD_LONGEST_WRITE = 2048
_BATCH_WRITES = (23, 1)  # macOS 14.1
_SMALL_BUFFER = 4096
_OVERFLOW = 400

_BURST = 64
# A record of 18 + 62 bytes fills units of 4, 8 and 16: it tells of order, whatever the alignment.
_EVEN_SIZE = 62
# After one of 18 + 63 bytes, the next starts 3 bytes on in units of 4 and 7 in units of 8.
_ODD_SIZE = 63
_RECORD_HEADER = struct.Struct("<8xIIH")
_HEADER_LENGTH = 18

_HOST = ADDRESS.partition("/")[0]
_OTHER_HOST, _BROADCAST = "198.51.100.2", "198.51.100.255"
_OTHER_MAC = bytes.fromhex("0200 5e00 5322")
_DISCARD_PORT = 9


def check_bpf(report: Report, pairs: FethPairs) -> None:
    """Check the facts about devices, and whether frames pass at all, in each direction."""
    pair, check = pairs.late, report.check
    expected = _BUFFER if pairs.release >= _LARGE_BUFFERS else _OLD_BUFFER
    check(
        "BPF buffer",
        f"BPF grants a buffer of {expected} bytes",
        partial(_has_buffer, pair.bpf, expected),
    )
    length = darwin.pack_u32(_SMALL_BUFFER)
    check(
        "BPF length late",
        "setting the length of an attached BPF device is EINVAL",
        lambda: refused(lambda: ioctl(pair.far_bpf, Request.BIOCSBLEN, length), errno.EINVAL),
    )
    check(
        "BPF read length",
        "a read of another length is EINVAL",
        lambda: refused(lambda: os.read(pair.far_bpf, _SMALL_BUFFER), errno.EINVAL),
    )
    check(
        "BPF absent",
        "attaching BPF to an interface that does not exist is ENXIO",
        lambda: refused(lambda: open_bpf(pairs.absent), errno.ENXIO),
    )
    pairs.receives = check(
        "reception", "BPF gets what the IP stack sends", partial(_receive_from_stack, pairs)
    )
    check("checksums", "what the IP stack sends has its checksums", partial(_find_checksum, pairs))
    pairs.injects = check(
        "injection", "the IP stack gets what AF_NDRV sends", partial(_inject_to_stack, pairs)
    )
    check("BPF write", *_longest_write(pairs))


def _has_buffer(descriptor: int, expected: int) -> str:
    found = buffer_length(descriptor)
    return expect(found == expected, f"{found}")


def _send_from_stack(pairs: FethPairs) -> bytes:
    """Let the IP stack broadcast a datagram. Return the frame that comes, b"" if none comes."""
    payload = os.urandom(16)
    drain(pairs.late.near)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.bind((_HOST, 0))
        sender.sendto(payload, (_BROADCAST, _DISCARD_PORT))
    while select.select([pairs.late.near], [], [], PATIENCE_SECONDS)[0]:
        for frame in pairs.late.near.read_frames():
            if payload in frame:
                return frame
    return b""


def _receive_from_stack(pairs: FethPairs) -> str:
    return expect(_send_from_stack(pairs) != b"", "nothing comes")


def _find_checksum(pairs: FethPairs) -> str:
    if not pairs.receives:
        raise NotAvailableError("no frame is received")
    return expect(has_whole_checksum(_send_from_stack(pairs)), "the UDP checksum is wrong")


def _inject_to_stack(pairs: FethPairs) -> str:
    payload = os.urandom(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((_HOST, 0))
        receiver.settimeout(PATIENCE_SECONDS)
        frame = make_datagram(
            payload,
            macs=(_OTHER_MAC, pairs.late.mac),
            addresses=(_OTHER_HOST, _HOST),
            ports=(_DISCARD_PORT, receiver.getsockname()[1]),
        )
        os.write(pairs.late.ndrv, frame)
        try:
            received = receiver.recv(1500)
        except socket.timeout:
            raise DiffersError("nothing comes") from None
    return expect(received == payload, "it comes changed")


def _longest_write(pairs: FethPairs) -> tuple[str, Callable[[], str]]:
    """Return what is expected of single writes, and the function that checks it."""
    pair = pairs.late
    whole = make_frame(pair.mtu + HEADER_LENGTH)
    if pairs.release >= _LONG_WRITES:

        def accept() -> str:
            os.write(pair.bpf, whole)
            drain(pair.far)
            return ""

        return "BPF takes a frame that fills the MTU", accept

    def refuse() -> str:
        os.write(pair.bpf, make_frame(_OLD_LONGEST_WRITE))
        drain(pair.far)
        longer = make_frame(_OLD_LONGEST_WRITE + 1)
        return refused(lambda: os.write(pair.bpf, longer), errno.EIO)

    return f"BPF takes frames of {_OLD_LONGEST_WRITE} bytes, and longer ones are EIO", refuse


# ---- with frames that arrive ----


def check_traffic(report: Report, pairs: FethPairs) -> None:
    """Check the facts about frames that pass."""

    def check(name: str, expected: str, look: Callable[[FethPairs], str]) -> None:
        def guarded() -> str:
            if not (pairs.receives and pairs.injects):
                raise NotAvailableError("no frame passes")
            drain(pairs.late.near, pairs.late.far)
            return look(pairs)

        report.check(name, expected, guarded)

    check("own frames", "BPF does not show what the same side sends", _see_own)
    check("padding", "a frame of 14 bytes is not padded", _see_padding)
    check("VLAN", "a VLAN tag stays in its frame", _see_vlan)
    check("batch read", "one read takes all frames that wait", _read_batch)
    check("record header", f"the header of a record has {_HEADER_LENGTH} bytes", _see_header)
    check(
        "record alignment",
        f"records start on multiples of {darwin.BPF_ALIGNMENT} bytes",
        _see_alignment,
    )
    check("order", "frames come in the order in which they were sent", _see_order)
    check("drops", "what did not fit the buffer is counted", _count_drops)
    check("batch write", "BPF sends many frames with one write", _write_batch)
    check("batch refused", "one bad record has a whole batch refused", _refuse_batch)


def _see_own(pairs: FethPairs) -> str:
    pair = pairs.late
    pair.near.write_frames([make_frame(60)])
    receive(pair.far, 1)
    return expect(not any(is_ours(frame) for frame in pair.near.read_frames()), "it does")


def _see_padding(pairs: FethPairs) -> str:
    pair = pairs.late
    pair.near.write_frames([make_frame(HEADER_LENGTH)])
    arrived = receive(pair.far, 1)
    if not arrived:
        raise DiffersError("it is lost")
    return expect(len(arrived[0]) == HEADER_LENGTH, f"it comes with {len(arrived[0])} bytes")


def _see_vlan(pairs: FethPairs) -> str:
    frame = make_frame(60)
    tagged = frame[:12] + b"\x81\x00\x00\x05" + frame[12:]
    pairs.late.near.write_frames([tagged])
    arrived = receive(pairs.late.far, 1)
    seen = "it comes without" if arrived == [frame] else f"{len(arrived)} come"
    return expect(arrived == [tagged], seen)


def _waiting(pairs: FethPairs, frames: list[bytes]) -> bytes:
    """Send frames, and return what one read returns after all of them have arrived.

    Delivery is not instant on a real Mac: the last one is waited for with a second reader.
    """
    pair = pairs.late
    with closed_later(open_bpf(pair.primary)) as second:
        length = buffer_length(second)
        pair.near.write_frames(frames)
        while select.select([second], [], [], PATIENCE_SECONDS)[0]:
            if frames[-1] in os.read(second, length):
                break
    return os.read(pair.far_bpf, buffer_length(pair.far_bpf))


def _read_batch(pairs: FethPairs) -> str:
    frames = [make_frame(_EVEN_SIZE) for _ in range(_BURST)]
    batch = _waiting(pairs, frames)
    taken = sum(frame in batch for frame in frames)
    if taken != _BURST:
        raise DiffersError(f"{taken} of {_BURST}")
    return f"{taken} of {_BURST}"


def _see_header(pairs: FethPairs) -> str:
    batch = _waiting(pairs, [make_frame(_EVEN_SIZE)])
    length = _RECORD_HEADER.unpack_from(batch)[2]
    return expect(length == _HEADER_LENGTH, f"{length}")


def _see_alignment(pairs: FethPairs) -> str:
    frames = [make_frame(_ODD_SIZE) for _ in range(2)]
    batch = _waiting(pairs, frames)
    captured, _, header = _RECORD_HEADER.unpack_from(batch)
    found = max(map(batch.find, frames))
    if found <= header:
        raise NotAvailableError("a read takes one frame")
    unit = darwin.BPF_ALIGNMENT
    expected = -(-(header + captured) // unit) * unit
    return expect(found - header == expected, f"{found - header} after {header + captured}")


def _see_order(pairs: FethPairs) -> str:
    numbers = [number.to_bytes(4, "big") for number in range(_BURST)]
    pairs.late.near.write_frames([make_frame(_EVEN_SIZE, payload=number) for number in numbers])
    arrived = [frame[HEADER_LENGTH:][:4] for frame in receive(pairs.late.far, _BURST)]
    if arrived != sorted(arrived):
        raise DiffersError("some overtake others")
    return f"{len(arrived)} of {_BURST}"


def _count_drops(pairs: FethPairs) -> str:
    with closed_later(open_bpf(pairs.late.primary, length=_SMALL_BUFFER)) as descriptor:
        for _ in range(_OVERFLOW // _BURST + 1):
            pairs.late.near.write_frames([make_frame(1000) for _ in range(_BURST)])
            receive(pairs.late.far, _BURST)
        answer = ioctl(descriptor, Request.BIOCGSTATS, bytes(darwin.BPF_STAT_SIZE))
    return expect(darwin.unpack_bpf_drops(answer) > 0, "none is counted")


def batch_descriptor(pairs: FethPairs) -> int:
    """Return a BPF device that takes batches. Raises NotAvailableError if the kernel has none."""
    descriptor = open_bpf(pairs.late.io)
    try:
        set_batch_write(descriptor)
    except OSError as error:
        os.close(descriptor)
        since = "" if pairs.release >= _BATCH_WRITES else ", it came with macOS 14.1"
        raise NotAvailableError(f"BIOCSBATCHWRITE: {reason(error)}{since}") from error
    return descriptor


def _write_batch(pairs: FethPairs) -> str:
    frames = [make_frame(_EVEN_SIZE) for _ in range(_BURST)]
    with closed_later(batch_descriptor(pairs)) as descriptor:
        BpfBatchWriter(descriptor, pairs.late.io, Counters()).write_frames(frames)
    arrived = receive(pairs.late.far, _BURST)
    return expect(sorted(arrived) == sorted(frames), f"{len(arrived)} of {_BURST} come")


def _refuse_batch(pairs: FethPairs) -> str:
    good = darwin.pack_bpf_batch([make_frame(_EVEN_SIZE)] * 2)
    bad = _RECORD_HEADER.pack(60, 61, _HEADER_LENGTH) + make_frame(60)
    with closed_later(batch_descriptor(pairs)) as descriptor:
        said = refused(lambda: os.write(descriptor, good + bad), errno.EINVAL, errno.EMSGSIZE)
    if receive(pairs.late.far, 1, seconds=PATIENCE_SECONDS / 10):
        raise DiffersError("those in front of it are sent")
    return said
