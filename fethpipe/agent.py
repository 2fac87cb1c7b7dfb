"""A stand-in for MacEthernetTapAgent, the program that ZeroTier's service starts on macOS.

The service gives the number of a feth, a MAC, an MTU and a metric, then talks over the ``zerotier``
framing. Its own agent and this one differ in nothing that the service looks at.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Sequence

from . import __version__
from .errors import FethpipeError, UsageError
from .netif.mac import parse_mac
from .provision import DeviceRequest
from .report import configure_reports
from .tunnel import Config, run

# MacEthernetTapAgent.h: -1, -2 and -3, as the parent sees them.
_INVALID_REQUEST, _UNABLE_TO_CREATE, _READ_ERROR = 255, 254, 253
_LAST_DEVICE = 4999


def main(argv: Sequence[str] | None = None) -> int:
    """Be the agent until the service says that it is over, and return the agent's exit status."""
    configure_reports(logging.WARNING)
    try:
        request = _parse(sys.argv[1:] if argv is None else argv)
    except (ValueError, FethpipeError):
        _say("E invalid or missing argument(s) (usage: <0-4999> <mac> <mtu> <metric>)")
        return _INVALID_REQUEST
    ready, its_ready = os.pipe()
    up = False

    def announce() -> None:
        nonlocal up
        up = True
        facts = json.loads(os.read(ready, 4096))
        _say(f"I {facts['interface']} {facts['io_interface']} {__version__}")

    config = Config("feth", request, "zerotier", ready_descriptor=its_ready, hello=False)
    try:
        ending = run(config, on_ready=announce)
    except FethpipeError as error:
        _say(f"E {error}")
        return _INVALID_REQUEST if isinstance(error, UsageError) else _status(up=up)
    return 0 if ending is None or ending.requested else _READ_ERROR


def _parse(arguments: Sequence[str]) -> DeviceRequest:
    """Return what the four arguments ask for. Raises ValueError."""
    number, mac, mtu, metric = arguments[:4]
    numbers = [int(text) for text in (number, mtu, metric) if re.fullmatch("[0-9]{1,9}", text)]
    if len(numbers) != 3 or numbers[0] > _LAST_DEVICE:
        raise ValueError("not a device number, an MTU and a metric")
    return DeviceRequest(
        name=f"feth{numbers[0]}", mac=parse_mac(mac), mtu=numbers[1], metric=numbers[2]
    )


def _status(*, up: bool) -> int:
    return _READ_ERROR if up else _UNABLE_TO_CREATE


def _say(line: str) -> None:
    """Say a line as the agent does; the service passes it on."""
    os.write(2, line.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
