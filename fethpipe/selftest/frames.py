"""Move frames of critical sizes through a device, in both directions, and measure its speed.

A device has two sides: ``near`` is the one that a tunnel uses, ``far`` the one of the IP stack,
opened as another Device. Frames that the stack itself sends are told from ours by EtherType and
source MAC.
"""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Sequence

from ..device import Device
from ..ether.frame import HEADER_LENGTH
from .report import DiffersError, NotAvailableError, Report

SIZES = (HEADER_LENGTH, 60, 1514, 2048, 2049, 8192, 8193)
"""In bytes: the shortest frame; the shortest on a wire; a full one at the usual MTU; and those on
both sides of two limits of kernels: one cluster of memory, and the default send buffer."""

PATIENCE_SECONDS = 1.0
_ETHERTYPE = b"\x88\xb5"  # IEEE Std 802: local experimental
_NEAR_MAC = bytes.fromhex("0200 5e00 5311")
_FAR_MAC = bytes.fromhex("0200 5e00 5312")
_FULL = 1514
_SMALL = 64
_BURST = 32
_TRIPS = 100
_MEASURE_SECONDS = 0.2


def make_frame(size: int, *, towards_far: bool = True, payload: bytes = b"") -> bytes:
    """Return a frame of ours, filled with random bytes to ``size`` bytes including its header."""
    head = _FAR_MAC + _NEAR_MAC if towards_far else _NEAR_MAC + _FAR_MAC
    frame = head + _ETHERTYPE + payload
    return frame + os.urandom(max(0, size - len(frame)))


def receive(device: Device, count: int, *, seconds: float = PATIENCE_SECONDS) -> list[bytes]:
    """Return the next ``count`` frames of ours from a device, or fewer if the time is over."""
    frames: list[bytes] = []
    end = time.monotonic() + seconds
    while len(frames) < count:
        if not select.select([device], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        frames += [frame for frame in device.read_frames() if is_ours(frame)]
    return frames


def is_ours(frame: bytes) -> bool:
    """Return whether we made this frame, with or without a VLAN tag."""
    return frame[6:11] == _NEAR_MAC[:5] and _ETHERTYPE in (frame[12:14], frame[16:18])


def drain(*devices: Device) -> None:
    """Read and drop the frames that wait."""
    for device in devices:
        while device.read_frames():
            pass


def try_sizes(
    report: Report, near: Device, far: Device, *, largest: int, limit: str, highest: int
) -> bool:
    """Move frames of each size in both directions. Return whether all that can pass did pass.

    ``largest`` is the longest frame that can pass here, in bytes, and ``limit`` says why.
    ``highest`` is the longest one that is expected to pass.
    """
    results = []
    for size in (*SIZES, highest):

        def look(size: int = size) -> str:
            if size > largest:
                raise NotAvailableError(limit)
            _move(near, far, make_frame(size), "towards the IP stack")
            _move(far, near, make_frame(size, towards_far=False), "from the IP stack")
            return ""

        passed = report.check(
            f"size {size}", f"a frame of {size} bytes arrives unchanged, in both directions", look
        )
        results.append(passed or size > largest)
    return all(results)


def _move(source: Device, destination: Device, frame: bytes, way: str) -> None:
    drain(source, destination)
    source.write_frames([frame])
    arrived = receive(destination, 1)
    if not arrived:
        # Before macOS 15 a feth may keep its first long frame until the next one comes.
        source.write_frames([make_frame(_SMALL)])
        arrived = [each for each in receive(destination, 1) if len(each) != _SMALL]
    if not arrived:
        drops = ", ".join(source.counters.drops)
        raise DiffersError(f"lost {way}{f' ({drops})' if drops else ''}")
    got = arrived[0]
    # A short frame may arrive padded, as on a wire.
    if got[: len(frame)] != frame or any(got[len(frame) :]):
        raise DiffersError(f"changed {way}: {len(got)} bytes arrived")


def measure(report: Report, near: Device, far: Device) -> None:
    """Measure frames and Mbit per second in each direction, and the round trip of one frame."""
    for way, source, destination in (("to", near, far), ("from", far, near)):
        small, full = (make_frame(size, towards_far=source is near) for size in (_SMALL, _FULL))
        frames, _ = _flood(source, destination, small)
        report.measure(f"frames {way} the device", frames, "frames/s")
        _, rate = _flood(source, destination, full)
        report.measure(f"throughput {way} the device", rate, "Mbit/s")
    trips = _round_trips(near, far)
    if trips:
        report.measure("round trip", round(statistics.median(trips) * 1e6, 1), "us")


def _flood(source: Device, destination: Device, frame: bytes) -> tuple[int, float]:
    """Return the frames and the Mbit that arrive per second, in bursts that fit every queue."""
    drain(source, destination)
    burst: Sequence[bytes] = [frame] * _BURST
    arrived = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < _MEASURE_SECONDS:
        source.write_frames(burst)
        arrived += len(receive(destination, _BURST, seconds=PATIENCE_SECONDS / 20))
    return round(arrived / passed), round(8e-6 * arrived * len(frame) / passed, 1)


def _round_trips(near: Device, far: Device) -> list[float]:
    drain(near, far)
    trips = []
    for _ in range(_TRIPS):
        started = time.perf_counter()
        near.write_frames([make_frame(_SMALL)])
        if not receive(far, 1):
            break
        far.write_frames([make_frame(_SMALL, towards_far=False)])
        if not receive(near, 1):
            break
        trips.append(time.perf_counter() - started)
    return trips
