"""From argv to a Config, and from errors to one line and an exit status. No device is made."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fethpipe import cli
from fethpipe.abi.address import IPInterface
from fethpipe.errors import (
    CommandFailedError,
    DeviceError,
    FethpipeError,
    LaunchError,
    NotAllowedError,
    ProtocolError,
    SystemFailureError,
    TruncatedError,
    UsageError,
)
from fethpipe.provision.request import KINDS, DeviceRequest
from fethpipe.remote.ssh import RemoteEnd
from fethpipe.tunnel.config import Config
from fethpipe.wire.framing import FRAMINGS
from tests.strategies import interfaces

COMMAND = ["--", "true"]
DEFAULT = Config(request=DeviceRequest(offload=True))

Parse = Callable[..., Config]
Refuse = Callable[..., str]


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Undo what configure_messages does to the program's logger."""
    logger = logging.getLogger("fethpipe")
    before = logger.propagate, logger.handlers, logger.level
    yield
    logger.propagate, logger.handlers = before[:2]
    logger.setLevel(before[2])


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on("Linux", monkeypatch)


def run_on(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname_result((system, "host", "1", "1", "machine"))
    monkeypatch.setattr(os, "uname", lambda: uname)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Return the list of what is run, in place of running it."""
    configs: list[Config] = []

    def run(config: Config, **_: object) -> None:
        configs.append(config)

    monkeypatch.setattr(cli, "run", run)
    return configs


@pytest.fixture
def parse(ran: list[Config]) -> Parse:
    """Return what options mean, with a COMMAND behind them."""

    def parse(*options: str) -> Config:
        ran.clear()
        assert cli.main([*options, *COMMAND]) == 0
        (config,) = ran
        return config

    return parse


@pytest.fixture
def refuse(ran: list[Config], capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Return the line with which a command line is refused."""

    def refuse(*argv: str) -> str:
        assert cli.main(argv) == 64
        assert ran == []
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("fethpipe: ")
        return err[len("fethpipe: ") : -1]

    return refuse


# ---- what is accepted ----


def test_no_options(parse: Parse) -> None:
    assert parse() == DEFAULT._replace(command=("true",))


def test_all_options(parse: Parse) -> None:
    config = parse(
        *("--device", "tap", "--name", "fp7", "--mac", "02:00:5e:00:53:01"),
        *("--address", "192.0.2.1/24", "--address", "2001:db8::1/64"),
        *("--mtu", "1400", "--metric", "50", "--framing", "u32be", "--user", "nobody"),
        *("--ready-fd", "2", "--stats", "2.5", "--reconnect", "20"),
        *("--ready-file", "states"),
    )
    assert config == Config(
        device="tap",
        request=DeviceRequest(
            name="fp7",
            addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
            mac=bytes.fromhex("02005e005301"),
            mtu=1400,
            metric=50,
        ),
        framing="u32be",
        command=("true",),
        ready_descriptor=2,
        stats_seconds=2.5,
        user="nobody",
        reconnect=20.0,
        ready_file="states",
        hello=False,
    )


@pytest.mark.parametrize("address", ["10.9.0.0/31", "10.9.0.1/31", "10.9.0.0/32", "fd00::/127"])
def test_a_network_of_two_has_no_address_of_its_own(parse: Parse, address: str) -> None:
    assert parse("--address", address).request.addresses == (ip_interface(address),)


def test_attach(parse: Parse) -> None:
    expected = DeviceRequest(name="tap0", attach=True, offload=True)
    assert parse("--attach", "tap0").request == expected


@pytest.mark.parametrize("framing", FRAMINGS)
def test_only_one_framing_has_a_hello(parse: Parse, framing: str) -> None:
    config = parse("--framing", framing)
    assert config.hello == config.request.offload == (framing == "u16be")


def test_no_hello_means_no_offload_either(parse: Parse) -> None:
    config = parse("--no-hello")
    assert not config.hello
    assert not config.request.offload


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (COMMAND, None),
        (["--keepalive", "2.5", *COMMAND], 2.5),
        (["--keepalive", "2.5", "--ssh", "host"], 2.5),
        (["--ssh", "host"], 15.0),
        (["--ssh", "host", "--framing", "u32be"], None),
    ],
)
def test_keepalive(ran: list[Config], options: list[str], seconds: float | None) -> None:
    assert cli.main(options) == 0
    assert ran[0].keepalive == seconds


