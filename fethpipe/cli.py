"""The command line of fethpipe: argv to a Config, errors to one line and an exit status."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence

from ._version import __version__
from .arguments import Parser, checked, count
from .errors import FethpipeError, SystemFailureError, UsageError
from .netif.address import parse_address
from .netif.mac import parse_mac
from .netif.name import check_name
from .provision import KINDS, find_kind
from .provision.request import DeviceRequest, VmnetOptions
from .remote.handshake import make_marker
from .remote.ssh import RemoteEnd
from .system.stderr import configure_reports
from .tunnel.run import Config, run
from .vmnet.options import MODES, check_options
from .wire.framing import FRAMINGS

log = logging.getLogger("fethpipe")

_DESCRIPTION = """\
Shuttle Ethernet frames between a virtual Ethernet device and a byte stream:
stdin and stdout, or those of COMMAND. Two of these, joined by any two pipes,
are a network cable.
"""

_EPILOG = """\
exit status: 0 clean end, 64 usage, 69 COMMAND could not be started or failed,
71 operating-system failure, 73 cannot create the device, 75 the peer went
silent, 76 the stream is not in this framing, 77 not allowed
"""

_SSH_KEEPALIVE = 15.0


def main(argv: Sequence[str] | None = None, *, on_ready: Callable[[], None] | None = None) -> int:
    """Run fethpipe and return its exit status.

    ``on_ready`` is called when the device is up, before anything is written to stdout.
    """
    configure_reports(logging.INFO)
    try:
        options, config = _parse(sys.argv[1:] if argv is None else argv)
        configure_reports(logging.DEBUG if options.verbose else logging.INFO)
        if options.quiet:
            configure_reports(logging.WARNING)
        if options.selftest:
            from .selftest.run import selftest  # noqa: PLC0415 - only it needs namespaces and threads

            try:
                return selftest(as_json=options.json)
            except BrokenPipeError:  # whoever read what it says has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                return SystemFailureError.status
        if not config.command and not config.remote:
            _refuse_terminals()
        run(config, on_ready=on_ready)
    except FethpipeError as error:
        log.error("%s", error)  # noqa: TRY400 - one line, never a traceback
        return error.status
    return 0


def serve(argv: Sequence[str], nonce: str) -> int:
    """Run fethpipe as the other end of somebody's ``--ssh``, who waits for the marker."""

    def mark_start() -> None:
        os.write(1, make_marker(nonce))

    return main(argv, on_ready=mark_start)


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    arguments = list(argv)
    command: list[str] | None = None
    if "--" in arguments:
        split = arguments.index("--")
        arguments, command = arguments[:split], arguments[split + 1 :]
        if not command:
            raise UsageError("there is no COMMAND after --")
    options = make_parser().parse_args(_with_remote_joined(arguments))
    if options.reconnect and not command and not options.ssh:
        raise UsageError("--reconnect needs a COMMAND or --ssh to start again")
    if options.ssh and command:
        raise UsageError("--ssh makes the stream, and so does a COMMAND: one of them")
    if options.json and not options.selftest:
        raise UsageError("--json comes with --selftest")
    _refuse_foreign_options(options)
    return options, Config(
        device=options.device,
        request=DeviceRequest(
            name=_device_name(options),
            attach=options.attach is not None,
            addresses=tuple(options.address),
            mac=options.mac,
            mtu=options.mtu,
            metric=options.metric,
            inject=options.inject,
            offload=_says_hello(options),
            vmnet=_vmnet_options(options),
        ),
        framing=options.framing,
        command=tuple(command or ()),
        ready_descriptor=options.ready_fd,
        stats_seconds=options.stats,
        user=options.user,
        reconnect=options.reconnect,
        remote=_remote_end(options),
        verbosity="-v" if options.verbose else "-q" if options.quiet else None,
        keepalive=_keepalive(options),
        hello=_says_hello(options),
        pcap=options.pcap,
    )


def _says_hello(options: argparse.Namespace) -> bool:
    return options.framing == "u16be" and not options.no_hello


