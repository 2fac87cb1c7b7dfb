"""Write every frame that passes through a device to a pcap file, for tcpdump and Wireshark.

A capture must never stop the tunnel: frames that cannot be written are left out and counted, with a
warning, and the tunnel does not wait for a slow reader of a named pipe.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from ..errors import reason
from ..ether.frame import Frame
from ..ether.pcap import FILE_HEADER, pack_records
from ..system.output import open_output

log = logging.getLogger("fethpipe")


class Capture:
    """A pcap file that is being written: a new file, or one of this user, which is emptied.

    Raises UsageError as :func:`..system.output.open_output` does.

    As an inspector of a device, it gets all that the device returns, and all that it is to send,
    even what the kernel refuses. Super-frames are frames of up to 64 KiB there.
    """

    active = True

    def __init__(self, path: str, *, option: str = "--pcap") -> None:
        self._descriptor = open_output(path, option)
        self._path = path
        self._rest = FILE_HEADER  # what is left to write, after a pipe has taken a part
        self._missed = 0
        self._write()

    def record(self, frames: Sequence[bytes | memoryview]) -> None:
        """Write frames that pass now. A reader of the file sees them at once."""
        if not frames or self._descriptor < 0:
            return
        if self._rest:
            self._write()
        if self._rest:
            self._missed += len(frames)
            return
        self._rest = pack_records(frames, time.time_ns())
        self._write()

    def from_device(self, frames: list[bytes], skip: int) -> list[bytes]:
        self.record([frame[skip:] for frame in frames] if skip else frames)
        return frames

    def to_device(self, frames: Sequence[Frame], skip: int) -> Sequence[Frame]:
        self.record([frame[skip:] for frame in frames] if skip else frames)
        return frames

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            if self._missed:
                log.warning("%s lacks %d frames: its reader is too slow", self._path, self._missed)

    def _write(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        except BlockingIOError:
            pass
        except OSError as error:
            log.warning("the capture ends: cannot write to %s: %s", self._path, reason(error))
            self.close()