@pytest.mark.parametrize("options", [COMMAND, ["--ssh", "host"]])
def test_keepalive_that_is_off(ran: list[Config], options: list[str]) -> None:
    assert cli.main(["--keepalive", "0", *options]) == 0
    assert not ran[0].keepalive


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing(parse: Parse, framing: str) -> None:
    assert parse("--framing", framing).framing == framing


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_device_on_its_system(
    parse: Parse, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on(KINDS[kind], monkeypatch)
    assert parse("--device", kind).device == kind
    assert parse("--device", "auto").device == "auto"


def test_a_kind_of_device_on_another_system(refuse: Refuse) -> None:
    assert refuse("--device", "feth", *COMMAND) == "--device feth needs macOS, but this is Linux"


def test_options_of_feth(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on("Darwin", monkeypatch)
    request = parse("--unit", "10007", "--inject", "bpf").request
    assert request == DeviceRequest(name="feth10007", inject="bpf", offload=True)


@pytest.mark.parametrize(
    "command",
    [
        ("ssh", "-v", "host", "fethpipe", "--name", "fp1"),
        ("sh", "-c", "exit 3", "--", "x"),
        ("--", "true"),
        ("-x",),
        ("",),
    ],
)
def test_the_command_is_taken_as_it_is(ran: list[Config], command: tuple[str, ...]) -> None:
    assert cli.main(["--stats", "1", "--", *command]) == 0
    assert ran[0].command == command


@pytest.mark.parametrize("name", ["a", "fp%d", "%d", "tap.100", "fifteen-letters", "a%db"])
def test_names(parse: Parse, name: str) -> None:
    assert parse("--name", name).request.name == name


def may_be_one_s_own(address: IPInterface) -> bool:
    ends = (address.network.network_address, address.network.broadcast_address)
    ip = address.ip
    special = ip.is_multicast or ip.is_loopback or ip.is_unspecified
    return not special and ip not in ends


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(addresses=st.lists(interfaces().filter(may_be_one_s_own), max_size=3))
def test_addresses(parse: Parse, addresses: list[IPInterface]) -> None:
    options = [f"--address={address}" for address in addresses]
    assert parse(*options).request.addresses == tuple(addresses)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1.0), ("0.5", 0.5), ("0.001", 0.001), ("999999", 999999.0)]
)
def test_seconds(parse: Parse, text: str, seconds: float) -> None:
    assert parse("--stats", text).stats_seconds == seconds


@pytest.mark.parametrize(
    ("options", "level"),
    [([], logging.INFO), (["-v"], logging.DEBUG), (["-q"], logging.WARNING)],
)
def test_verbosity(parse: Parse, options: list[str], level: int) -> None:
    assert parse(*options).level == level
    assert logging.getLogger("fethpipe").level == level


# ---- what is refused, each with a line that names it ----