def _keepalive(options: argparse.Namespace) -> float | None:
    if options.framing == "u16be":
        return _SSH_KEEPALIVE if options.ssh and options.keepalive is None else options.keepalive
    if options.keepalive:
        raise UsageError(
            f"--keepalive is not for {options.framing}, where an empty record is an error"
        )
    return None


def _with_remote_joined(arguments: list[str]) -> list[str]:
    """Return the arguments with ``--remote OPTIONS`` in one: the options start with a dash, which
    argparse would not take for a value.
    """
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--remote":
            joined[-1] = f"--remote={argument}"
        else:
            joined.append(argument)
    return joined


def _remote_end(options: argparse.Namespace) -> RemoteEnd | None:
    given = (options.ssh_command, options.remote_python, options.remote)
    if options.ssh is None:
        if any(given):
            raise UsageError("--ssh-command, --remote-python and --remote come with --ssh")
        return None
    if options.remote and "--" in options.remote:
        raise UsageError("--remote takes options only, for its stream is ours")
    return RemoteEnd(
        host=options.ssh,
        ssh_command=options.ssh_command or ("ssh",),
        python=options.remote_python,
        options=options.remote or (),
    )


def _refuse_foreign_options(options: argparse.Namespace) -> None:
    """Refuse what the kind of device does not have, rather than ignore it."""
    kind = find_kind(options.device)
    for option in ("unit", "inject"):
        if kind.name != "feth" and getattr(options, option) is not None:
            raise UsageError(f"--{option} is for feth devices, and this is a {kind.name}")
    for option in VmnetOptions._fields:
        if kind.name != "vmnet" and getattr(options, f"vmnet_{option}"):
            raise UsageError(f"--vmnet-{option} is for vmnet devices, and this is a {kind.name}")


def _vmnet_options(options: argparse.Namespace) -> VmnetOptions | None:
    given = {name: getattr(options, f"vmnet_{name}") for name in VmnetOptions._fields}
    given = {name: value for name, value in given.items() if value is not None}
    if options.device != "vmnet":
        return None
    vmnet = VmnetOptions(**given)
    check_options(vmnet, options.mtu)
    return vmnet


