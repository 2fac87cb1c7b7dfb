"""The command line of fethpipe: parse argv into a Config and run it.

An error becomes one line on stderr and an exit status.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from ._version import __version__
from .arguments import Parser, add_options, checked, count
from .errors import SystemFailureError, UsageError
from .netif.address import parse_address
from .netif.mac import parse_mac
from .netif.name import check_name
from .provision.kind import find_kind
from .provision.request import KINDS, DeviceRequest, VmnetOptions
from .remote.ssh import RemoteEnd
from .system.child import status_of
from .system.descriptors import close_all_but
from .system.stderr import configure_messages
from .tunnel.config import Config
from .tunnel.run import run
from .vmnet.options import MODES, check_options
from .wire.framing import FRAMINGS

_DESCRIPTION = """\
Shuttle Ethernet frames between a virtual Ethernet device and a byte stream:
stdin and stdout, or those of COMMAND. Two fethpipes, joined by a pair of
pipes, work as a network cable.
"""

_EPILOG = """\
exit status: 0 clean end, 64 usage, 69 COMMAND could not be started or failed,
71 operating-system failure, 73 cannot create the device, 75 the peer went
silent, 76 the stream is not in this framing, 77 not allowed
"""

_SSH_KEEPALIVE = 15.0
_LONGEST_PAUSE = 10.0
_STDERR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run fethpipe with these arguments (default: those of the process). Return its exit status."""
    configure_messages(logging.INFO)
    return status_of(partial(_main, argv))


def _main(argv: Sequence[str] | None) -> int:
    options, config = _parse(sys.argv[1:] if argv is None else argv)
    if argv is None:
        _close_inherited(config)
    configure_messages(config.level)
    if options.selftest:
        from .selftest.run import selftest  # noqa: PLC0415 - only it needs namespaces and threads

        try:
            return selftest(as_json=options.json)
        except BrokenPipeError:  # the reader of its results has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return SystemFailureError.status
    if not config.command and not config.remote:
        _refuse_terminals()
    run(config)
    return 0


def _close_inherited(config: Config) -> None:
    """Close the descriptors that we inherited. If COMMAND is the stream, also stdin and stdout,
    except for a terminal: it would end for the program that shows it when nobody has it open.
    """
    kept = {0, 1, 2}
    if config.command or config.remote:
        kept = {each for each in kept if each == _STDERR or os.isatty(each)}
    close_all_but(kept if config.ready_descriptor is None else kept | {config.ready_descriptor})


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    arguments = list(argv)
    command: list[str] | None = None
    if "--" in arguments:
        split = arguments.index("--")
        arguments, command = arguments[:split], arguments[split + 1 :]
        if not command:
            raise UsageError("-- needs a COMMAND after it")
    options = make_parser().parse(_with_remote_joined(arguments))
    if options.reconnect is not None and not command and not options.ssh:
        raise UsageError("--reconnect needs --ssh or a COMMAND to start again")
    if options.ssh and command:
        raise UsageError("use either --ssh or a COMMAND, not both")
    if options.json and not options.selftest:
        raise UsageError("--json needs --selftest")
    config = _config(options, find_kind(options.device).name)
    return options, config._replace(
        command=tuple(command or ()),
        remote=_remote_end(options),
        far=_far_config(options) if options.ssh else None,
    )


def _config(options: argparse.Namespace, kind: str) -> Config:
    """Return what the options say, for this end or the other one. Raises UsageError."""
    if options.dhcp:
        _check_dhcp(options)
    _refuse_foreign_options(options, kind)
    return Config(
        device=options.device,
        request=DeviceRequest(
            name=_device_name(options),
            attach=options.attach is not None,
            addresses=tuple(options.address),
            mac=options.mac,
            mtu=options.mtu,
            metric=options.metric,
            inject=None if options.inject == "auto" else options.inject,
            bridge=options.bridge,
            offload=_says_hello(options),
            vmnet=_vmnet_options(options),
        ),
        framing=options.framing,
        ready_descriptor=options.ready_fd,
        ready_file=options.ready_file,
        up=options.up,
        down=options.down,
        stats_seconds=options.stats,
        user=options.user,
        reconnect=options.reconnect,
        level=_level(options),
        keepalive=_keepalive(options),
        hello=_says_hello(options),
        latency_control=not options.no_latency_control,
        pcap=options.pcap,
        dhcp=options.dhcp,
    )


