"""The library in an event loop: many devices, every wait cancelled, and nothing left open."""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import Any, Callable

import pytest

from fethpipe import DeviceError, EthernetDevice, aio, create_device
from fethpipe.aio import AsyncDevice
from tests.fakes import FakeDevice
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.patience import PATIENCE

FRAMES = [make_frame(number, size=60 + number) for number in range(10)]


def run(main: Awaitable[None], selector: Callable[[], Any] = selectors.DefaultSelector) -> None:
    """Run a coroutine in a loop with this selector, and look for what it left open."""
    before = sorted(os.listdir("/dev/fd"))
    loop = asyncio.SelectorEventLoop(selector())
    try:
        loop.run_until_complete(asyncio.wait_for(main, PATIENCE))
        assert not asyncio.all_tasks(loop)
    finally:
        loop.close()
    assert len(os.listdir("/dev/fd")) == len(before)


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a loop, with its ``selector`` if it has one."""

    @functools.wraps(test)
    def run_it(**values: Any) -> None:
        run(test(**values), values.get("selector", selectors.DefaultSelector))

    return run_it


def open_fake() -> tuple[AsyncDevice, FakeDevice]:
    fake = FakeDevice()
    return AsyncDevice(EthernetDevice(fake)), fake


async def cancelled(task: asyncio.Task[Any], turns: int = 3) -> None:
    """Let a task get as far as it can in so many turns, cancel it, and see it end so."""
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "selector", [selectors.SelectSelector, selectors.PollSelector, selectors.DefaultSelector]
)
@in_a_loop
async def test_frames_come_and_go_by_any_selector(selector: Callable[[], Any]) -> None:
    device, fake = open_fake()
    async with device:
        waiting = asyncio.ensure_future(device.receive())
        await asyncio.sleep(0)
        for frame in FRAMES:
            assert fake.emit(frame, seconds=PATIENCE)
        assert await waiting == FRAMES[0]
        assert await device.receive_batch() == FRAMES[1:]
        assert await device.send(FRAMES[0])
        assert await device.send_batch(FRAMES[1:9]) == 8
        assert await device.send_vectored([FRAMES[9][:14], FRAMES[9][14:]])
        assert [fake.absorb(seconds=PATIENCE) for _ in FRAMES] == FRAMES
        assert device.counters.frames_sent == 10


@in_a_loop
async def test_frames_are_iterated_until_the_device_is_closed() -> None:
    device, fake = open_fake()
    for frame in FRAMES:
        assert fake.emit(frame, seconds=PATIENCE)
    found = []
    async for frame in device:
        found.append(frame)
        if len(found) == len(FRAMES):
            asyncio.get_running_loop().call_soon(device.close)
    assert found == FRAMES
    with pytest.raises(DeviceError, match="closed"):
        await device.receive()
    with pytest.raises(DeviceError, match="closed"):
        await device.send(FRAMES[0])


@in_a_loop
async def test_each_frame_goes_to_one_of_many_tasks() -> None:
    device, fake = open_fake()
    async with device:
        tasks = [asyncio.ensure_future(device.receive()) for _ in FRAMES]
        await asyncio.sleep(0)
        for frame in FRAMES:
            assert fake.emit(frame, seconds=PATIENCE)
        assert sorted(await asyncio.gather(*tasks)) == sorted(FRAMES)


@in_a_loop
async def test_who_waits_when_it_is_closed_is_told() -> None:
    device, _ = open_fake()
    tasks = [asyncio.ensure_future(device.receive()) for _ in range(3)]
    tasks += [asyncio.ensure_future(device.__anext__())]
    await asyncio.sleep(0)
    device.close()
    device.close()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [DeviceError] * 3 + [StopAsyncIteration]


@in_a_loop
async def test_a_device_that_has_gone_is_an_error_in_an_iteration_too() -> None:
    device, fake = open_fake()
    async with device:
        task = asyncio.ensure_future(device.__anext__())
        await asyncio.sleep(0)
        fake.vanish()
        with pytest.raises(DeviceError, match="has gone"):
            await task


@pytest.mark.parametrize("method", ["receive", "receive_batch", "__anext__"])
@in_a_loop
async def test_a_cancelled_wait_takes_no_frame_with_it(method: str) -> None:
    device, fake = open_fake()
    async with device:
        await cancelled(asyncio.ensure_future(getattr(device, method)()))
        first = asyncio.ensure_future(getattr(device, method)())
        second = asyncio.ensure_future(device.receive())
        await asyncio.sleep(0)
        assert fake.emit(FRAMES[0], seconds=PATIENCE)
        await cancelled(first, turns=0)
        assert await second == FRAMES[0]


@pytest.mark.parametrize(
    ("method", "argument"),
    [("send", FRAMES[0]), ("send_batch", FRAMES), ("send_vectored", [FRAMES[0]])],
)
@in_a_loop
async def test_a_cancelled_send_has_sent_nothing(method: str, argument: Any) -> None:
    device, fake = open_fake()
    async with device:
        await cancelled(asyncio.ensure_future(getattr(device, method)(argument)), turns=1)
        assert fake.absorb(seconds=0) is None
        assert device.counters.frames_sent == 0


@in_a_loop
async def test_senders_keep_their_order_and_let_others_run() -> None:
    device, fake = open_fake()
    async with device:
        await asyncio.gather(*(device.send(frame) for frame in FRAMES))
        assert [fake.absorb(seconds=0) for _ in FRAMES] == FRAMES


def test_a_loop_that_ends_in_mid_wait_does_not_matter() -> None:
    device, _ = open_fake()

    async def main() -> None:
        task = asyncio.ensure_future(device.receive())
        await asyncio.sleep(0)
        assert not task.done()

    asyncio.run(main())  # it cancels what is left
    device.close()


@pytest.mark.live
@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_many_taps_in_one_loop(left: Namespace, count: int) -> None:
    with ExitStack() as stack:
        with left.entered():
            devices = [AsyncDevice(create_device(f"t{number}")) for number in range(count)]
            for device in devices:
                stack.callback(device.close)
        kernels = [stack.enter_context(PacketSocket(left, each.name)) for each in devices]

        async def echo(device: AsyncDevice) -> None:
            async for frame in device:
                await device.send(frame)

        async def main() -> None:
            tasks = [asyncio.ensure_future(echo(device)) for device in devices]
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            for frame in FRAMES:
                for kernel in kernels:
                    kernel.send(frame)
            for kernel in kernels:
                found = [await loop.run_in_executor(None, kernel.receive) for _ in FRAMES]
                assert found == FRAMES
            for device in devices:
                device.close()
            assert await asyncio.gather(*tasks) == [None] * count
            await loop.shutdown_default_executor()

        run_and_ignore_closed(main())
    assert left.interfaces() == ["lo"]


def run_and_ignore_closed(main: Awaitable[None]) -> None:
    """Run what closes more than it opens."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main, 3 * PATIENCE))
    finally:
        loop.close()


@in_a_loop
async def test_devices_are_made_and_joined_in_one_call(left: Namespace) -> None:
    with left.entered():
        one, other = aio.create_device("one"), aio.create_device("other")
    async with one, other:
        joining = asyncio.ensure_future(aio.join(one, other))
        with PacketSocket(left, "one") as here, PacketSocket(left, "other") as there:
            for source, target in ((here, there), (there, here)):
                source.send(FRAMES[0])
                loop = asyncio.get_running_loop()
                assert await loop.run_in_executor(None, target.receive) == FRAMES[0]
        await cancelled(joining)


@in_a_loop
async def test_joining_ends_with_a_device_that_has_gone() -> None:
    (one, _), (other, _) = open_fake(), open_fake()
    async with one, other:
        joining = asyncio.ensure_future(aio.join(one, other))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(DeviceError):
            await joining
