"""VDE: vde_plug as COMMAND, joined to a TAP of its own or to a switch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace, require_tools
from tests.live.peer import records
from tests.live.peers import Switch, check_traffic, kill_program, wait_reachable
from tests.live.programs import LEFT, RIGHT, Fethpipe
from tests.live.traffic import transfer

pytestmark = pytest.mark.live

_LONGEST = 1518
"""The bytes that a vde_switch cuts frames to."""


def plug_into_tap(left: Namespace, right: Namespace, *options: str, mtu: int = 1500) -> Fethpipe:
    """Start a fethpipe whose vde_plug is joined to a TAP in another namespace."""
    require_tools("vde_plug", "nsenter")
    right.make_tap("vde0", address=RIGHT, mtu=mtu)
    plug = ["nsenter", f"--net={right.path}", "vde_plug", "tap://vde0"]
    return Fethpipe(left, "--address", f"{LEFT}/24", "--mtu", str(mtu), *options, "--", *plug)


# 9216 is the largest MTU that vde_plug knows; it loses everything longer.
@pytest.mark.parametrize("mtu", [1500, 9216])
def test_a_plug_on_a_tap_is_the_other_end(left: Namespace, right: Namespace, mtu: int) -> None:
    with plug_into_tap(left, right, mtu=mtu).up() as program:
        check_traffic(left, right, mtu=mtu)
        program.stop()


def test_what_others_put_on_the_tap_of_a_plug_does_no_harm(
    left: Namespace, right: Namespace
) -> None:
    with plug_into_tap(left, right).up():
        wait_reachable(left, RIGHT)
        right.run(["ip", "link", "set", "vde0", "mtu", "9216"])
        with PacketSocket(right, "vde0") as there, PacketSocket(left, "fp0") as here:
            odd = [make_frame(0)[:15], bytes(60), b"\xff" * 60]
            odd += [make_frame(1, size=size) for size in (1519, 9000, 9230)]
            for frame in (*odd, make_frame(2)):
                there.send(frame)
            while (frame := here.receive()) != make_frame(2):
                assert frame in odd
        right.run(["ip", "link", "set", "vde0", "mtu", "1500"])
        wait_reachable(left, RIGHT)


def test_a_plug_that_is_killed_is_told(left: Namespace, right: Namespace) -> None:
    with plug_into_tap(left, right).up() as program:
        wait_reachable(left, RIGHT)
        kill_program(right, "vde_plug")
        program.ends(69, "was killed by SIGKILL")


def test_a_plug_that_is_killed_is_started_again(left: Namespace, right: Namespace) -> None:
    with plug_into_tap(left, right, "--reconnect").up() as program:
        wait_reachable(left, RIGHT)
        kill_program(right, "vde_plug")
        assert program.stderr.next(containing="starting again")
        wait_reachable(left, RIGHT)


@pytest.fixture
def switch(left: Namespace, tmp_path: Path) -> Iterator[Switch]:
    with Switch(left, tmp_path) as switch:
        yield switch


def plug_into_switch(namespace: Namespace, switch: Switch, *options: str) -> Fethpipe:
    return Fethpipe(namespace, *options, "--", "vde_plug", switch.url)


def test_three_fethpipes_meet_on_a_switch(
    left: Namespace, right: Namespace, switch: Switch
) -> None:
    addresses = [LEFT, RIGHT, "10.9.0.3"]
    with ExitStack() as stack:
        third = stack.enter_context(Namespace())
        ends = [left, right, third]
        for end, address in zip(ends, addresses):
            option = f"--address={address}/24"
            stack.enter_context(plug_into_switch(end, switch, option)).ready()
        for end in ends:
            for address in addresses:
                wait_reachable(end, address)
        check_traffic(left, right, size=5_000_000)
        transfer(third, left, LEFT, 5_000_000)
        transfer(right, third, addresses[2], 5_000_000)


def test_the_end_of_the_switch_is_the_end_of_the_stream(left: Namespace, switch: Switch) -> None:
    with plug_into_switch(left, switch).up() as program:
        assert program.stderr.next(containing=" is up, ")
        switch.kill()
        status, _ = program.end()
    assert status in (0, 69)  # as vde_plug takes it


def test_what_others_put_on_the_switch_does_no_harm(
    left: Namespace, right: Namespace, switch: Switch
) -> None:
    with ExitStack() as stack:
        for end, address in ((left, LEFT), (right, RIGHT)):
            stack.enter_context(plug_into_switch(end, switch, f"--address={address}/24")).ready()
        wait_reachable(left, RIGHT)  # so both are on it
        stdin, writer = os.pipe()
        stack.callback(os.close, writer)
        left.popen(["vde_plug", switch.url], stdin=stdin)
        os.close(stdin)
        device = stack.enter_context(PacketSocket(right, "fp0"))
        runts = [make_frame(0)[:size] for size in (1, 6, 13, 14, 15)]
        giants = [make_frame(1, size=size) for size in (1519, 2000, 9000)]
        os.write(writer, records(*runts, *giants, b"", bytes(60), b"\xff" * 60, make_frame(2)))
        while (frame := device.receive()) != make_frame(2):
            assert frame in runts or frame in [giant[:_LONGEST] for giant in giants]
        wait_reachable(left, RIGHT)


def test_a_switch_that_is_not_there_is_told(left: Namespace, tmp_path: Path) -> None:
    require_tools("vde_plug")
    with Fethpipe(left, "--", "vde_plug", f"vde://{tmp_path}/none") as program:
        program.ends(69, "vde_plug ended with exit status")
