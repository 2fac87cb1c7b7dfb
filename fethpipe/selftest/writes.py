"""Measure the ways of sending through a feth side by side: what one frame costs by each of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from ..device.bpf import BpfBatchWriter, open_bpf
from ..stats import Counters
from .facts_bpf import batch_descriptor
from .frames import drain, make_frame
from .pairs import FethPairs, closed_later
from .report import NotAvailableError, Report

_SIZE = 1514
_FRAMES = 128
"""So many at a time: fewer than the queue of a feth holds."""
_ROUNDS = 16
_BATCHES = (8, 32, 64)

Write = Callable[[Sequence[bytes]], None]


def measure_writes(report: Report, pairs: FethPairs) -> None:
    """Measure AF_NDRV, BPF with a frame to a write, and batches where the kernel takes them.

    One round of each follows one of the others, so that a busy moment is nobody's alone.
    Raises OSError or FethpipeError.
    """
    pair = pairs.late
    with ExitStack() as stack:
        bpf = stack.enter_context(closed_later(open_bpf(pair.io)))
        ways: list[tuple[str, int, Write]] = [
            ("write to AF_NDRV", 1, lambda frames: _write_each(pair.ndrv, frames)),
            ("write to BPF", 1, lambda frames: _write_each(bpf, frames)),
        ]
        with suppress(NotAvailableError):
            descriptor = stack.enter_context(closed_later(batch_descriptor(pairs)))
            batches = BpfBatchWriter(descriptor, pair.io, Counters())
            ways += [(f"batch of {size} to BPF", size, batches.write_frames) for size in _BATCHES]
        for name, cost in _costs(pairs, ways).items():
            report.measure(name, round(cost * 1e6, 2), "us/frame")


def _write_each(descriptor: int, frames: Sequence[bytes]) -> None:
    for frame in frames:
        os.write(descriptor, frame)


def _costs(pairs: FethPairs, ways: Sequence[tuple[str, int, Write]]) -> dict[str, float]:
    """Return the seconds that a frame takes by each way, of the fastest round; ways that the kernel
    refuses are left out.
    """
    frames = [make_frame(_SIZE) for _ in range(_FRAMES)]
    costs: dict[str, float] = {}
    for _ in range(_ROUNDS):
        for name, size, write in ways:
            started = time.perf_counter()
            with suppress(OSError):
                for first in range(0, _FRAMES, size):
                    write(frames[first : first + size])
                cost = (time.perf_counter() - started) / _FRAMES
                costs[name] = min(cost, costs.get(name, cost))
            drain(pairs.late.far)
    return costs
