"""The devices of the library, for asyncio.

The event loop watches one descriptor, the one that receives. Any selector works: select, poll,
epoll, and kqueue, which accepts BPF devices. (It does not accept AF_NDRV sockets, but those only
send.) Sending never waits: the kernel takes a frame or refuses it.

A task takes a frame from the kernel only when it can return it at once. So no frame is lost when a
task is cancelled while it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from .errors import DeviceError
from .ether.frame import Buffer
from .library import opening
from .library.device import EthernetDevice
from .library.joining import check_number, send_fitting
from .library.values import Address, Mac
from .stats import Counters


def create_device(
    name: str | None = None,
    *,
    addresses: Iterable[Address] = (),
    mac: Mac | None = None,
    mtu: int | None = None,
    metric: int | None = None,
) -> AsyncDevice:
    """Make a device as :func:`fethpipe.create_device` does, for asyncio."""
    made = opening.create_device(name, addresses=addresses, mac=mac, mtu=mtu, metric=metric)
    return AsyncDevice(made)


async def join(*devices: AsyncDevice) -> None:
    """Move frames between two or more devices, as :func:`fethpipe.join` does, until cancelled."""
    check_number(devices)
    tasks = [asyncio.ensure_future(_spread(device, devices)) for device in devices]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _spread(device: AsyncDevice, devices: Sequence[AsyncDevice]) -> None:
    others = [other for other in devices if other is not device]
    while True:
        frames = await device.receive_batch()
        for other in others:
            send_fitting(other._device, frames)
        await asyncio.sleep(0)  # a busy device leaves time for the others


class AsyncDevice:
    """An open device in an event loop: the loop in which it waits for the first time.

    It owns the device, and closes it when it is closed. Several tasks may receive at once; each
    frame goes to one of them.
    """

    def __init__(self, device: EthernetDevice) -> None:
        self.name = device.name
        self.io_interface = device.io_interface
        self._device = device
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = -1

    @property
    def counters(self) -> Counters:
        """Return the counters of frames and bytes that passed, and of drops by reason."""
        return self._device.counters

    async def receive(self) -> bytes:
        """Return the next frame."""
        while True:
            try:
                return self._device.receive(0)
            except TimeoutError:
                await self._readable()

    async def receive_batch(self) -> list[bytes]:
        """Return the next batch of frames, at least one."""
        while True:
            frames = self._device.receive_batch(0)
            if frames:
                return frames
            await self._readable()

    def __aiter__(self) -> AsyncDevice:
        return self

    async def __anext__(self) -> bytes:
        """Return the next frame; the iteration ends when the device is closed."""
        try:
            return await self.receive()
        except DeviceError:
            if self._device.closed:
                raise StopAsyncIteration from None
            raise

    async def send(self, frame: bytes) -> bool:
        """Send a frame, and return whether the kernel took it.

        All methods that send first let other tasks run. A task that is cancelled there has sent
        nothing.
        """
        await asyncio.sleep(0)
        return self._device.send(frame)

    async def send_batch(self, frames: Sequence[bytes]) -> int:
        """Send frames in order, and return how many the kernel took."""
        await asyncio.sleep(0)
        return self._device.send_batch(frames)

    async def send_vectored(self, buffers: Sequence[Buffer]) -> bool:
        """Send one frame that lies in several buffers, without joining them."""
        await asyncio.sleep(0)
        return self._device.send_vectored(buffers)

    def close(self) -> None:
        """Close the device. Tasks that wait for a frame get DeviceError. Safe to call twice."""
        self._stop_watching()
        self._device.close()
        self._wake()

    async def _readable(self) -> None:
        """Wait until the kernel holds frames, or the device is closed."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._loop, self._watched = loop, self._device.fileno()
            loop.add_reader(self._watched, self._wake)
        waiter = loop.create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
            if not self._waiting:
                self._stop_watching()

    def _wake(self) -> None:
        """Let all waiting tasks try again. Those that get no frame wait again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _stop_watching(self) -> None:
        watched, self._watched = self._watched, -1
        if self._loop is not None and watched >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(watched)

    async def __aenter__(self) -> AsyncDevice:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()
