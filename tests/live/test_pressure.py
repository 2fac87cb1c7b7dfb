"""A side that does not read: memory stays flat, the kernel drops, every drop is counted."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, frame_number, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer, records
from tests.live.programs import finish
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_FLOOD = 500_000  # frames; some five seconds' worth
_SLACK = 1 << 20  # bytes that the memory of a process may vary by


def test_a_peer_that_stops_reading_costs_frames_and_no_memory(left: Namespace, peer: Peer) -> None:
    with peer.start(left) as program:
        pid = program.ready().pid
        with PacketSocket(left, "fp0") as device:
            frames = (make_frame(number, size=1000) for number in range(_FLOOD))
            deadline = time.monotonic() + PATIENCE
            while not peer.is_full():
                assert time.monotonic() < deadline, "the stream does not fill"
                _send(device, frames, 100)
                program.report()  # it has moved some of them
            _send(device, frames, 2000)  # the stream is full, and now the device's queue is too
            program.report()
            before = _resident(pid)
            _send(device, frames)
            report = program.report(showing="kernel queue full")
            assert _resident(pid) < before + _SLACK
            # The other direction is open all the while.
            peer.send(records(make_frame(1)))
            assert device.receive() == make_frame(1)

            drops = re.search(r"dropped: (\d+) kernel queue full", report)
            assert drops is not None
            survivors = [peer.receive() for _ in range(_FLOOD - int(drops[1]))]
            numbers = [frame_number(frame) for frame in survivors]
            assert numbers == sorted(set(numbers))
            # Traffic resumes, and none is lost that waited.
            device.send(make_frame(_FLOOD))
            assert peer.receive() == make_frame(_FLOOD)
        program.stop()


def _send(device: PacketSocket, frames: Iterator[bytes], most: int | None = None) -> None:
    """Send these frames, or as many of them."""
    for frame in itertools.islice(frames, most):
        device.send(frame)


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process has right now."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_too_few_files_are_told_in_a_line(left: Namespace, tmp_path: Path) -> None:
    """Without site (-S), which itself may end with a traceback if it has one file only."""
    options = ["--up", "true", "--pcap", str(tmp_path / "capture"), "--", "true"]
    statuses = set()
    for most in range(4, 15):
        limited = ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", sys.executable, "-S"]
        done = finish(left, launcher=[*limited, "-m", "fethpipe", *options])
        statuses.add(done.status)
        lines = done.stderr.splitlines()
        assert all(line.startswith("fethpipe: ") for line in lines), (most, done.stderr)
    assert 71 in statuses
    assert statuses <= {0, 69, 71}
