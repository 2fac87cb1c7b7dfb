"""An Ethernet device for other programs: receive and send frames, one or many at a time.

It is the same for every kind of device, however it was opened. Only the two methods with a
``timeout`` block; they wait with select(2).
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from ..device import VectoredDevice
from ..errors import DeviceError, UsageError
from ..ether.frame import HEADER_LENGTH, Buffer, can_be_sent
from ..stats import Counters


class EthernetDevice:
    """An open device. As a context manager, it closes the device at the end of the block.

    Closing it also destroys the interfaces that were made for it. Every method raises DeviceError
    if the interface no longer exists, or the device is closed. A frame includes its Ethernet header
    of 14 bytes, but no frame check sequence.
    """

    def __init__(
        self,
        device: VectoredDevice,
        *,
        io_interface: str | None = None,
        destroy: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = device.name
        self.io_interface = io_interface
        self._device = device
        self._held: deque[bytes] = deque()
        self._cleanup = ExitStack()
        self._cleanup.callback(destroy)
        self._cleanup.callback(device.close)
        self._closed = False

    @property
    def counters(self) -> Counters:
        """Return the counters of frames and bytes that passed, and of drops by reason."""
        return self._device.counters

    def kernel_drops(self) -> int:
        """Return the number of frames that the kernel dropped because its queue was full."""
        self._check_open()
        return self._device.kernel_drops()

    def fileno(self) -> int:
        """Return the descriptor, which is readable while the kernel holds frames.

        For a loop of your own: when it is readable, call ``receive_batch(timeout=0)``. Unlike
        ``receive``, it leaves no frames behind for which the descriptor is not readable.
        """
        self._check_open()
        return self._device.fileno()

    def receive(self, timeout: float | None = None) -> bytes:
        """Return the next frame. Raises TimeoutError if none comes within ``timeout`` seconds.

        The kernel returns frames in batches. The frames behind the first are kept here, for the
        next call of this or of ``receive_batch``; the descriptor is not readable because of them.
        """
        if not self._held:
            self._held.extend(self.receive_batch(timeout))
            if not self._held:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), self.name)
        return self._held.popleft()

    def receive_batch(self, timeout: float | None = None) -> list[bytes]:
        """Return the next batch of frames, empty if none comes within ``timeout`` seconds.

        0 does not wait, None waits for ever.
        """
        self._check_open()
        if self._held:
            frames = list(self._held)
            self._held.clear()
            return frames
        frames = self._device.read_frames()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not frames:
            # It may be readable and still give no frame, for example one that the device drops.
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            select.select([self], [], [], left)
            frames = self._device.read_frames()
        return frames

    def __iter__(self) -> Iterator[bytes]:
        """Yield frames as they come, until DeviceError says that the interface has gone."""
        while True:
            yield self.receive()

    def send(self, frame: bytes) -> bool:
        """Send a frame, and return whether the kernel took it. ``counters.drops`` tells why not.

        Raises UsageError for a frame of under 14 bytes or over ``frame_limit``.
        """
        return self.send_batch((frame,)) == 1

    def send_batch(self, frames: Sequence[bytes]) -> int:
        """Send frames in order, and return how many the kernel took. It can refuse any of them.

        Raises UsageError like ``send``, before it sends any.
        """
        self._check_open()
        for frame in frames:
            self._check_length(len(frame))
        before = self.counters.frames_sent
        self._device.write_frames(frames)
        return self.counters.frames_sent - before

    def send_vectored(self, buffers: Sequence[Buffer]) -> bool:
        """Send one frame that lies in several buffers, without joining them, like ``send``."""
        self._check_open()
        self._check_length(sum(map(len, buffers)))
        before = self.counters.frames_sent
        self._device.write_vectored(buffers)
        return self.counters.frames_sent > before

    @property
    def frame_limit(self) -> int:
        """Return the length in bytes of the longest frame that can be sent, whatever the MTU."""
        return self._device.frame_limit

    @property
    def closed(self) -> bool:
        """Whether the device is closed."""
        return self._closed

    def close(self) -> None:
        """Close the device, and destroy what was made for it. Safe to call twice."""
        self._closed = True
        self._held.clear()
        self._cleanup.close()

    def _check_length(self, length: int) -> None:
        if not can_be_sent(length, self.frame_limit):
            raise UsageError(
                f"cannot send a frame of {length} bytes to {self.name}",
                hint=f"a frame has {HEADER_LENGTH} to {self.frame_limit} bytes",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError(f"{self.name} is closed")

    def __enter__(self) -> EthernetDevice:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
