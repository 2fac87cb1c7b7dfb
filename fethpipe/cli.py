"""The command line of fethpipe: argv to a Config, errors to one line and an exit status."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from . import __version__
from .abi.linux import IPInterface
from .errors import FethpipeError, UsageError
from .netif.mac import parse_mac
from .provision import KINDS, DeviceRequest
from .report import configure_reports
from .tunnel import Config, run
from .wire.framing import FRAMINGS

log = logging.getLogger("fethpipe")

_DESCRIPTION = """\
Shuttle Ethernet frames between a virtual Ethernet device and a byte stream:
stdin and stdout, or those of COMMAND. Two of these, joined by any two pipes,
are a network cable.
"""

_EPILOG = """\
exit status: 0 clean end, 64 usage, 69 COMMAND could not be started or failed,
71 operating-system failure, 73 cannot create the device, 76 the stream is not
in this framing, 77 not allowed
"""

_NAME_LENGTH = 15
_T = TypeVar("_T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run fethpipe and return its exit status."""
    configure_reports(logging.INFO)
    try:
        options, config = _parse(sys.argv[1:] if argv is None else argv)
        configure_reports(logging.DEBUG if options.verbose else logging.INFO)
        if options.quiet:
            configure_reports(logging.WARNING)
        if options.selftest:
            from .selftest import selftest  # noqa: PLC0415 - only it needs namespaces and threads

            return selftest()
        if not config.command:
            _refuse_terminals()
        run(config)
    except FethpipeError as error:
        log.error("%s", error)  # noqa: TRY400 - one line, never a traceback
        return error.status
    return 0


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    arguments = list(argv)
    command: list[str] | None = None
    if "--" in arguments:
        split = arguments.index("--")
        arguments, command = arguments[:split], arguments[split + 1 :]
        if not command:
            raise UsageError("there is no COMMAND after --")
    options = make_parser().parse_args(arguments)
    if options.reconnect and not command:
        raise UsageError("--reconnect needs a COMMAND to start again")
    if options.name and options.attach:
        raise UsageError(
            "--name is for a device to make and --attach for one that exists: one of them"
        )
    return options, Config(
        device=options.device,
        request=DeviceRequest(
            name=options.attach or options.name,
            attach=options.attach is not None,
            addresses=tuple(options.address),
            mac=options.mac,
            mtu=options.mtu,
            metric=options.metric,
        ),
        framing=options.framing,
        command=tuple(command or ()),
        ready_descriptor=options.ready_fd,
        stats_seconds=options.stats,
        user=options.user,
        reconnect=options.reconnect,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options; COMMAND is split off before it sees them."""
    parser = _Parser(
        prog="fethpipe",
        usage="fethpipe [options] [-- COMMAND [ARG...]]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    device = parser.add_argument_group("device")
    device.add_argument(
        "--device",
        choices=["auto", *KINDS],
        default="auto",
        help="kind of device (default: the one of this system)",
    )
    device.add_argument(
        "--name",
        type=_checked(_name),
        metavar="NAME",
        help="name of the TAP (default: fp0, fp1 ...)",
    )
    device.add_argument(
        "--attach",
        type=_checked(_name),
        metavar="NAME",
        help="use an interface that exists; configure only what other options ask for",
    )
    device.add_argument(
        "--address",
        type=_checked(_address),
        metavar="CIDR",
        action="append",
        default=[],
        help="IPv4 or IPv6 address with prefix length; repeatable",
    )
    device.add_argument(
        "--mac",
        type=_checked(parse_mac),
        metavar="MAC",
        help="MAC (default: locally administered, the same for this host and name every time)",
    )
    device.add_argument(
        "--mtu", type=_checked(_count), metavar="N", help="MTU in bytes (default: 1500)"
    )
    device.add_argument(
        "--metric",
        type=_checked(_count),
        metavar="N",
        help="metric; on Linux, of the routes that come with the addresses",
    )
    stream = parser.add_argument_group("stream")
    stream.add_argument(
        "--framing",
        choices=list(FRAMINGS),
        default="u16be",
        help="u16be: VDE (default); u32be: QEMU, passt; u16le: gvproxy; zerotier: its agent's pipe",
    )
    stream.add_argument(
        "--reconnect",
        action="store_true",
        help="when COMMAND ends, keep the device and start it again, after 1 s up to 60 s",
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="whom to become after set-up (default: who called sudo; called by root itself, "
        "nobody, and COMMAND stays root)",
    )
    reports = parser.add_argument_group("reports")
    reports.add_argument(
        "--ready-fd",
        type=_checked(_descriptor),
        metavar="N",
        help="write one line of JSON to this descriptor when the device is up",
    )
    reports.add_argument(
        "--stats",
        type=_checked(_seconds),
        metavar="SECONDS",
        help="print counters to stderr every so often; SIGUSR1 prints them at once",
    )
    verbosity = reports.add_mutually_exclusive_group()
    verbosity.add_argument("-v", "--verbose", action="store_true", help="say more")
    verbosity.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    parser.add_argument(
        "--selftest",
        action="store_true",
        help="move frames through a throw-away device of this machine and tell what happened",
    )
    parser.add_argument("--version", action="version", version=f"fethpipe {__version__}")
    return parser


def _refuse_terminals() -> None:
    for descriptor, name in ((0, "stdin"), (1, "stdout")):
        try:
            terminal = os.isatty(descriptor)
            os.fstat(descriptor)
        except OSError as error:
            raise UsageError(
                f"{name} is closed", hint="join it to a pipe, or name a COMMAND after --"
            ) from error
        if terminal:
            raise UsageError(
                f"{name} is a terminal, and frames are not text",
                hint="join it to a pipe, or name a COMMAND: fethpipe -- ssh HOST fethpipe",
            )


def _checked(convert: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let argparse tell the reason of a ValueError, not just the name of the converter."""

    def checked(text: str) -> _T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!a}: {error}") from error

    return checked


def _name(text: str) -> str:
    if len(text.encode()) > _NAME_LENGTH:
        raise ValueError(f"an interface name has at most {_NAME_LENGTH} bytes")
    if not re.fullmatch(r"[!-~]+", text) or re.search(r"[/:]", text) or text in {".", ".."}:
        raise ValueError("not an interface name")
    if "%" in text and (text.count("%") > 1 or "%d" not in text):
        raise ValueError("only one %d may stand for a number")
    return text


def _address(text: str) -> IPInterface:
    if "/" not in text:
        raise ValueError("needs a prefix length, like 10.9.0.1/24 or fd00::1/64")
    address = ipaddress.ip_interface(text)
    if address.version == 6 and "%" in text:
        raise ValueError("a zone (%) does not belong here")
    return address


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("not a whole number")
    return int(text)


def _descriptor(text: str) -> int:
    number = _count(text)
    if number in (0, 1):
        raise ValueError("frames flow there")
    try:
        os.fstat(number)
    except OSError as error:
        raise ValueError("not an open descriptor") from error
    return number


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise ValueError("not a number of seconds above zero")
    return float(text)