def _device_name(options: argparse.Namespace) -> str | None:
    """Return the name of the device to make or to attach to, None for any."""
    name: str | None = options.name
    if options.unit is not None:
        if name is not None:
            raise UsageError("--unit N means --name fethN: one of them")
        name = f"feth{options.unit}"
    if name is not None and options.attach is not None:
        raise UsageError(
            "--name is for a device to make and --attach for one that exists: one of them"
        )
    return options.attach or name


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options; COMMAND is split off before it sees them."""
    parser = Parser(
        prog="fethpipe",
        usage="fethpipe [options] [-- COMMAND [ARG...] | --ssh [USER@]HOST]",
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
        "--unit",
        type=checked(count),
        metavar="N",
        help="feth only: make fethN and feth(N+10000) (default: the lowest free from 10000 up)",
    )
    device.add_argument(
        "--name",
        type=checked(check_name),
        metavar="NAME",
        help="name of the TAP (default: fp0, fp1 ...); on macOS fethN, the same as --unit N",
    )
    device.add_argument(
        "--attach",
        type=checked(check_name),
        metavar="NAME",
        help="use an interface that exists; configure only what other options ask for",
    )
    device.add_argument(
        "--address",
        type=checked(parse_address),
        metavar="CIDR",
        action="append",
        default=[],
        help="IPv4 or IPv6 address with prefix length; repeatable",
    )
    device.add_argument(
        "--mac",
        type=checked(parse_mac),
        metavar="MAC",
        help="MAC (default: locally administered, the same for this host and name every time)",
    )
    device.add_argument(
        "--mtu", type=checked(count), metavar="N", help="MTU in bytes (default: 1500)"
    )
    device.add_argument(
        "--metric",
        type=checked(count),
        metavar="N",
        help="metric; on Linux, of the routes that come with the addresses",
    )
    device.add_argument(
        "--inject",
        choices=["ndrv", "bpf"],
        help="feth only: send frames one by one through AF_NDRV (default), or many at once "
        "through BPF, where macOS 14.4 or newer lets us",
    )
    vmnet = parser.add_argument_group("vmnet only")
    vmnet.add_argument(
        "--vmnet-mode",
        choices=list(MODES),
        help="who can be reached: host: this Mac; shared: and beyond it, through NAT (default); "
        "bridged: the network of an interface",
    )
    vmnet.add_argument(
        "--vmnet-interface",
        type=checked(check_name),
        metavar="NAME",
        help="bridged: the interface of this Mac, such as en0",
    )
    vmnet.add_argument(
        "--vmnet-start", metavar="ADDRESS", help="this Mac's own address (default: macOS chooses)"
    )
    vmnet.add_argument(
        "--vmnet-end", metavar="ADDRESS", help="the last address that its DHCP server gives out"
    )
    vmnet.add_argument("--vmnet-mask", metavar="MASK", help="their mask, such as 255.255.255.0")
    vmnet.add_argument(
        "--vmnet-isolated",
        action="store_true",
        default=None,
        help="reach no other vmnet interface (macOS 11 or newer)",
    )
    vmnet.add_argument(
        "--vmnet-network",
        metavar="UUID",
        help="host mode: a network of those that name the same UUID, without DHCP (macOS 11)",
    )
    stream = parser.add_argument_group("stream")
    stream.add_argument(
        "--framing",
        choices=list(FRAMINGS),
        default="u16be",
        help="u16be: VDE (default); u32be: QEMU, passt; u16le: gvproxy; zerotier: its agent's pipe",
    )
    stream.add_argument(
        "--no-hello",
        action="store_true",
        help="send frames and nothing else, and never super-frames",
    )
    stream.add_argument(
        "--keepalive",
        type=checked(_seconds_or_none),
        metavar="SECONDS",
        help="say something when idle for so long, and end when a peer that does the same is "
        "silent three times as long (default: 15 with --ssh, else 0: off)",
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
    remote = parser.add_argument_group("remote end")
    remote.add_argument(
        "--ssh",
        type=checked(_host),
        metavar="[USER@]HOST",
        help="run on this host too, over ssh, with nothing installed there but Python",
    )
    remote.add_argument(
        "--ssh-command",
        type=checked(_words),
        metavar="CMD",
        help="how to run ssh, with options if need be (default: ssh)",
    )
    remote.add_argument(
        "--remote-python",
        type=checked(_python),
        metavar="PATH",
        help="Python 3.9 or newer there (default: python3 or python, wherever it usually is)",
    )
    remote.add_argument(
        "--remote",
        type=checked(_words),
        metavar="OPTIONS",
        help="options of fethpipe there, in one word, quoted as for a shell",
    )
    reports = parser.add_argument_group("reports")
    reports.add_argument(
        "--ready-fd",
        type=checked(_descriptor),
        metavar="N",
        help="write one line of JSON to this descriptor when the device is up",
    )
    reports.add_argument(
        "--pcap",
        type=checked(_capture_path),
        metavar="FILE",
        help="also write every frame, both ways, to this file, for tcpdump and Wireshark",
    )
    reports.add_argument(
        "--stats",
        type=checked(_seconds),
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
    parser.add_argument(
        "--json", action="store_true", help="with --selftest: tell it as JSON, for a bug report"
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


def _host(text: str) -> str:
    if not text or text.startswith("-"):
        raise ValueError("not a host")
    return text


def _python(text: str) -> str:
    if not re.fullmatch(r"~?[A-Za-z0-9_./+-]+", text) or text.startswith("-"):
        raise ValueError("a path may have letters, digits and . _ / + - only")
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


def _descriptor(text: str) -> int:
    number = count(text)
    if number in (0, 1):
        raise ValueError("frames flow there")
    try:
        os.fstat(number)
    except OSError as error:
        raise ValueError("not an open descriptor") from error
    return number


def _seconds_or_none(text: str) -> float:
    return 0.0 if re.fullmatch(r"0+(\.0*)?", text) else _seconds(text)


def _capture_path(text: str) -> str:
    if text in ("", "-"):
        raise ValueError("stdout carries frames: name a file")
    return text


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise ValueError("not a number of seconds above zero")
    return float(text)
