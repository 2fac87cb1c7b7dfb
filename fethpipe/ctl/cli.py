"""The command line of fethctl: a verb and its options, errors to one line and an exit status."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from .._version import __version__
from ..abi.address import IPInterface
from ..arguments import Parser, checked, count
from ..errors import FethpipeError, SystemFailureError, reason, system_step
from ..netif.address import parse_address
from ..netif.mac import parse_mac, random_mac
from ..netif.name import check_name
from ..system.descriptors import open_standard
from ..system.stderr import configure_reports

log = logging.getLogger("fethpipe")

_DESCRIPTION = """\
Manage, inspect and try feth interfaces of macOS by hand. The verbs that look
at frames or make them (status, list, capture, icmp, inject) are for any
Ethernet interface, on Linux too.
"""

_EPILOG = """\
exit status: 0 it is done, 64 usage, 71 operating-system failure, 73 the
interface is not there or refuses, 77 not allowed
"""

NONE = "none"
"""What takes a setting away, instead of a value."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run fethctl and return its exit status."""
    configure_reports(logging.INFO, prefix="fethctl: ")
    try:
        with system_step(f"open {os.devnull}"):
            open_standard()
        options = make_parser().parse_args(sys.argv[1:] if argv is None else argv)
        options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except FethpipeError as error:
        log.error("%s", error)  # noqa: TRY400 - one line, never a traceback
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read what we say has heard enough
        _silence_stdout()
    except OSError as error:
        log.error("cannot write to stdout: %s", reason(error))  # noqa: TRY400
        _silence_stdout()
        return SystemFailureError.status
    return 0


def _silence_stdout() -> None:
    """Let what is still buffered lead nowhere, rather than fail once more at the exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs; ``run`` of what it returns does the work."""
    parser = Parser(
        prog="fethctl",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fethctl {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)

    def add(verb: str, run: str, text: str, *, detail: str = "") -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(
            verb, help=text, description=f"{_sentence(text)} {detail}".strip(), allow_abbrev=False
        )
        added.set_defaults(run=_later(run))
        return added

    _add_management(add)
    _add_inspection(add)
    _add_traffic(add)
    return parser


_Add = Callable[..., argparse.ArgumentParser]


def _add_management(add: _Add) -> None:
    create = add(
        "create",
        "manage:create",
        "make feth interfaces, and print their names (macOS)",
        detail="They can have any MTU up to 16370. If one cannot be made, none is.",
    )
    create.add_argument(
        "unit",
        metavar="UNIT",
        nargs="+",
        type=checked(count),
        help="number of the interface: 0 is feth0",
    )
    destroy = add("destroy", "manage:destroy", "destroy interfaces (macOS)")
    _add_names(destroy, nargs="+")
    _add_force(destroy)
    configure = add(
        "set",
        "manage:configure",
        "change an interface (macOS)",
        detail="What is not named stays as it is.",
    )
    _add_names(configure)
    configure.add_argument(
        "--peer",
        metavar="NAME",
        type=checked(check_name),
        help="join it to this feth; none: part it from its peer",
    )
    configure.add_argument(
        "--addr",
        metavar="CIDR",
        type=checked(_address_or_none),
        action="append",
        default=[],
        help="add an IPv4 or IPv6 address with prefix length; repeatable; "
        "none: remove all addresses first",
    )
    configure.add_argument("--mtu", metavar="N", type=checked(count), help="MTU in bytes")
    configure.add_argument(
        "--mac", metavar="MAC", type=checked(_mac), help="MAC; random: a new one by chance"
    )
    configure.add_argument("--metric", metavar="N", type=checked(count), help="metric")
    configure.add_argument("--state", choices=["up", "down"], help="bring it up or down")
    _add_force(configure)
    add(
        "reap",
        "manage:reap_abandoned",
        "destroy what a killed fethpipe left behind, and print its name",
        detail="Nothing else is touched.",
    )


def _add_inspection(add: _Add) -> None:
    status = add("status", "show:status", "show interfaces as ifconfig does")
    _add_names(status, nargs="?", text="interface (default: all)")
    status.add_argument("--json", action="store_true", help="as JSON, a list of objects")
    add("list", "show:list_names", "print the names of all feth interfaces; on Linux, of all TAPs")


def _add_traffic(add: _Add) -> None:
    capture = add(
        "capture",
        "traffic:capture",
        "show the frames that pass an interface, one a line",
        detail="It ends by SIGINT (Ctrl-C) or SIGTERM.",
    )
    _add_names(capture)
    capture.add_argument(
        "-w",
        metavar="FILE",
        dest="file",
        help="write them as pcap to this file, for Wireshark; -: to stdout",
    )
    icmp = add(
        "icmp",
        "traffic:icmp",
        "answer ARP, neighbour discovery and ping for one address",
        detail="The address is that of a host at the far end of the interface, which must not "
        "have it itself. It ends by SIGINT (Ctrl-C) or SIGTERM.",
    )
    _add_names(icmp)
    icmp.add_argument(
        "address",
        metavar="ADDRESS",
        type=checked(_bare_address),
        help="IPv4 or IPv6 address to answer for",
    )
    icmp.add_argument(
        "--mac",
        metavar="MAC",
        type=checked(_mac),
        help="MAC of that host (default: made from the address)",
    )
    icmp.add_argument("-q", "--quiet", action="store_true", help="do not print the answers")
    inject = add(
        "inject",
        "traffic:inject",
        "send the frames of a pcap file",
        detail="They go out of the interface one after the other, as fast as it takes them.",
    )
    _add_names(inject)
    inject.add_argument("file", metavar="FILE", help="pcap file; -: stdin")


def _add_names(
    parser: argparse.ArgumentParser, *, nargs: str | None = None, text: str = "interface"
) -> None:
    parser.add_argument("name", metavar="NAME", nargs=nargs, type=checked(check_name), help=text)


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force", action="store_true", help="do it to an interface that is not a feth, too"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _later(function: str) -> Callable[[argparse.Namespace], Any]:
    """Return what loads a module of ours and calls its function: each verb needs one of them."""

    def run(options: argparse.Namespace) -> None:
        module, _, name = function.partition(":")
        getattr(import_module(f".{module}", __package__), name)(options)

    return run


def _address_or_none(text: str) -> IPInterface | str:
    return NONE if text == NONE else parse_address(text)


def _mac(text: str) -> bytes:
    return random_mac() if text == "random" else parse_mac(text)


def _bare_address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    if address.is_multicast or address.is_unspecified or "%" in text:
        raise ValueError("not the address of a host")
    return address