def _check_dhcp(options: argparse.Namespace) -> None:
    """Refuse what does not go with --dhcp. Raises UsageError."""
    if options.address:
        raise UsageError("use either --address or --dhcp, not both")
    if options.bridge:
        raise UsageError(
            "--dhcp does not work on a port of a bridge",
            hint=f"run a DHCP client for {options.bridge}",
        )
    if options.device == "vmnet" or FRAMINGS[options.framing].commands:
        raise UsageError("--dhcp does not work with --device vmnet or --framing zerotier")


def _level(options: argparse.Namespace) -> int:
    if options.quiet:
        return logging.WARNING
    return logging.DEBUG if options.verbose else logging.INFO


def _says_hello(options: argparse.Namespace) -> bool:
    return options.framing == "u16be" and not options.no_hello


def _keepalive(options: argparse.Namespace) -> float | None:
    if options.framing == "u16be":
        return _SSH_KEEPALIVE if options.ssh and options.keepalive is None else options.keepalive
    if options.keepalive:
        raise UsageError(
            f"--keepalive does not work with --framing {options.framing}: "
            "its programs treat an empty record as an error"
        )
    return None


def _with_remote_joined(arguments: list[str]) -> list[str]:
    """Return the arguments with ``--remote OPTIONS`` joined to ``--remote=OPTIONS``.

    OPTIONS start with a dash, so argparse would take them for an option and not for a value.
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
            raise UsageError("--ssh-command, --remote-python and --remote need --ssh")
        return None
    if options.remote and "--" in options.remote:
        raise UsageError(
            "--remote takes options but no COMMAND: the stream of the remote end is the ssh session"
        )
    return RemoteEnd(
        host=options.ssh,
        ssh_command=options.ssh_command or ("ssh",),
        python=options.remote_python,
    )


def _far_config(options: argparse.Namespace) -> Config:
    """Return what the remote end is to be. It has our options where both ends must have the same.

    So whoever mistypes one knows before he has typed a password for ssh.
    """
    words = options.remote or ()
    ours = ["--framing", options.framing]
    if _keepalive(options):
        ours += ["--keepalive", str(_keepalive(options))]
    with _told_of_remote():
        far = None
        if {"-h", "--help", "--version"}.isdisjoint(words):
            far = make_parser().parse([*ours, *words])
    if far is None or far.ssh or far.selftest or far.reconnect:
        raise UsageError("--remote takes options of a device and a stream, no other ones")
    if far.mtu is None and far.vmnet_mode != "bridged":
        far.mtu = options.mtu
    if not (far.verbose or far.quiet):
        far.verbose, far.quiet = options.verbose, options.quiet
    if far.device == "auto" and (far.unit is not None or far.inject):
        far.device = "feth"
    with _told_of_remote():
        return _config(far, far.device)


@contextmanager
def _told_of_remote() -> Iterator[None]:
    """Say of a refused option that it is one of the remote end."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"--remote: {error.message}", hint=error.hint) from error


def _refuse_foreign_options(options: argparse.Namespace, kind: str) -> None:
    """Refuse options that this kind of device does not have, instead of ignoring them."""
    for option in ("unit", "inject"):
        if kind != "feth" and getattr(options, option) is not None:
            raise UsageError(f"--{option} works with --device feth only, not with {kind}")
    for option in VmnetOptions._fields:
        if kind != "vmnet" and getattr(options, f"vmnet_{option}"):
            raise UsageError(f"--vmnet-{option} works with --device vmnet only, not {kind}")


def _vmnet_options(options: argparse.Namespace) -> VmnetOptions | None:
    given = {name: getattr(options, f"vmnet_{name}") for name in VmnetOptions._fields}
    given = {name: value for name, value in given.items() if value is not None}
    if options.device != "vmnet":
        return None
    vmnet = VmnetOptions(**given)
    check_options(vmnet, options.mtu)
    return vmnet


