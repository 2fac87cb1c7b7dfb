"""A TAP at the far end of a stream, for the programs that a test plays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from select import select
from typing import Protocol

from fethpipe.device.tap import open_tap
from tests.live.netns import Namespace


class FrameStream(Protocol):
    """The far end of a stream, for a test that plays the program there."""

    def fileno(self) -> int:
        """Return the descriptor that selects as readable when something comes."""

    def put(self, frame: bytes) -> None:
        """Send a frame."""

    def read(self) -> list[bytes]:
        """Read once, and return the frames that are whole."""


@contextlib.contextmanager
def far_tap(
    stream: FrameStream, namespace: Namespace, address: str, *, mtu: int = 1500
) -> Iterator[None]:
    """Have a TAP with an address in a namespace, which gets what comes from the stream."""
    with contextlib.ExitStack() as stack:
        with namespace.entered():
            device, name = open_tap("far0", offload=False)
        stack.callback(os.close, device)
        namespace.run(["ip", "link", "set", name, "up", "mtu", str(mtu)])
        namespace.run(["ip", "address", "add", f"{address}/24", "dev", name])
        stop, stopping = os.pipe()
        stack.callback(os.close, stop)
        relaying = stack.enter_context(ThreadPoolExecutor(1)).submit(_relay, device, stream, stop)
        try:
            yield
        finally:
            os.close(stopping)
        relaying.result()


def _relay(device: int, stream: FrameStream, stop: int) -> None:
    watched: list[int | FrameStream] = [device, stream, stop]
    while True:
        found, _, _ = select(watched, [], [])
        if stop in found:
            return
        if device in found:
            stream.put(os.read(device, 1 << 16))
        if stream in found:
            for frame in stream.read():
                os.write(device, frame)