REFUSED = {
    "an unknown option": (["--frames"], "unrecognized arguments: --frames"),
    "an abbreviated option": (["--fram", "u16be"], "unrecognized arguments: --fram u16be"),
    "a COMMAND without its mark": (["ssh", "host"], "ssh host; COMMAND needs -- in front of it"),
    "a misspelt option": (["--adress", "192.0.2.1/24"], "192.0.2.1/24; did you mean --address?"),
    "a misspelt option with =": (["--reconect=5"], "did you mean --reconnect?"),
    "an option without its value": (["--name"], "argument --name: expected one argument"),
    "an unknown framing": (["--framing", "u8"], "argument --framing: invalid choice: 'u8'"),
    "an unknown kind": (["--device", "tun"], "argument --device: invalid choice: 'tun'"),
    "the number of a TAP": (["--unit", "1"], "--unit works with --device feth only, not with tap"),
    "injecting into a TAP": (["--inject", "bpf"], "--inject works with --device feth only"),
    "both a new and an old device": (["--name", "a", "--attach", "b"], "not both"),
    "loud and quiet": (["-v", "-q"], "not allowed with argument"),
    "no name": (["--name", ""], "argument --name: '': not an interface name"),
    "a long name": (["--name", "sixteen-letters!"], "an interface name has at most 15 bytes"),
    "a path": (["--name", "../tap0"], "not an interface name"),
    "a folder": (["--name", ".."], "not an interface name"),
    "a name with a colon": (["--name", "tap:0"], "not an interface name"),
    "a name with a space": (["--name", "tap 0"], "not an interface name"),
    "a name with a line": (["--name", "tap0\n"], r"'tap0\n': not an interface name"),
    "a name that is not ASCII": (["--name", "täp0"], r"'t\xe4p0': not an interface name"),
    "a name that is no text": (["--name", "tap\udcff"], r"argument --name: 'tap\udcff'"),
    "two numbers": (["--name", "a%db%d"], "a name may contain one %d, and no other %"),
    "another conversion": (["--name", "tap%s"], "a name may contain one %d, and no other %"),
    "no prefix length": (["--address", "192.0.2.1"], "needs a prefix length, like 10.9.0.1/24"),
    "an impossible address": (["--address", "192.0.2.256/24"], "argument --address: '192.0.2.256"),
    "an impossible prefix": (["--address", "2001:db8::1/129"], "argument --address: '2001:db8::"),
    "an empty prefix": (["--address", "192.0.2.1/"], "argument --address: '192.0.2.1/'"),
    "a network": (["--address", "10.9.0.0/24"], "take one inside, like 10.9.0.1"),
    "an IPv6 network": (["--address", "fd00:9::/64"], "take one inside, like fd00:9::1"),
    "a broadcast address": (["--address", "10.9.0.255/24"], "the broadcast address of its network"),
    "a group": (["--address", "224.0.0.1/24"], "a multicast address belongs to no interface"),
    "an IPv6 group": (["--address", "ff02::1/64"], "a multicast address belongs to no interface"),
    "no address": (["--address", "0.0.0.0/0"], "0.0.0.0 and :: are no address of an interface"),
    "no IPv6 address": (["--address", "::/0"], "0.0.0.0 and :: are no address of an interface"),
    "loopback": (["--address", "127.0.0.2/8"], "a loopback address does not leave"),
    "IPv6 loopback": (["--address", "::1/128"], "a loopback address does not leave"),
    "a zone": (["--address", "fe80::1%eth0/64"], "an address with a zone (%) is not allowed here"),
    "a multicast address": (["--mac", "01:00:5e:00:53:01"], "a multicast address"),
    "half a MAC": (["--mac", "02:00:5e"], "not a MAC address"),
    "a negative MTU": (["--mtu", "-1"], "argument --mtu: "),
    "an MTU that is no number": (["--mtu", "1e3"], "argument --mtu: '1e3': not a whole number"),
    "digits of another script": (["--mtu", "\u0661500"], "not a whole number"),
    "a number without end": (["--metric", "9" * 10], "not a whole number"),
    "no time": (["--stats", "0"], "not a number of seconds greater than zero"),
    "no time at all": (["--stats", "0.000"], "not a number of seconds greater than zero"),
    "time without end": (["--stats", "inf"], "not a number of seconds greater than zero"),
    "the frames' own descriptor": (["--ready-fd", "1"], "argument --ready-fd: '1': frames pass"),
    "keepalive where it is an error": (
        ["--keepalive", "5", "--framing", "u32be"],
        "--keepalive does not work with --framing u32be: its programs treat an empty record as",
    ),
    "no descriptor": (["--ready-fd", "99999"], "'99999': not an open descriptor"),
}


@pytest.mark.parametrize(("options", "line"), REFUSED.values(), ids=list(REFUSED))
def test_a_wrong_command_line_is_refused(refuse: Refuse, options: list[str], line: str) -> None:
    assert line in refuse(*options, *COMMAND)


def test_a_refusal_says_where_help_is(refuse: Refuse) -> None:
    line = refuse("--mtu", "big", *COMMAND)
    assert line == "argument --mtu: 'big': not a whole number; see fethpipe --help"


@pytest.mark.parametrize(
    ("remote", "mtu"),
    [
        ("--name fp1", 1400),
        ("--mtu 1300", 1300),
        ("--device vmnet --vmnet-mode bridged --vmnet-interface en0", None),
    ],
)
def test_the_remote_end_gets_the_mtu(ran: list[Config], remote: str, mtu: int | None) -> None:
    assert cli.main(["--ssh", "host", "--mtu", "1400", "--remote", remote]) == 0
    (config,) = ran
    assert config.far is not None
    assert config.far.request.mtu == mtu


@pytest.mark.parametrize(
    ("ours", "remote", "level"),
    [
        ("-v", "", logging.DEBUG),
        ("-q", "-v", logging.DEBUG),
        ("-v", "-q", logging.WARNING),
        ("-q", "", logging.WARNING),
    ],
)
def test_the_remote_end_says_as_much(ran: list[Config], ours: str, remote: str, level: int) -> None:
    assert cli.main(["--ssh", "host", ours, "--remote", remote]) == 0
    assert ran[0].far is not None
    assert ran[0].far.level == level


@pytest.mark.parametrize("option", ["--unit 5", "--inject bpf"])
def test_options_of_feth_make_the_remote_end_one(ran: list[Config], option: str) -> None:
    assert cli.main(["--ssh", "host", "--remote", option]) == 0
    assert ran[0].far is not None
    assert ran[0].far.device == "feth"