def _device_name(options: argparse.Namespace) -> str | None:
    """Return the name of the device to make or to attach to; None if any name will do."""
    name: str | None = options.name
    if options.unit is not None:
        if name is not None:
            raise UsageError("use either --unit N or --name fethN, not both")
        name = f"feth{options.unit}"
    if name is not None and options.attach is not None:
        raise UsageError(
            "use either --name (make a device) or --attach (use an existing one), not both"
        )
    return options.attach or name


def _refuse_terminals() -> None:
    for descriptor, name in ((0, "stdin"), (1, "stdout")):
        try:
            terminal = os.isatty(descriptor)
            os.fstat(descriptor)
        except OSError as error:
            raise UsageError(
                f"{name} is closed", hint="connect it to a pipe, or name a COMMAND after --"
            ) from error
        if terminal:
            raise UsageError(
                f"{name} is a terminal, but frames are binary data",
                hint="connect it to a pipe, or name a COMMAND: fethpipe -- ssh HOST fethpipe",
            )


def _host(text: str) -> str:
    if not text or text.startswith("-"):
        raise ValueError("not a host name")
    return text


def _python(text: str) -> str:
    if not re.fullmatch(r"~?[A-Za-z0-9_./+-]+", text) or text.startswith("-"):
        raise ValueError("a path may contain only letters, digits and . _ / + -")
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


def _descriptor(text: str) -> int:
    number = count(text)
    if number in (0, 1):
        raise ValueError("frames pass through descriptors 0 and 1")
    try:
        os.fstat(number)
    except OSError as error:
        if "SUDO_UID" in os.environ:
            raise ValueError(
                "not open, as sudo closes all descriptors above 2: leave sudo out, fethpipe"
                " calls it itself"
            ) from error
        raise ValueError("not an open descriptor") from error
    return number


def _seconds_or_none(text: str) -> float:
    return 0.0 if re.fullmatch(r"0+(\.0*)?", text) else _seconds(text)


def _output_path(text: str) -> str:
    if text in ("", "-"):
        raise ValueError("stdout carries frames: name a file")
    return text


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise ValueError("not a number of seconds greater than zero")
    return float(text)


