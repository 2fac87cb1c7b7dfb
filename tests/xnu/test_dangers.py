"""Nothing that a caller can pass to a device panics a Mac, or stops a feth for good."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import pytest

from fethpipe import EthernetDevice, UsageError, create_device
from fethpipe.netif.darwin import DarwinInterfaces
from tests.darwin.rig import IO, PRIMARY
from tests.xnu.child import on_apples_code
from tests.xnu.inside import Mac
from tests.xnu.play import Player, frame

SAMPLE, ALL = 60, 25_000
LONGEST = 16384
Action = tuple[str, Any]

_SPECIAL = [60, 1514, 1518, 1519, 2048, 8191, 8192, LONGEST - 1, LONGEST]


def _length(random: Random) -> int:
    edges = random.randint(0, 20), random.choice(_SPECIAL), random.randint(LONGEST - 4, LONGEST + 8)
    return random.choice([*edges, random.randint(0, 70_000)])


def _action(random: Random) -> Action:
    verb = random.choice(["send", "vectored", "batch", "down", "up", "join", "part", "mtu"])
    if verb == "batch":
        return verb, [_length(random) for _ in range(random.randint(0, 5))]
    if verb == "mtu":
        return verb, random.choice([72, 1500, 2048])
    if verb in ("send", "vectored"):
        return verb, _length(random)
    return verb, random.choice([PRIMARY, IO]) if verb in ("down", "up") else IO


def _act(device: EthernetDevice, interfaces: DarwinInterfaces, verb: str, value: Any) -> None:
    if verb == "send":
        device.send(frame(value))
    elif verb == "vectored":
        whole = frame(value)
        device.send_vectored([whole[:14], whole[14:]])
    elif verb == "batch":
        device.send_batch([frame(each) for each in value])
    elif verb in ("up", "down"):
        interfaces.set_up(value, up=verb == "up")
    elif verb in ("join", "part"):
        if bool(interfaces.peer(IO)) == (verb == "part"):
            interfaces.set_peer(IO, PRIMARY if verb == "join" else "")
    else:
        for name in (PRIMARY, IO):
            interfaces.set_mtu(name, value)


def _play(device: EthernetDevice, player: Player, actions: list[Action]) -> None:
    """Do all of it, and see that a frame passes afterwards."""
    with DarwinInterfaces() as interfaces:
        for action in actions:
            with suppress(UsageError):
                _act(device, interfaces, *action)
        for name in (PRIMARY, IO):
            interfaces.set_up(name)
            interfaces.set_mtu(name, 1500)
        if not interfaces.peer(IO):
            interfaces.set_peer(IO, PRIMARY)
    player.reader("far", 0, PRIMARY)
    assert device.send(frame(77))
    assert player.read("far")[-1][3] == 77
    player.close("far")


def _test_lengths(count: int) -> None:
    player, random = Player(), Random(count)
    with create_device() as device:
        for _ in range(count):
            actions = [_action(random) for _ in range(random.randint(0, 6))]
            try:
                _play(device, player, actions)
            except Exception as error:
                raise AssertionError(f"after {actions}") from error


@on_apples_code
def test_any_length_in_any_state(mac: Mac) -> None:
    _test_lengths(SAMPLE)


@pytest.mark.exhaustive
@on_apples_code
def test_any_length_in_any_state_many_times(mac: Mac) -> None:
    _test_lengths(ALL)


@on_apples_code
def test_the_library_says_what_length_a_frame_may_have(mac: Mac) -> None:
    with create_device() as device:
        for bad in (0, 13, LONGEST + 1):
            for send in (
                device.send,
                lambda data: device.send_batch([frame(60), data]),
                lambda data: device.send_vectored([data]),
            ):
                with pytest.raises(UsageError, match=f"{bad} bytes"):
                    send(frame(bad))
        assert device.counters.frames_sent == 0
        assert device.send(frame(14))
        device.send(frame(LONGEST))  # what the MTU lets pass is for the kernel to say
