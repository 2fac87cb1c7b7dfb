"""BPF: receive the frames that the peer of a feth sends, many by one read (bpf(4) of macOS).

A device has two buffers in the kernel: one fills while the other waits to be read. A read must ask
for exactly the length of a buffer, and returns everything that has come.

BPF can also send, where the kernel takes many frames by one write (BIOCSBATCHWRITE, macOS 14.1).
That is private to Apple's own programs, and may change or disappear.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable, Sequence

from ..abi import darwin
from ..abi.darwin import Request
from ..errors import DeviceError, reason
from ..ether.frame import HEADER_LENGTH
from ..stats import Counters
from ..system.libc_darwin import ioctl
from .writer import REFUSALS, gone

# Twice this is what the kernel holds for us, as much as a TAP's queue of 1000 full frames; more
# would be latency, not speed. Before macOS 13 the kernel makes 512 KiB of it.
_BUFFER_LENGTH = 1 << 20
# Other programs try only bpf0, so leave it to them.
_FIRST_UNIT = 1

# A frame to the nearest bridge, of the type for local experiments, from a local address.
_TEST_HEADER = bytes.fromhex("0180c200000e 02005e005301 88b5")
_TEST_PAYLOAD = 46
_TEST_SECONDS = 0.2


def open_bpf(interface: str, *, length: int = _BUFFER_LENGTH) -> int:
    """Return the descriptor of a BPF device that receives on an interface. Needs root.

    It does not receive what is sent from its own side, through AF_NDRV or BPF. ``length`` is the
    length of its buffer in bytes. Raises OSError, or DeviceError if all devices are in use.
    """
    descriptor = _open_free_device()
    try:
        # The order matters: the length must be set before the interface, and the last two requests
        # need an interface.
        ioctl(descriptor, Request.BIOCSBLEN, darwin.pack_u32(length))
        ioctl(descriptor, Request.BIOCIMMEDIATE, darwin.pack_u32(1))
        ioctl(descriptor, Request.BIOCSSEESENT, darwin.pack_u32(0))
        ioctl(descriptor, Request.BIOCSETIF, darwin.IFREQ.pack(interface))
        ioctl(descriptor, Request.BIOCSHDRCMPLT, darwin.pack_u32(1))
        ioctl(descriptor, Request.BIOCPROMISC)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open_free_device() -> int:
    """Open the first device that is not in use. Opening the last one makes the next one."""
    for unit in range(_FIRST_UNIT, darwin.BPF_MAXDEVICES):
        try:
            return os.open(f"/dev/bpf{unit}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            break
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
    raise DeviceError(
        "cannot open a BPF device: all are in use", hint="end a program that captures packets"
    )


def set_see_sent(descriptor: int, *, on: bool = True) -> None:
    """Let a BPF device also receive what is sent from its own side. Raises OSError."""
    ioctl(descriptor, Request.BIOCSSEESENT, darwin.pack_u32(on))


def set_batch_write(descriptor: int) -> None:
    """Let each write to a BPF device have many BPF records. Raises OSError if the kernel cannot."""
    ioctl(descriptor, Request.BIOCSBATCHWRITE, darwin.pack_u32(1))


def batches_leave(descriptor: int) -> bool:
    """Return whether a batch of two test frames leaves through a device that takes batches.

    They go to an address that no bridge passes on. What the device receives meanwhile is lost.
    """
    frames = [_TEST_HEADER + os.urandom(_TEST_PAYLOAD) for _ in range(2)]
    seen: list[bytes] = []
    deadline = time.monotonic() + _TEST_SECONDS
    try:
        set_see_sent(descriptor)
        counters = Counters()
        reader = BpfReader(descriptor, "", counters)
        BpfBatchWriter(descriptor, "", counters).write_frames(frames)
        while counters.frames_sent and seen != frames:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                break
            seen += [frame for frame in reader.read_frames() if frame in frames]
        set_see_sent(descriptor, on=False)
    except (OSError, DeviceError):
        return False
    return seen == frames


class BpfReader:
    """The receiving half of a device, from a descriptor of :func:`open_bpf`.

    ``name`` is the name of the device in messages. The caller owns the descriptor, and closes it.
    """

    def __init__(self, descriptor: int, name: str, counters: Counters) -> None:
        answer = ioctl(descriptor, Request.BIOCGBLEN, darwin.pack_u32(0))
        # Use the same buffer again: to make a new one costs more than the read.
        self._buffer = memoryview(bytearray(darwin.unpack_u32(answer)))
        self._descriptor = descriptor
        self._name = name
        self._counters = counters
        self._kernel_drops = 0

    def read_frames(self) -> list[bytes]:
        """Return the frames of one read, [] if none wait. Raises DeviceError."""
        try:
            length = os.readv(self._descriptor, (self._buffer,))
        except BlockingIOError:
            return []
        except OSError as error:
            raise self._failed(error) from error
        frames, damaged = darwin.unpack_bpf_batch(bytes(self._buffer[:length]))
        if damaged:
            self._counters.drop("damaged by the kernel", damaged)
        self._counters.frames_received += len(frames)
        self._counters.bytes_received += sum(map(len, frames))
        return frames

    def kernel_drops(self) -> int:
        try:
            answer = ioctl(self._descriptor, Request.BIOCGSTATS, bytes(darwin.BPF_STAT_SIZE))
        except OSError:  # the interface has gone; the last known number stays
            return self._kernel_drops
        self._kernel_drops = darwin.unpack_bpf_drops(answer)
        return self._kernel_drops

    def _failed(self, error: OSError) -> DeviceError:
        if error.errno == errno.ENXIO:
            return gone(self._name, error)
        return DeviceError(f"cannot receive from {self._name}: BPF: {reason(error)}")


# What the kernel says of frames. EINVAL is not among them: it is about the records.
_OF_FRAMES = REFUSALS.keys() - {errno.EINVAL}


class BpfBatchWriter:
    """Sends through BPF, each batch by one write. The caller owns the descriptor.

    The kernel checks the whole batch before it sends the first frame of it, so one frame that it
    refuses stops all. It sets a batch no limit (bsd/net/bpf.c: bpf_movein_batch): how many frames
    there are to a write is up to what one read of the stream brings. A pipe of macOS holds 64 KiB,
    which is 40 frames at an MTU of 1500, and 4 at 16370.

    ``mtu`` tells the MTU in bytes. With it, a refused frame that the MTU allows is no drop: this
    kernel takes less than it should.
    """

    def __init__(
        self,
        descriptor: int,
        name: str,
        counters: Counters,
        *,
        mtu: Callable[[], int] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._name = name
        self._counters = counters
        self._mtu = mtu

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames in order. Those that the kernel refuses are counted by reason.

        Raises DeviceError if the interface has gone, and OSError if the kernel does not take
        batches as it should.
        """
        try:
            self._write(frames)
        except OSError as error:
            if error.errno == errno.EMSGSIZE and len(frames) > 1:
                for frame in frames:  # one of them is longer than the MTU allows
                    self.write_frames((frame,))
            elif error.errno == errno.EMSGSIZE and self._fits(frames[0]):
                raise
            elif error.errno == errno.ENXIO:
                raise gone(self._name, error) from error
            elif error.errno in _OF_FRAMES:
                self._counters.drop(REFUSALS[error.errno], len(frames))
            else:
                raise
            return
        self._counters.frames_sent += len(frames)
        self._counters.bytes_sent += sum(map(len, frames))

    def _fits(self, frame: bytes) -> bool:
        return self._mtu is not None and len(frame) <= self._mtu() + HEADER_LENGTH

    def _write(self, frames: Sequence[bytes]) -> None:
        batch = darwin.pack_bpf_batch(frames)
        if os.write(self._descriptor, batch) != len(batch):
            raise OSError(errno.EIO, "the kernel took a part of the batch only")
