"""Send frames by one write each, and handle the errors of the kernel."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ..errors import DeviceError, reason
from ..ether.frame import HEADER_LENGTH, Buffer, can_be_sent
from ..stats import Counters

TOO_LONG = "too long for the device"
REFUSALS: Mapping[int | None, str] = {
    errno.EMSGSIZE: TOO_LONG,
    errno.ENETDOWN: "interface down",
    errno.ENOBUFS: "kernel out of buffers",
    errno.ENOMEM: "kernel out of buffers",
    errno.EAGAIN: "kernel queue full",
    errno.EINVAL: "refused by the kernel",
}
"""Why a frame was dropped, by errno. Any other errno is about the device, not about the frame."""

_GONE = (errno.ENXIO, errno.ENODEV)

_T = TypeVar("_T")


def gone(name: str, error: OSError) -> DeviceError:
    """Return the error that says that the interface of this name no longer exists."""
    return DeviceError(f"{name} has gone: {reason(error)}", hint="somebody deleted it; start again")


def sendable(frames: Sequence[bytes], limit: int, counters: Counters) -> Sequence[bytes]:
    """Return the frames that may be passed to the kernel, and count the others as dropped.

    ``limit`` is the ``frame_limit`` of the device in bytes.
    """
    lengths = [len(frame) for frame in frames]
    if not frames or (min(lengths) >= HEADER_LENGTH and max(lengths) <= limit):
        return frames
    for length in lengths:
        if not can_be_sent(length, limit):
            counters.drop(TOO_LONG if length > limit else "too short for a frame")
    return [frame for frame in frames if can_be_sent(len(frame), limit)]


class FrameWriter:
    """Sends through a socket of a device. The caller owns its descriptor, and closes it.

    ``name`` is the device and ``kind`` the socket in messages. ``pauses`` are the seconds to wait
    for the kernel when it is out of buffers, in all for one batch.
    """

    def __init__(
        self,
        descriptor: int,
        name: str,
        counters: Counters,
        *,
        kind: str,
        pauses: Sequence[float] = (),
    ) -> None:
        self._descriptor = descriptor
        self._name = name
        self._counters = counters
        self._kind = kind
        self._pauses = pauses

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
        pauses = iter(self._pauses)
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
            why = f"{self._kind}: {reason(error)}"
            raise DeviceError(f"cannot send to {self._name}: {why}") from error
