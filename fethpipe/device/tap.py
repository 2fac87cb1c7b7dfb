"""The Linux TAP: each read returns one frame, each write sends one (tuntap.rst).

A TAP with IFF_VNET_HDR has a virtio header before each frame, in both directions and from the
start. It takes super-frames at any time, and makes them while TUNSETOFFLOAD allows it. These
requests need only the descriptor and no privilege.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat

from ..abi import linux
from ..errors import DeviceError, NotAllowedError, reason
from ..ether.frame import HEADER_LENGTH, MAX_FRAME, Buffer
from ..stats import Counters
from ..system.netlink import Netlink
from ..wire.offload import add_headers, needs_no_offload, strip_headers
from ..wire.slots import BATCH_BYTES, BATCH_FRAMES, LONGEST_READ, RecordSlots
from ..wire.superframe import LONG, PLAIN, VNET_LENGTH
from .writer import REFUSALS, gone

TUN_PATH = "/dev/net/tun"

# A read that finds nothing costs an exception, the slowest part of this path. So after a frame that
# came alone (a ping, a keystroke), not every wake-up tries to read a second one: as long as they
# find none, fewer and fewer do, down to one of this many.
_MOST_LONE = 64
_VLAN_TAG = 4
_ANY_LENGTH = 1 << 16
_TCP_OFFLOAD = linux.TUN_F_CSUM | linux.TUN_F_TSO4 | linux.TUN_F_TSO6 | linux.TUN_F_TSO_ECN
_UDP_OFFLOAD = linux.TUN_F_USO4 | linux.TUN_F_USO6
# These errors are about a frame and not about the device (drivers/net/tun.c: tun_get_user).
_REFUSALS = {**REFUSALS, errno.EIO: "interface down"}


def open_tap(name: str, *, attach: bool = False, offload: bool = True) -> tuple[int, str]:
    """Make a TAP, or attach to an existing one. Return its descriptor and its name.

    A ``%d`` in ``name`` lets the kernel choose a number. A TAP that this made disappears when its
    last descriptor is closed. ``offload`` prepares it for super-frames, which cannot be done later.
    Raises DeviceError or NotAllowedError.
    """
    try:
        descriptor = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise NotAllowedError(f"cannot open {TUN_PATH}: {reason(error)}") from error
    except OSError as error:
        raise DeviceError(
            f"cannot open {TUN_PATH}: {reason(error)}", hint="load the tun module: modprobe tun"
        ) from error
    flags = linux.IFF_TAP | linux.IFF_NO_PI | (0 if attach else linux.IFF_TUN_EXCL)
    if offload:
        flags |= linux.IFF_VNET_HDR
    try:
        answer = fcntl.ioctl(descriptor, linux.TUNSETIFF, linux.pack_tun_request(name, flags))
        # A persistent TAP keeps this setting of an earlier process that was killed.
        fcntl.ioctl(descriptor, linux.TUNSETOFFLOAD, 0)
        if offload:
            _prepare_headers(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise _refusal(name, error, attach=attach) from error
    return descriptor, linux.unpack_request_name(answer)


def _prepare_headers(descriptor: int) -> None:
    """Set the header that wire.offload expects, as an earlier process may have set another one."""
    fcntl.ioctl(descriptor, linux.TUNSETVNETHDRSZ, linux.pack_u32(VNET_LENGTH))
    fcntl.ioctl(descriptor, linux.TUNSETVNETLE, linux.pack_u32(1))


def _refusal(name: str, error: OSError, *, attach: bool) -> DeviceError | NotAllowedError:
    tried = f"cannot {'attach to' if attach else 'create'} TAP {name}: TUNSETIFF: {reason(error)}"
    if error.errno == errno.EPERM:
        return NotAllowedError(tried)
    hints = {
        (errno.EBUSY, False): "the name is taken: choose another, or use --attach",
        (errno.EBUSY, True): "another program has it open",
        (errno.EINVAL, True): "it is not a TAP",
        (errno.ENODEV, True): "it does not exist",
    }
    hint = hints.get((error.errno or 0, attach), "choose another name")
    return DeviceError(tried, hint=hint)


class TapDevice:
    """A TAP, from the descriptor that :func:`open_tap` made, here or in another process.

    It is its own :class:`..device.Offload`. In this class only, "packet" means what one system call
    moves: a super-frame if there are virtio headers, otherwise a frame.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.counters = Counters()
        self.frame_limit = MAX_FRAME
        self._descriptor = descriptor
        self.super_frames = _has_headers(descriptor)
        self.header = VNET_LENGTH if self.super_frames else 0
        self.udp = self.super_frames and self._try_udp()
        self._limit = 2
        self._lone = 0  # more wake-ups that read one packet
        self._patience = 1
        self._short = False
        self._longest = _ANY_LENGTH
        self._longest_until = 0.0
        self._netlink: Netlink | None = None
        with suppress(OSError):  # for the counters alone, and a confined process can open none
            self._netlink = Netlink()

    @property
    def offload(self) -> TapDevice:
        return self

    def fileno(self) -> int:
        return self._descriptor

    def read_frames(self) -> list[bytes]:
        packets = self.read_super_frames()
        return strip_headers(packets, self.counters) if self.header else packets

    def write_frames(self, frames: Sequence[bytes]) -> None:
        self.write_super_frames(add_headers(frames) if self.header else frames)

    def write_vectored(self, buffers: Sequence[Buffer]) -> None:
        try:
            size = os.writev(self._descriptor, (PLAIN, *buffers) if self.header else buffers)
        except OSError as error:
            self._refused(error)
            return
        self.counters.frames_sent += 1
        self.counters.bytes_sent += size - self.header

    def enable(self, *, udp: bool, segments: bool = True) -> None:
        """Let the kernel make super-frames from now on. Those in its queue still are frames."""
        wanted = _TCP_OFFLOAD | (_UDP_OFFLOAD if udp and self.udp else 0)
        try:
            self._allow(wanted if segments else linux.TUN_F_CSUM)
        except OSError as error:
            raise gone(self.name, error) from error

    def disable(self) -> None:
        with suppress(OSError):  # if the interface has gone, the next read tells it
            self._allow(0)

    def longest_frame(self) -> int:
        """Return the longest frame that a bridge forwards (net/core/dev.c: is_skb_forwardable), in
        bytes. The MTU is looked up at most once in a second.
        """
        now = time.monotonic()
        if self._netlink and now >= self._longest_until:
            self._longest_until = now + 1
            with suppress(OSError):
                self._longest = self._netlink.link(self.name).mtu + HEADER_LENGTH + _VLAN_TAG
        return self._longest

    def set_carrier(self, *, up: bool) -> None:
        """Set whether the link is up; Linux before 5.0 cannot, and it stays up."""
        with suppress(OSError):
            fcntl.ioctl(self._descriptor, linux.TUNSETCARRIER, linux.pack_u32(up))

    def read_super_frames(self) -> list[bytes]:
        batch: list[bytes] = []
        try:
            if self._lone:
                batch.append(os.read(self._descriptor, LONGEST_READ))
            else:
                # The loop runs in C. The packets before an exception are kept.
                reads = map(os.read, repeat(self._descriptor, self._limit), repeat(LONGEST_READ))
                batch.extend(reads)
        except BlockingIOError:
            pass
        except OSError as error:
            raise gone(self.name, error) from error
        if not batch:
            return batch
        size = sum(map(len, batch))
        self.counters.frames_received += len(batch)
        self.counters.bytes_received += size - len(batch) * self.header
        if self._lone:
            self._lone -= 1
        elif len(batch) == 1:
            self._lone = self._patience
            self._patience = min(2 * self._patience, _MOST_LONE)
            self._short = size < LONG
            self._limit = 2
        else:
            self._patience = 1
            # If packets become longer, only the first batch has too many bytes.
            self._limit = max(2, min(BATCH_FRAMES, BATCH_BYTES * len(batch) // size))
        return batch

    def write_super_frames(self, super_frames: Sequence[bytes | memoryview]) -> None:
        if len(super_frames) == 1:
            self.write_lone(super_frames[0])
            return
        sizes: list[int] = []
        writes = map(os.write, repeat(self._descriptor), super_frames)
        while True:
            try:
                sizes.extend(writes)  # in C too; it goes on behind a packet that was refused
                break
            except OSError as error:
                self._refused(error)
        self.counters.frames_sent += len(sizes)
        self.counters.bytes_sent += sum(sizes) - len(sizes) * self.header

    def read_lone(self) -> bytes:
        """Return the next super-frame, if the last one was short and came alone."""
        if not self._lone or not self._short:
            return b""
        self._lone -= 1
        try:
            packet = os.read(self._descriptor, LONGEST_READ)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise gone(self.name, error) from error
        counters = self.counters
        counters.frames_received += 1
        counters.bytes_received += len(packet) - self.header
        return packet

    def write_lone(self, super_frame: bytes | memoryview) -> None:
        try:
            size = os.write(self._descriptor, super_frame)
        except OSError as error:
            self._refused(error)
            return
        counters = self.counters
        counters.frames_sent += 1
        counters.bytes_sent += size - self.header

    def read_into(self, slots: RecordSlots) -> tuple[int, list[bytes]]:
        """Read directly into records, one packet into each, until one has another length."""
        expected = size = slots.skipped + slots.length
        count = 0
        try:
            for buffers in slots.buffers:
                size = os.readv(self._descriptor, buffers)
                if size != expected:
                    break
                count += 1
        except BlockingIOError:
            pass
        except OSError as error:
            raise gone(self.name, error) from error
        others = [slots.packet(count, size)] if size != expected else []
        received = count + len(others)
        self.counters.frames_received += received
        self.counters.bytes_received += (
            count * expected + sum(map(len, others)) - received * self.header
        )
        if slots.skipped:
            if not needs_no_offload(slots.skipped_bytes(count)):
                others = [slots.packet(each, expected) for each in range(count)] + others
                count = 0
            others = strip_headers(others, self.counters)
        return count, others

    def kernel_drops(self) -> int:
        """Return the number of frames that the queue of the TAP dropped since it was made."""
        with suppress(OSError):
            if self._netlink:
                return self._netlink.link(self.name).tx_dropped
        return 0

    def close(self) -> None:
        """Close the descriptor. A TAP that we made disappears with its last descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if self._netlink:
            self._netlink.close()

    def _refused(self, error: OSError) -> None:
        if error.errno not in _REFUSALS:
            raise gone(self.name, error) from error
        self.counters.drop(_REFUSALS[error.errno])

    def _try_udp(self) -> bool:
        try:
            self._allow(_TCP_OFFLOAD | _UDP_OFFLOAD)
        except OSError:
            return False
        self._allow(0)
        return True

    def _allow(self, offload: int) -> None:
        fcntl.ioctl(self._descriptor, linux.TUNSETOFFLOAD, offload)


def _has_headers(descriptor: int) -> bool:
    """Return whether each frame has a virtio header. That was decided when the TAP was opened."""
    answer = fcntl.ioctl(descriptor, linux.TUNGETIFF, linux.pack_tun_request("", 0))
    return bool(linux.unpack_tun_flags(answer) & linux.IFF_VNET_HDR)
