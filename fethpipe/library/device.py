"""An Ethernet device for other people's programs: receive frames and send them, one or many.

Whatever the kernel calls the device, and however it came to be open, this is how to use it. Nothing
here blocks but the two that take a ``timeout``; they wait with select(2).
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

from ..device import VectoredDevice
from ..errors import DeviceError
from ..ether.frame import Buffer
from ..stats import Counters


class EthernetDevice:
    """An open device; a context manager that closes it.

    Closing it also destroys the interfaces that were made for it. Every method raises DeviceError
    when the interface has gone, or the device is closed. A frame is whole, with its 14 bytes of
    Ethernet header and without a frame check sequence.
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
        """Return what passed, and what was dropped, by reason."""
        return self._device.counters

    def kernel_drops(self) -> int:
        """Return how many frames the kernel dropped because they were not received in time."""
        self._check_open()
        return self._device.kernel_drops()

    def fileno(self) -> int:
        """Return the descriptor that is readable while the kernel holds frames.

        For a loop of your own: when it is readable, call ``receive_batch(timeout=0)``, which
        leaves nothing behind that the descriptor would not tell of.
        """
        self._check_open()
        return self._device.fileno()

    def receive(self, timeout: float | None = None) -> bytes:
        """Return the next frame; TimeoutError if none comes within so many seconds.

        The kernel gives frames by the batch. Those behind the first wait here, where no
        descriptor tells of them, for the next call of this or of ``receive_batch``.
        """
        if not self._held:
            self._held.extend(self.receive_batch(timeout))
            if not self._held:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), self.name)
        return self._held.popleft()

    def receive_batch(self, timeout: float | None = None) -> list[bytes]:
        """Return the frames that the kernel gives at once; none if none comes within so many
        seconds. 0 does not wait, None waits for ever.
        """
        self._check_open()
        if self._held:
            frames = list(self._held)
            self._held.clear()
            return frames
        frames = self._device.read_frames()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not frames:
            # What made it readable may turn out to be nothing: a frame that the device drops.
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            select.select([self], [], [], left)
            frames = self._device.read_frames()
        return frames

    def __iter__(self) -> Iterator[bytes]:
        """Yield frames as they come, for as long as the interface is there."""
        while True:
            yield self.receive()

    def send(self, frame: bytes) -> bool:
        """Send a frame and return whether the kernel took it; why not, ``counters.drops`` tells."""
        return self.send_batch((frame,)) == 1

    def send_batch(self, frames: Sequence[bytes]) -> int:
        """Send frames in order and return how many the kernel took; it may refuse any of them."""
        self._check_open()
        before = self.counters.frames_sent
        self._device.write_frames(frames)
        return self.counters.frames_sent - before

    def send_vectored(self, buffers: Sequence[Buffer]) -> bool:
        """Send one frame that lies in several buffers, without joining them, as ``send`` does."""
        self._check_open()
        before = self.counters.frames_sent
        self._device.write_vectored(buffers)
        return self.counters.frames_sent > before

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def close(self) -> None:
        """Close the device, and destroy what was made for it; safe to call twice."""
        self._closed = True
        self._held.clear()
        self._cleanup.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError(f"{self.name} is closed")

    def __enter__(self) -> EthernetDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
