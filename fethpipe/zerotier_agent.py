"""A stand-in for MacEthernetTapAgent, the program that ZeroTier's service starts on macOS.

The service passes the number of a feth, a MAC, an MTU and a metric, then uses the ``zerotier``
framing. The interfaces, the exit statuses and the lines on stderr are those of the agent, so that
the service sees no difference: ``I`` and the interfaces when they are up, or ``E`` and an error.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress

from ._version import __version__
from .errors import FethpipeError, UsageError, system_step
from .netif.mac import parse_mac
from .provision.request import DeviceRequest
from .system.descriptors import close_all_but, open_standard
from .system.stderr import configure_messages
from .tunnel.config import Config
from .tunnel.run import run

# MacEthernetTapAgent.h: -1, -2 and -3, as the parent sees them.
_INVALID_REQUEST, _UNABLE_TO_CREATE, _READ_ERROR = 255, 254, 253
_LAST_DEVICE = 4999
# The unit of the I/O side minus that of the device, which is feth0 to feth4999.
_IO_DISTANCE = 5000
_USAGE = "invalid or missing argument(s) (usage: MacEthernetTapAgent <0-4999> <mac> <mtu> <metric>)"


def main(argv: Sequence[str] | None = None) -> int:
    """Be the agent until the service ends it. Return the exit status of the agent."""
    open_standard()
    configure_messages(logging.WARNING, prefix="E ")
    if os.geteuid() != 0:
        return _refuse("must be run as root or with root setuid bit on executable")
    try:
        request = _parse(sys.argv[1:] if argv is None else argv)
    except (ValueError, FethpipeError):
        return _refuse(_USAGE)
    # The service passes its ends of the pipes of earlier agents on to later ones. While those are
    # open here, the earlier agents do not see the end of the service.
    close_all_but({0, 1, 2})
    return _run(request)


def _run(request: DeviceRequest) -> int:
    up = False

    def announce() -> None:
        nonlocal up
        up = True
        with open(ready, "rb", closefd=True) as states:
            facts = json.loads(states.readline())
        _say(f"I {facts['interface']} {facts['io_interface']} {__version__}")

    try:
        with system_step("make a pipe"):
            ready, its_ready = os.pipe()
        config = Config("feth", request, "zerotier", ready_descriptor=its_ready, hello=False)
        ending = run(config, on_ready=announce)
    except FethpipeError as error:
        _say("E " + re.sub("^cannot ", "unable to ", str(error)))
        if isinstance(error, UsageError):
            return _INVALID_REQUEST
        return _READ_ERROR if up else _UNABLE_TO_CREATE
    if ending is None or not ending.requested:
        return _READ_ERROR
    return ending.signal  # which ends the agent by exit(3) with its number


def _parse(arguments: Sequence[str]) -> DeviceRequest:
    """Return the request of the first four arguments. Raises ValueError."""
    number, mac, mtu, metric = arguments[:4]
    numbers = [int(text) for text in (number, mtu, metric) if re.fullmatch("[0-9]{1,9}", text)]
    if len(numbers) != 3 or numbers[0] > _LAST_DEVICE:
        raise ValueError("not a device number, an MTU and a metric")
    return DeviceRequest(
        name=f"feth{numbers[0]}",
        io_unit=numbers[0] + _IO_DISTANCE,
        mac=parse_mac(mac),
        mtu=numbers[1],
        metric=numbers[2],
    )


def _refuse(why: str) -> int:
    _say(f"E {why}")
    return _INVALID_REQUEST


def _say(line: str) -> None:
    """Write a line to stderr as the agent does. The service passes it on."""
    with suppress(OSError):
        os.write(2, line.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
