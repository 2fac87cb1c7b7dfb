"""The bridges of the simulated Mac: what adding and deleting members answers, from XNU's source."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tests.darwin.client import Program
from tests.darwin.layouts import CONSTANT, REQUEST, ifdrv
from tests.darwin.rig import PRIMARY, Requests, fails_with, make_pair
from tests.darwin.simulation import SimulatedDarwin

BRIDGE, OTHER = "bridge700", "bridge701"
IFBREQ = 80

Drive = Callable[..., None]


@pytest.fixture
def requests(program: Program, darwin: SimulatedDarwin) -> Requests:
    darwin.create(BRIDGE)
    return make_pair(program)


@pytest.fixture
def drive(program: Program, requests: Requests) -> Drive:
    def ask(
        command: str,
        member: str,
        *,
        bridge: str = BRIDGE,
        length: int = IFBREQ,
        request: str = "SIOCSDRVSPEC",
    ) -> None:
        argument = ifdrv(bridge, CONSTANT[command], length)
        data = member.encode().ljust(IFBREQ, b"\0")
        program.ioctl_pointer(requests.fd, REQUEST[request], argument, data)

    return ask


def test_a_member_comes_and_goes(drive: Drive, darwin: SimulatedDarwin) -> None:
    for _ in range(2):
        drive("BRDGADD", PRIMARY)
        assert darwin.interfaces()[PRIMARY].bridge == BRIDGE
        drive("BRDGDEL", PRIMARY)
        assert darwin.interfaces()[PRIMARY].bridge == ""


def test_a_member_that_is_destroyed_leaves(
    drive: Drive, requests: Requests, darwin: SimulatedDarwin
) -> None:
    drive("BRDGADD", PRIMARY)
    requests.destroy(PRIMARY)
    requests.create(PRIMARY)
    assert darwin.interfaces()[PRIMARY].bridge == ""
    drive("BRDGADD", PRIMARY)
    darwin.destroy(BRIDGE)
    assert darwin.interfaces()[PRIMARY].bridge == ""


def test_what_cannot_be_a_member(
    drive: Drive, requests: Requests, darwin: SimulatedDarwin, program: Program
) -> None:
    darwin.create(OTHER)
    for member, answer in (("feth9", errno.ENOENT), ("lo0", errno.EINVAL), (OTHER, errno.EINVAL)):
        with fails_with(answer):
            drive("BRDGADD", member)
    for options in ({"length": IFBREQ - 1}, {"request": "SIOCGDRVSPEC"}):
        with fails_with(errno.EINVAL):
            drive("BRDGADD", PRIMARY, **options)
    with fails_with(errno.ENOENT):
        drive("BRDGDEL", PRIMARY)
    drive("BRDGADD", PRIMARY)
    with fails_with(errno.EEXIST):
        drive("BRDGADD", PRIMARY)
    with fails_with(errno.EBUSY):
        drive("BRDGADD", PRIMARY, bridge=OTHER)
    requests.create("feth7")
    requests.set_mtu("feth7", 1400)
    with fails_with(errno.EINVAL):
        drive("BRDGADD", "feth7")
    drive("BRDGADD", "feth7", bridge=OTHER)  # the first one decides
    assert requests.mtu(OTHER) == 1400
    program.become(65534)
    with fails_with(errno.EPERM):
        drive("BRDGDEL", PRIMARY)