def test_a_number_and_a_name(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on("Darwin", monkeypatch)
    line = refuse("--unit", "10007", "--name", "feth10007", *COMMAND)
    assert line == "use either --unit N or --name fethN, not both"


def test_a_descriptor_that_sudo_closed(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1000")
    line = refuse("--ready-fd", "99999", *COMMAND)
    assert "'99999': not open, as sudo closes all descriptors above 2: leave sudo out" in line


def test_an_open_descriptor_is_accepted(parse: Parse, tmp_path: Path) -> None:
    with (tmp_path / "ready").open("w") as file:
        assert parse("--ready-fd", str(file.fileno())).ready_descriptor == file.fileno()


# ---- stdin and stdout as the stream ----


@pytest.mark.parametrize(("terminal", "name"), [(0, "stdin"), (1, "stdout")])
def test_a_terminal_is_refused(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, terminal: int, name: str
) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == terminal)
    assert refuse().startswith(f"{name} is a terminal, but frames are binary data; ")


@pytest.mark.parametrize(("closed", "name"), [(0, "stdin"), (1, "stdout")])
def test_a_closed_descriptor_is_refused(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, closed: int, name: str
) -> None:
    original = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        if descriptor == closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return original(descriptor)

    monkeypatch.setattr(os, "isatty", lambda descriptor: False)
    monkeypatch.setattr(os, "fstat", fstat)
    assert refuse().startswith(f"{name} is closed; ")


def test_pipes_are_accepted(ran: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: False)
    assert cli.main([]) == 0
    assert ran == [DEFAULT]


@pytest.mark.parametrize("argv", [COMMAND, ["--ssh", "host"]])
def test_a_stream_of_our_own_needs_no_pipes(
    ran: list[Config], monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    assert cli.main(argv) == 0
    assert len(ran) == 1


# ---- the remote end ----


def test_a_remote_end(ran: list[Config]) -> None:
    assert cli.main(["--ssh", "me@host"]) == 0
    far = DEFAULT._replace(keepalive=15.0)
    assert ran == [far._replace(remote=RemoteEnd(host="me@host"), far=far)]


def test_options_of_the_remote_end(ran: list[Config]) -> None:
    options = [
        *("--ssh", "host", "--ssh-command", "ssh -p 2222 -i 'a key'", "--reconnect"),
        *("--remote-python", "/opt/python3", "--remote", "--address 192.0.2.2/24 -v"),
    ]
    assert cli.main(options) == 0
    remote = RemoteEnd(
        host="host",
        ssh_command=("ssh", "-p", "2222", "-i", "a key"),
        python="/opt/python3",
    )
    ours = DEFAULT._replace(remote=remote, reconnect=10.0, keepalive=15.0)
    request = DEFAULT.request._replace(addresses=(ip_interface("192.0.2.2/24"),))
    far = DEFAULT._replace(request=request, keepalive=15.0, level=logging.DEBUG)
    assert ran == [ours._replace(far=far)]


REMOTE_REFUSED = {
    "nothing to start again": (["--reconnect"], "--reconnect needs --ssh or a COMMAND to start"),
    "a mark without a COMMAND": (["--name", "fp0", "--"], "-- needs a COMMAND after it"),
    "two streams": (["--ssh", "host", *COMMAND], "use either --ssh or a COMMAND, not both"),
    "options for no remote end": (["--remote=-v", *COMMAND], "need --ssh"),
    "a COMMAND over there": (
        ["--ssh", "host", "--remote", "-- cat"],
        "takes options but no COMMAND",
    ),
    "an open quotation": (["--ssh", "host", "--remote", "'"], "argument --remote: "),
    **{
        f"{remote} over there": (["--ssh", "host", "--remote", remote], why)
        for remote, why in (
            ("--address 10.9.0.2", "--remote: argument --address: '10.9.0.2': needs a prefix"),
            ("--nonsense", "--remote: unrecognized arguments: --nonsense"),
            ("--version", "--remote takes options of a device and a stream"),
            ("--ssh other", "--remote takes options of a device and a stream"),
            ("--selftest", "--remote takes options of a device and a stream"),
        )
    },
}


@pytest.mark.parametrize(("argv", "line"), REMOTE_REFUSED.values(), ids=list(REMOTE_REFUSED))
def test_a_wrong_remote_end_is_refused(refuse: Refuse, argv: list[str], line: str) -> None:
    assert line in refuse(*argv)


# ---- errors ----


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("wrong"), 64),
        (LaunchError("wrong"), 69),
        (CommandFailedError("wrong", 3), 69),
        (SystemFailureError("wrong"), 71),
        (DeviceError("wrong"), 73),
        (ProtocolError("wrong"), 76),
        (TruncatedError("wrong"), 76),
        (NotAllowedError("wrong"), 77),
    ],
)
def test_an_error_is_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: FethpipeError,
    status: int,
) -> None:
    def fail(config: Config, **_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "run", fail)
    assert cli.main(COMMAND) == status
    assert capfd.readouterr() == ("", "fethpipe: wrong\n")


# ---- information ----


def test_help_breaks_no_word_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli.make_parser().format_help().splitlines()
    assert max(map(len, lines)) < 80
    assert not [line for line in lines if line.endswith("-")]
