"""A feth pair of macOS, used from its I/O side: BPF receives what the IP stack sends on the primary
side, AF_NDRV sends what that stack receives.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial

from ..abi.darwin import FETH_FRAME_LIMIT
from ..errors import reason
from ..ether.frame import Buffer, can_be_sent
from ..stats import Counters
from .bpf import BpfBatchWriter, BpfReader
from .ndrv import mtu_of, ndrv_writer
from .writer import sendable

log = logging.getLogger("fethpipe")


class FethDevice:
    """A feth pair, from the descriptors that :func:`.bpf.open_bpf` and :func:`.ndrv.open_ndrv`
    made on its I/O side, here or in another process.

    Where there is a ``batch_descriptor``, of a BPF device that takes batches, frames are sent
    through that. AF_NDRV takes over, for good, if the kernel does not take batches as it should.
    """

    def __init__(
        self,
        bpf_descriptor: int,
        ndrv_descriptor: int,
        batch_descriptor: int | None = None,
        *,
        name: str,
    ) -> None:
        self.name = name
        self.counters = Counters()
        self.frame_limit = FETH_FRAME_LIMIT
        self.offload = None  # neither BPF nor AF_NDRV has super-frames
        self._bpf_descriptor = bpf_descriptor
        self._descriptors = [bpf_descriptor, ndrv_descriptor]
        reader = BpfReader(bpf_descriptor, name, self.counters)
        self.read_frames = reader.read_frames
        self.kernel_drops = reader.kernel_drops
        self._ndrv = ndrv_writer(ndrv_descriptor, name, self.counters)
        self._batches: BpfBatchWriter | None = None
        if batch_descriptor is not None:
            self._descriptors.append(batch_descriptor)
            self._batches = BpfBatchWriter(
                batch_descriptor, name, self.counters, mtu=partial(mtu_of, ndrv_descriptor, name)
            )

    def fileno(self) -> int:
        return self._bpf_descriptor

    def write_frames(self, frames: Sequence[bytes]) -> None:
        frames = sendable(frames, self.frame_limit, self.counters)
        if self._batches is None:
            self._ndrv.write_frames(frames)
        else:
            self._write_batch(self._batches, frames)

    def write_vectored(self, buffers: Sequence[Buffer]) -> None:
        if can_be_sent(sum(map(len, buffers)), self.frame_limit):
            self._ndrv.write_vectored(buffers)
        else:
            sendable((b"".join(buffers),), self.frame_limit, self.counters)

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _write_batch(self, batches: BpfBatchWriter, frames: Sequence[bytes]) -> None:
        try:
            batches.write_frames(frames)
        except OSError as error:
            log.warning(
                "%s: sending batches through BPF failed: %s; AF_NDRV takes over",
                self.name,
                reason(error),
            )
            self._batches = None
            # Send the whole batch again: better send a frame twice than lose it.
            self._ndrv.write_frames(frames)
