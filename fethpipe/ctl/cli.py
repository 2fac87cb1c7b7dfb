"""The command line of fethctl: parse a verb and its options, and run it.

An error becomes one line on stderr and an exit status.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from .._version import __version__
from ..abi.address import IPInterface
from ..arguments import Parser, add_options, count
from ..errors import SystemFailureError, reason, system_step
from ..netif.address import parse_address
from ..netif.mac import parse_mac, random_mac
from ..netif.name import check_name
from ..system.child import status_of
from ..system.descriptors import close_all_but, open_standard
from ..system.stderr import configure_messages

_DESCRIPTION = """\
Manage, inspect and try feth interfaces of macOS by hand. The verbs status,
list, capture, icmp and inject work with any Ethernet interface, also on Linux.
"""

_EPILOG = """\
exit status: 0 done, 64 usage, 71 operating-system failure, 73 the interface
does not exist or refuses the change, 77 not allowed
"""

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

NONE = "none"
"""The word that removes a setting, in place of a value."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run fethctl with these arguments (default: those of the process). Return its exit status."""
    configure_messages(logging.INFO, prefix="fethctl: ")
    try:
        return status_of(partial(_main, argv))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _main(argv: Sequence[str] | None) -> int:
    with system_step(f"open {os.devnull}"):
        open_standard()
    if argv is None:
        close_all_but({0, 1, 2})
    options = make_parser().parse(sys.argv[1:] if argv is None else argv)
    try:
        options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout has closed the pipe
        _silence_stdout()
    except OSError as error:
        _silence_stdout()
        if error.errno in _SCARCE:
            raise
        raise SystemFailureError(f"cannot write to stdout: {reason(error)}") from error
    return 0


def _silence_stdout() -> None:
    """Send buffered output to /dev/null, so that Python does not fail again when it exits."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _later(function: str) -> Callable[[argparse.Namespace], Any]:
    """Return a function that imports the module of ``MODULE:FUNCTION`` and calls the function.

    Each verb needs one module, so only that one is loaded.
    """

    def run(options: argparse.Namespace) -> None:
        module, _, name = function.partition(":")
        getattr(import_module(f".{module}", __package__), name)(options)

    return run


def _address_or_none(text: str) -> IPInterface | str:
    return NONE if text == NONE else parse_address(text)


def _positive(text: str) -> int:
    number = count(text)
    if not number:
        raise ValueError("not a number greater than zero")
    return number


def _port(text: str) -> int:
    number = count(text)
    if not 0 < number <= 0xFFFF:
        raise ValueError("not a port: from 1 to 65535")
    return number


def _ethertype(text: str) -> int:
    names = {"arp": 0x0806, "ip": 0x0800, "ip6": 0x86DD}
    if text in names:
        return names[text]
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,4}", text):
        raise ValueError("not an EtherType: 0x and up to four hexadecimal digits, or arp, ip, ip6")
    return int(text, 16)


def _mac(text: str) -> bytes:
    return random_mac() if text == "random" else parse_mac(text)


def _bare_address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    if address.is_multicast or address.is_unspecified or "%" in text:
        raise ValueError("not the address of a single host")
    return address


class _Verb(NamedTuple):
    """A verb: the function that runs it, what it does, more about that, and its options."""

    run: str
    text: str
    options: Mapping[str, str]
    detail: str = ""
    special: Mapping[str, Mapping[str, Any]] | None = None


_NAME = {"name NAME": "interface"}
_FORCE = {"--force": "also change an interface that is not a feth"}
_VERBS = {
    "create": _Verb(
        "manage:create",
        "make feth interfaces and print their names (macOS)",
        {"unit UNIT": "number of the interface: 0 makes feth0"},
        detail="Their MTU can be set to any value up to 16370. If one cannot be made, none is.",
        special={"unit": {"nargs": "+"}},
    ),
    "destroy": _Verb(
        "manage:destroy",
        "destroy interfaces (macOS)",
        {**_NAME, **_FORCE},
        special={"name": {"nargs": "+"}},
    ),
    "set": _Verb(
        "manage:configure",
        "change an interface (macOS)",
        {
            **_NAME,
            "--peer NAME": "join it to this feth; none: disconnect it from its peer",
            "--addr CIDR": "add an IPv4 or IPv6 address with prefix length; can be given several "
            "times; none: first remove all addresses",
            "--mtu N": "MTU in bytes",
            "--mac MAC": "MAC address; random: a random one",
            "--metric N": "interface metric",
            "--state": "bring it up or down",
            **_FORCE,
        },
        detail="Settings without an option stay as they are.",
        special={
            "--addr": {"action": "append", "default": []},
            "--state": {"choices": ["up", "down"]},
        },
    ),
    "reap": _Verb(
        "manage:reap_abandoned",
        "destroy interfaces that killed fethpipes left behind, and print their names",
        {},
        detail="Other interfaces are not touched.",
    ),
    "status": _Verb(
        "show:status",
        "show interfaces as ifconfig does",
        {"name NAME": "interface (default: all)", "--json": "print JSON, a list of objects"},
        special={"name": {"nargs": "?"}},
    ),
    "list": _Verb(
        "show:list_names", "print the names of all feth interfaces; on Linux, of all TAPs", {}
    ),
    "capture": _Verb(
        "traffic:capture",
        "show the frames that pass through an interface, one on a line",
        {
            **_NAME,
            "-c COUNT": "end after this many frames",
            "--type ETHERTYPE": "only frames of this type: a number like 0x0806, or arp, ip, ip6",
            "--host ADDRESS": "only frames from or to this IPv4 or IPv6 address",
            "--port PORT": "only frames from or to this port of TCP or UDP",
            "-w FILE": "write the frames to this pcap file, for Wireshark; -: to stdout",
        },
        detail="SIGINT (Ctrl-C) or SIGTERM ends it.",
        special={"-c": {"dest": "count"}, "-w": {"dest": "file"}},
    ),
    "icmp": _Verb(
        "traffic:icmp",
        "answer ARP, neighbour discovery and ping for one address",
        {
            **_NAME,
            "address ADDRESS": "IPv4 or IPv6 address to answer for",
            "--mac MAC": "MAC address of that host (default: made from its IP address)",
            "-q, --quiet": "do not print the answers",
        },
        detail="It acts as a host with this address at the far end of the interface; the interface "
        "itself must have another address. SIGINT (Ctrl-C) or SIGTERM ends it.",
    ),
    "inject": _Verb(
        "traffic:inject",
        "send the frames of a pcap file",
        {**_NAME, "file FILE": "pcap file; -: stdin"},
        detail="They are sent one after the other, as fast as the interface accepts them.",
    ),
}

_CONVERTERS: dict[str, Callable[[str], object]] = {
    "UNIT": count,
    "NAME": check_name,
    "CIDR": _address_or_none,
    "N": count,
    "MAC": _mac,
    "COUNT": _positive,
    "ETHERTYPE": _ethertype,
    "ADDRESS": _bare_address,
    "PORT": _port,
}


def make_parser() -> Parser:
    """Return the parser of all verbs; ``options.run(options)`` runs the verb that was parsed."""
    parser = Parser(
        prog="fethctl",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fethctl {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for name, verb in _VERBS.items():
        about = f"{verb.text[0].upper()}{verb.text[1:]}. {verb.detail}".strip()
        added = verbs.add_parser(name, help=verb.text, description=about, allow_abbrev=False)
        add_options(added, verb.options, _CONVERTERS, verb.special)
        added.set_defaults(run=_later(verb.run))
    return parser