_OPTIONS = {
    "": {
        "--user NAME": "user to run as after set-up (default: nobody, and COMMAND as the user who "
        "ran sudo, or as root if root itself runs fethpipe)",
        "--selftest": "move frames through temporary devices on this machine and print the results",
        "--json": "with --selftest: print the results as JSON, for a bug report",
    },
    "device": {
        "--device": "kind of device (default: feth on macOS, tap on Linux)",
        "--unit N": "feth only: make fethN and feth(N+10000) (default: the lowest free pair from "
        "10000 up)",
        "--name NAME": "name of the TAP (default: the first free of fp0, fp1 ...); on macOS, "
        "fethN is the same as --unit N",
        "--attach NAME": "use an existing interface, change only what other options ask for, and "
        "do not destroy it",
        "--address CIDR": "IPv4 or IPv6 address with prefix length; can be given several times",
        "--dhcp": "get an IPv4 address from the network at the other end, with the DHCP client of "
        "this system; only the address: no default route, no name servers",
        "--mac MAC": "MAC address (default: a locally administered one, always the same for this "
        "host and device name)",
        "--mtu N": "MTU in bytes (default: 1500)",
        "--metric N": "metric of the interface; on Linux, of the routes that come with its "
        "addresses",
        "--bridge NAME": "make the device a port of this bridge, which must exist, before any "
        "frame passes",
        "--inject": "feth only: how frames are sent: ndrv: one by one through AF_NDRV; bpf: in "
        "batches through BPF, where macOS 14.1 or newer allows it; auto (default): bpf if it "
        "works, else ndrv",
    },
    "vmnet only": {
        "--vmnet-mode": "what can be reached: host: this Mac; shared: this Mac and, through NAT, "
        "the networks beyond it (default); bridged: the network of an interface",
        "--vmnet-interface NAME": "bridged mode: the interface of this Mac to bridge to, such as "
        "en0",
        "--vmnet-start ADDRESS": "this Mac's own address in the network (default: macOS chooses)",
        "--vmnet-end ADDRESS": "last address that the DHCP server of macOS gives out",
        "--vmnet-mask MASK": "network mask of --vmnet-start and --vmnet-end, such as 255.255.255.0",
        "--vmnet-isolated": "cut off from other vmnet interfaces (macOS 11 or newer)",
        "--vmnet-network UUID": "host mode: join the network of all interfaces with the same "
        "UUID, without DHCP (macOS 11 or newer)",
    },
    "stream": {
        "--framing": "format of the stream: u16be: VDE (default); u32be: QEMU, passt; u16le: "
        "gvproxy; zerotier: the pipe of ZeroTier's agent",
        "--no-hello": "send frames only: no hello record, and therefore no super-frames",
        "--no-latency-control": "send whatever the stream takes, even if other traffic then waits "
        "behind it",
        "--keepalive SECONDS": "send an empty record when the stream was idle for so long, and "
        "end when a peer that does the same is silent three times as long (default: 15 with "
        "--ssh, else 0: off)",
        "--reconnect SECONDS": "when COMMAND or ssh ends, keep the device and start it again "
        "after 1 s, later after up to SECONDS (default: 10); at once when the network changes, "
        "and on SIGUSR2",
    },
    "remote end": {
        "--ssh [USER@]HOST": "start the other end on this host, over ssh; the host needs Python "
        "and no fethpipe",
        "--ssh-command CMD": "command that runs ssh, with its options (default: ssh)",
        "--remote-python PATH": "Python 3.9 or newer on that host (default: python3, python, or "
        "python3.14 to python3.9, searched in the usual places)",
        "--remote OPTIONS": "options of fethpipe on that host, as one word, quoted as for a shell",
    },
    "output": {
        "--ready-fd N": "write a line of JSON to this file descriptor when the device is up, when "
        "the other end is connected, and when --reconnect waits",
        "--ready-file FILE": "write the same lines to this file",
        "--up COMMAND": "run this shell command, as the user of COMMAND, when the device is up, "
        "when the other end is connected, and when --dhcp got an address; FETHPIPE_REASON tells "
        "(device, connected, address)",
        "--down COMMAND": "run this shell command before the device goes (end), and when "
        "--reconnect waits (waiting)",
        "--pcap FILE": "also write every frame, in both directions, to this pcap file, for "
        "tcpdump and Wireshark",
        "--stats SECONDS": "print counters to stderr every SECONDS; SIGUSR1 prints them at once",
    },
}
"""The texts of the options, in the groups of --help."""

_VERBOSITY = {
    "-v, --verbose": "print more messages",
    "-q, --quiet": "print only warnings and errors",
}

_CONVERTERS: dict[str, Callable[[str], object]] = {
    "N": count,
    "NAME": check_name,
    "CIDR": parse_address,
    "MAC": parse_mac,
    "SECONDS": _seconds,
    "[USER@]HOST": _host,
    "CMD": _words,
    "OPTIONS": _words,
    "PATH": _python,
    "FILE": _output_path,
}

_SPECIAL: dict[str, dict[str, Any]] = {
    "--user": {"type": None},
    "--device": {"choices": ["auto", *KINDS], "default": "auto"},
    "--address": {"action": "append", "default": []},
    "--inject": {"choices": ["auto", "ndrv", "bpf"]},
    "--vmnet-mode": {"choices": list(MODES)},
    "--vmnet-isolated": {"default": None},
    "--framing": {"choices": list(FRAMINGS), "default": "u16be"},
    "--keepalive": {"type": checked(_seconds_or_none)},
    "--reconnect": {"nargs": "?", "const": _LONGEST_PAUSE},
    "--ready-fd": {"type": checked(_descriptor)},
}


@cache
def make_parser() -> Parser:
    """Return the parser of the options. It never sees COMMAND, which is split off before."""
    parser = Parser(
        prog="fethpipe",
        usage="fethpipe [options] [-- COMMAND [ARG...] | --ssh [USER@]HOST]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.word_hint = "COMMAND needs -- in front of it: fethpipe [options] -- COMMAND [ARG...]"
    for title, texts in _OPTIONS.items():
        group = parser.add_argument_group(title) if title else parser
        add_options(group, texts, _CONVERTERS, _SPECIAL)
    add_options(group.add_mutually_exclusive_group(), _VERBOSITY, _CONVERTERS)
    parser.add_argument("--version", action="version", version=f"fethpipe {__version__}")
    return parser
