"""What tests do with a vmnet interface in a process on the Mac (see tests.darwin.inside)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from select import select
from typing import NamedTuple

import fethpipe.vmnet.interface as interface_module
from fethpipe.provision.request import VmnetOptions
from fethpipe.vmnet.interface import VmnetInterface, start_interface
from fethpipe.vmnet.refusals import VmnetError
from tests.live.ethernet import is_test_frame
from tests.patience import PATIENCE


class Load(NamedTuple):
    """What a process holds."""

    descriptors: int
    threads: int
    resident: int  # bytes


def wait_less(name: str, seconds: float) -> None:
    """Let the framework have less time for its answers."""
    setattr(interface_module, name, seconds)


def start(options: VmnetOptions, mtu: int | None = None) -> VmnetInterface:
    return start_interface(options, mtu)


def read(interface: VmnetInterface, count: int) -> list[bytes]:
    """Return so many test frames, waiting on the descriptor alone; fail if they do not come."""
    frames: list[bytes] = []
    while len(frames) < count:
        if not select([interface], [], [], PATIENCE)[0]:
            raise TimeoutError(f"only {len(frames)} of {count} frames came")
        frames += [bytes(frame) for frame in interface.read_frames() if is_test_frame(bytes(frame))]
    return frames


def write(interface: VmnetInterface, frames: Sequence[bytes]) -> int:
    return interface.write_frames(frames)


def read_until_it_fails(interface: VmnetInterface) -> str:
    try:
        while True:
            interface.read_frames()
    except VmnetError as error:
        return str(error)


def restart(times: int) -> Load:
    """Start and stop so many interfaces, and return what is held after that."""
    for _ in range(times):
        interface = start_interface(VmnetOptions(), None)
        interface.write_frames([b"\xff" * 60])
        interface.read_frames()
        interface.close()
        interface.close()
    # The thread of a queue ends after the queue, and there is no notification of it.
    deadline = time.monotonic() + PATIENCE
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    natives = len(os.listdir("/proc/self/task"))
    assert threading.active_count() == 1
    return Load(len(os.listdir("/proc/self/fd")), natives, pages * os.sysconf("SC_PAGE_SIZE"))
