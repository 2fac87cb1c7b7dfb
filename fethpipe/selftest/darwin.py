"""The self-test on macOS: make two feth pairs, check the facts that the code relies on, and move
frames through a tunnel.

Keepers make the pairs, so that they are destroyed even if we are killed. The first pair is made
before the largest MTU is raised and the second one after it, as the difference is one of the facts.
"""

from __future__ import annotations

import ipaddress
import os
from contextlib import ExitStack, closing

from ..abi.darwin import FETH_MTU
from ..errors import FethpipeError, NotAllowedError, os_errors_as
from ..ether.frame import HEADER_LENGTH
from ..keeper.client import KeeperProcess, fork_keeper
from ..netif.darwin import DarwinInterfaces, allow_mtu, altered_setting, interface_names
from ..netif.mac import parse_mac
from ..provision.request import Change, DeviceRequest, Provisioned
from .cable_darwin import reflect
from .facts_bpf import check_bpf, check_traffic
from .facts_feth import check_feth, check_gone
from .facts_ndrv import check_ndrv
from .facts_route import check_route
from .frames import measure, try_sizes
from .pairs import ADDRESS, FethPairs, OpenPair, send_buffer
from .report import Report, expect
from .writes import measure_writes

_MAC = parse_mac("02:00:5e:00:53:21")


def try_system(report: Report) -> None:
    """Check the facts, and show that frames pass between the IP stack and a stream.

    Raises FethpipeError.
    """
    if os.geteuid() != 0:
        raise NotAllowedError("the self-test needs root to make feth interfaces", hint="use sudo")
    report.check("settings", "no setting of this Mac alters the frames of a feth", _see_settings)
    with ExitStack() as stack:
        with os_errors_as("cannot set up the self-test"):
            pairs = _set_up(stack)
        check_feth(report, pairs)
        check_ndrv(report, pairs)
        check_bpf(report, pairs)
        check_traffic(report, pairs)
        check_route(report)
        _move_frames(report, pairs)
        check_gone(report, pairs)
    reflect(report)


def _see_settings() -> str:
    altered = altered_setting()
    return expect(not altered, f"{altered} is not 0")


def _set_up(stack: ExitStack) -> FethPairs:
    """Make the two pairs, the second one with the largest MTU that it can have."""
    interfaces = stack.enter_context(DarwinInterfaces())
    _, early = _make_pair(stack, DeviceRequest(inject="ndrv"))
    limit_before = interfaces.largest_mtu(early.interface)
    allow_mtu(FETH_MTU[-1])
    address = ipaddress.ip_interface(ADDRESS)
    keeper, made = _make_pair(stack, DeviceRequest(inject="ndrv", mac=_MAC, addresses=(address,)))
    largest = min(interfaces.largest_mtu(made.interface), FETH_MTU[-1])
    keeper.change(Change(mtu=largest))
    made = made._replace(mtu=largest)
    names = interface_names()
    absent = next(f"feth{unit}" for unit in range(32767, 0, -1) if f"feth{unit}" not in names)
    return FethPairs(
        interfaces=interfaces,
        early=stack.enter_context(closing(OpenPair(early))),
        late=stack.enter_context(closing(OpenPair(made))),
        limit_before=limit_before,
        requested_mac=_MAC,
        absent=absent,
    )


def _make_pair(stack: ExitStack, request: DeviceRequest) -> tuple[KeeperProcess, Provisioned]:
    keeper = stack.enter_context(closing(fork_keeper("change")))
    return keeper, keeper.provision("feth", request)


def _move_frames(report: Report, pairs: FethPairs) -> None:
    pair = pairs.late
    by_mtu, by_buffer = pair.mtu + HEADER_LENGTH, send_buffer(pair.ndrv)
    limit = f"the MTU is {pair.mtu}"
    if by_buffer < by_mtu:
        limit = f"the send buffer of AF_NDRV is {by_buffer}"
    if not (pairs.receives and pairs.injects):
        limit, by_mtu = "no frame passes", 0
    largest = min(by_mtu, by_buffer)
    highest = FETH_MTU[-1] + HEADER_LENGTH
    try_sizes(report, pair.near, pair.far, largest=largest, limit=limit, highest=highest)
    if largest:
        try:
            measure(report, pair.near, pair.far)
            measure_writes(report, pairs)
        except (FethpipeError, OSError) as error:
            report.say(f"no measurements: {error}")
