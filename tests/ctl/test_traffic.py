"""Frames by hand on Linux: a TAP whose far end fethctl is, and interfaces beside their stack."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fethpipe.ctl.show import list_names
from fethpipe.ether.pcap import FILE_HEADER, PcapDecoder, pack_records
from fethpipe.netif.linux import LinuxInterfaces
from tests.ctl.running import Fethctl, Running
from tests.live.ethernet import PacketSocket, is_test_frame, make_frame
from tests.live.netns import Namespace, readable, require_tools
from tests.live.peer import Peer, records
from tests.live.peers import ping_at_once, ping_in_turn
from tests.live.programs import ROOT
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_TAP = "tap7"


@pytest.fixture
def tap(left: Namespace) -> Namespace:
    """A TAP that nobody holds, with an address."""
    left.run(["ip", "tuntap", "add", "dev", _TAP, "mode", "tap"])
    left.run(["ip", "address", "add", "10.0.0.1/24", "dev", _TAP])
    left.run(["ip", "link", "set", _TAP, "up"])
    return left


@pytest.fixture
def cable(left: Namespace) -> Iterator[Namespace]:
    """Another namespace, joined to the left one by a veth pair: va with 10.0.0.1, there vb."""
    left.run(["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb"])
    with Namespace() as right:
        left.run(["ip", "link", "set", "vb", "netns", right.path])
        left.run(["ip", "address", "add", "10.0.0.1/24", "dev", "va"])
        left.run(["ip", "link", "set", "va", "up"])
        right.run(["ip", "link", "set", "vb", "up"])
        left.wait_up("va")
        right.wait_up("vb")
        yield right


def _ready(responder: Running) -> None:
    assert responder.stdout.next().startswith("listening on ")


# ---- where the words go ----


def test_a_full_disk_is_told(tap: Namespace) -> None:
    full = ["sh", "-c", 'exec "$@" > /dev/full', "sh"]
    status, said = Fethctl(tap, launcher=full).refused("list")
    assert (status, said) == (71, "cannot write to stdout: ENOSPC (No space left on device)")


@pytest.mark.parametrize("words", [["list"], ["status", _TAP]])
def test_a_closed_stdout_is_nowhere(tap: Namespace, words: list[str]) -> None:
    closed = Fethctl(tap, launcher=["sh", "-c", 'exec "$@" >&-', "sh"])
    assert closed(*words) == ""


# ---- icmp ----


def test_a_ping_through_a_tap_is_answered_in_order(tap: Namespace) -> None:
    """Thousands of pings are answered without a loss, and memory does not grow."""
    with Fethctl(tap).start("icmp", "-q", _TAP, "10.0.0.2") as responder:
        _ready(responder)
        tap.run(["ping", "-f", "-q", "-c", "500", "10.0.0.2"])
        before = responder.memory()
        said = tap.run(["ping", "-i", "0", "-c", "4000", "-s", "1000", "10.0.0.2"])
        assert "4000 packets transmitted, 4000 received, 0% packet loss" in said
        assert re.findall(r"icmp_seq=(\d+)", said) == [str(1 + number) for number in range(4000)]
        assert responder.memory() < before + 1024
        assert responder.stop() == "listening on tap7 as 10.0.0.2 (02:00:0a:00:00:02)\n"
    assert _TAP in tap.interfaces()  # it was there before


def test_ipv6_is_answered_as_well() -> None:
    with Namespace(ipv6=True) as namespace:
        namespace.run(["ip", "tuntap", "add", "dev", _TAP, "mode", "tap"])
        namespace.run(["ip", "address", "add", "fd00::1/64", "dev", _TAP])
        namespace.run(["ip", "link", "set", _TAP, "up"])
        with Fethctl(namespace).start("icmp", _TAP, "fd00::2") as responder:
            _ready(responder)
            namespace.wait_usable("fd00::1")
            said = ping_at_once(namespace, "fd00::2", 5, "-6")
            assert "5 packets transmitted, 5 received, 0% packet loss" in said
            lines = responder.stop().splitlines()
    assert lines[1] == ("neighbour advertisement: fd00::2 is at 02:00:00:00:00:02 (to fd00::1)")
    assert sum("echo reply: fd00::2 -> fd00::1" in line for line in lines) == 5


def test_an_address_that_somebody_has_is_seen_to_be_taken() -> None:
    """Duplicate address detection (RFC 4862) gets its answer."""
    with Namespace(ipv6=True) as namespace:
        namespace.run(["sysctl", "-q", "-w", "net.ipv6.conf.default.dad_transmits=1"])
        namespace.run(["ip", "tuntap", "add", "dev", _TAP, "mode", "tap"])
        namespace.run(["sysctl", "-q", f"net.ipv6.conf.{_TAP}.dad_transmits=1"])
        with Fethctl(namespace).start("icmp", _TAP, "fd00::2") as responder:
            _ready(responder)
            namespace.run(["ip", "link", "set", _TAP, "up"])
            namespace.run(["ip", "address", "add", "fd00::2/64", "dev", _TAP])
            line = responder.stdout.next(containing="neighbour advertisement")
            assert line.endswith("(to ff02::1)")
            said = json.loads(namespace.run(["ip", "-j", "address", "show", "dev", _TAP]))
    (found,) = (each for each in said[0]["addr_info"] if each["local"] == "fd00::2")
    assert found.get("dadfailed") or found.get("tentative")


def test_any_ethernet_interface_will_do(left: Namespace, cable: Namespace) -> None:
    """The stack of the left namespace talks with a host that only fethctl plays."""
    mac = "02:00:5e:00:53:77"
    with Fethctl(cable).start("icmp", "vb", "10.0.0.9", "--mac", mac) as responder:
        _ready(responder)
        assert "3 received" in ping_at_once(left, "10.0.0.9", 3)
        assert mac in left.run(["ip", "neighbour", "show", "10.0.0.9"])
        assert len(responder.stop().splitlines()) == 5


def test_a_tap_that_somebody_holds_is_used_from_its_own_side(left: Namespace, peer: Peer) -> None:
    """fethctl answers frames that come through fethpipe, like another host on this side."""
    with peer.start(left, "--address", "10.9.0.1/24") as program:
        program.ready()
        with Fethctl(left).start("icmp", "fp0", "10.9.0.7") as responder:
            _ready(responder)
            arp = bytes.fromhex("0001080006040001 02005e005301 0a090002 000000000000 0a090007")
            peer.send(records(b"\xff" * 6 + bytes.fromhex("02005e0053010806") + arp))
            reply = b"\x08\x06" + arp[:7] + b"\2"
            answer = peer.receive(lambda frame: frame[12:22] == reply)
            assert answer[6:12] == bytes.fromhex("02000a090007")


# ---- capture ----


def test_both_directions_are_captured(left: Namespace, cable: Namespace) -> None:
    cable.run(["ip", "address", "add", "10.0.0.2/24", "dev", "vb"])
    with Fethctl(left).start("capture", "va") as capture:
        assert capture.stderr.next() == "fethctl: listening on va"
        ping_in_turn(left, "10.0.0.2", 3)
        lines = [capture.stdout.next(containing="ICMP") for _ in range(6)]
        capture.stop()
        assert re.search(r"\d+ frames, 0 dropped by the kernel", capture.stderr.all())
    kinds = [re.search(r"echo (\w+) id \d+ seq (\d)", line) for line in lines]
    assert [each and each.groups() for each in kinds] == [
        (kind, "1") for _ in range(3) for kind in ("request", "reply")
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{6} (..:){5}.. > (..:){5}..", line) for line in lines)


def test_a_vlan_tag_is_where_it_was(left: Namespace, cable: Namespace, tmp_path: Path) -> None:
    frame = make_frame(5, tag=bytes.fromhex("81000005"))
    file = tmp_path / "capture"
    with Fethctl(left).start("capture", "va", "-w", str(file)) as capture:
        assert capture.stderr.next()
        with PacketSocket(cable, "vb") as there:
            there.send(frame)
        _wait_for_growth(file, len(FILE_HEADER))
        capture.stop()
    decoder = PcapDecoder()
    found = [record.frame for record in decoder.feed(file.read_bytes())]
    decoder.feed_eof()
    assert [each for each in found if is_test_frame(each)] == [frame]


def _wait_for_growth(file: Path, size: int) -> None:
    """Wait until a file is longer than this; ``tail`` is woken by the kernel."""
    argv = ["tail", "-f", "-c", f"+{size + 1}", str(file)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        grown = readable(tail.stdout.fileno(), PATIENCE)
        tail.terminate()
        assert grown


def test_a_capture_shows_what_was_asked_for(left: Namespace, cable: Namespace) -> None:
    frame = bytes(12) + bytes.fromhex(
        "0800 45 00 001c 0000 0000 40 11 0000 0a000001 0a000002 1000 0007 0008 0000"
    )
    options = ["--type", "ip", "--host", "10.0.0.2", "--port", "7", "-c", "1"]
    program = Fethctl(left).start("capture", "va", *options)
    with program as capture, PacketSocket(left, "va") as here:
        assert capture.stderr.next()
        for each in (make_frame(1), frame[:37] + b"\x09" + frame[38:], frame, frame):
            here.send(each)
        assert capture.wait() == 0
        (line,) = capture.stdout.all().splitlines()
    assert line.endswith("IPv4 10.0.0.1 > 10.0.0.2, UDP 4096 > 7, length 42")


def test_a_file_that_cannot_be_written_is_told(left: Namespace, cable: Namespace) -> None:
    status, said = Fethctl(left).refused("capture", "va", "-w", "/nowhere/file")
    assert (status, said[:41]) == (64, "cannot write to -w /nowhere/file: ENOENT ")


def test_what_was_captured_before_the_signal_is_shown(left: Namespace, cable: Namespace) -> None:
    with Fethctl(left).start("capture", "va") as capture, PacketSocket(left, "va") as here:
        assert capture.stderr.next()
        os.kill(capture.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, capture.pid, os.WSTOPPED)
        for number in range(200):  # more than a batch
            here.send(make_frame(number))
        os.kill(capture.pid, signal.SIGINT)
        os.kill(capture.pid, signal.SIGCONT)
        assert capture.wait() == 0
        assert capture.stdout.all().count("0x88b6") == 200
        assert "200 frames, 0 dropped by the kernel" in capture.stderr.all()


def test_wireshark_reads_it_from_a_pipe(left: Namespace, cable: Namespace) -> None:
    require_tools("tshark")
    reader, writer = os.pipe()
    fields = ["-T", "fields", "-e", "frame.len", "-e", "eth.type", "-c", "2"]
    with subprocess.Popen(
        ["tshark", "-l", "-r", "-", *fields], stdin=reader, stdout=subprocess.PIPE
    ) as tshark:
        os.close(reader)
        argv = Fethctl(left).argv("capture", "va", "-w", "-")
        capture = left.popen(argv, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
        os.close(writer)
        assert capture.stderr is not None
        assert capture.stderr.readline() == b"fethctl: listening on va\n"
        with PacketSocket(cable, "vb") as there:
            for number in range(2):
                there.send(make_frame(number, size=77))
        said, _ = tshark.communicate(timeout=PATIENCE)
        capture.send_signal(signal.SIGTERM)
        assert capture.wait(PATIENCE) == 0
        capture.stderr.close()
    assert said.decode().splitlines() == ["77\t0x88b6"] * 2


def test_a_capture_gives_root_up(left: Namespace, cable: Namespace) -> None:
    for arguments in (("capture", "va"), ("icmp", "va", "10.0.0.7")):
        with Fethctl(left).start(*arguments) as program:
            told = program.stderr if arguments[0] == "capture" else program.stdout
            assert told.next()
            status = Path(f"/proc/{program.pid}/status").read_text()
            assert re.search(r"^Uid:\s+([1-9]\d*)\s+\1\s+\1\s+\1$", status, re.MULTILINE)
            program.stop()


# ---- inject ----


def test_frames_of_a_file_arrive(left: Namespace, cable: Namespace, tmp_path: Path) -> None:
    frames = [make_frame(number, size=60 + number) for number in range(200)]
    file = tmp_path / "frames.pcap"
    file.write_bytes(FILE_HEADER + pack_records(frames, 0))
    with PacketSocket(cable, "vb") as there:
        assert Fethctl(left)("inject", "va", str(file)) == "sent 200 frames\n"
        assert [there.receive() for _ in frames] == frames


def test_frames_arrive_in_the_stack_of_a_free_tap(tap: Namespace, tmp_path: Path) -> None:
    frames = [make_frame(number) for number in range(3)]
    file = tmp_path / "frames.pcap"
    file.write_bytes(FILE_HEADER + pack_records(frames, 0))
    with PacketSocket(tap, _TAP) as stack:
        assert Fethctl(tap)("inject", _TAP, str(file)) == "sent 3 frames\n"
        assert [stack.receive() for _ in frames] == frames


def test_what_is_too_long_or_too_short_is_told(
    left: Namespace, cable: Namespace, tmp_path: Path
) -> None:
    file = tmp_path / "frames.pcap"
    frames = [make_frame(1), make_frame(2, size=1600), b"short"]
    file.write_bytes(FILE_HEADER + pack_records(frames, 0))
    status, stdout, stderr = Fethctl(left).finish("inject", "va", str(file))
    assert (status, stdout) == (0, b"sent 1 frames, refused 1: 1 too long for the device\n")
    assert stderr == "fethctl: 1 frames were not sent: they are incomplete in the file\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x" * 100, "not a pcap file"),
        (FILE_HEADER + bytes(10), "the file ends inside a record"),
    ],
)
def test_what_is_no_capture_is_refused(
    left: Namespace, cable: Namespace, tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "frames.pcap"
    file.write_bytes(content)
    status, said = Fethctl(left).refused("inject", "va", str(file))
    assert status == 64
    assert f"cannot read {file}: {reason}" in said


# ---- what it refuses ----


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("capture", "nowhere"), 73, "nowhere does not exist"),
        (("capture", "lo"), 73, "cannot use lo: it is not an Ethernet interface"),
        (("capture", "va", "-c", "0"), 64, "not a number greater than zero"),
        (("capture", "va", "--port", "70000"), 64, "not a port: from 1 to 65535"),
        (("capture", "va", "--type", "ipx"), 64, "not an EtherType"),
        (("icmp", "nowhere", "10.0.0.2"), 73, "nowhere does not exist"),
        (("status", "nowhere"), 73, "nowhere does not exist"),
        (("inject", "nowhere", "/dev/null"), 73, "nowhere does not exist"),
        (("inject", "lo", "/nowhere"), 64, "cannot read /nowhere: ENOENT"),
        (("capture", "tun7"), 73, "cannot use tun7: it is not an Ethernet interface"),
        (("icmp", "tun7", "10.0.0.2"), 73, "it is not a TAP"),
        (("icmp", "lo", "224.0.0.1"), 64, "'224.0.0.1': not the address of a single host"),
        (("icmp", "lo", "ten"), 64, "'ten'"),
    ],
)
def test_what_cannot_be_is_refused(
    left: Namespace, arguments: tuple[str, ...], status: int, message: str
) -> None:
    left.run(["ip", "tuntap", "add", "dev", "tun7", "mode", "tun"])
    left.run(["ip", "link", "set", "tun7", "up"])
    found, said = Fethctl(left).refused(*arguments)
    assert found == status
    assert message in said


def test_a_capture_ends_when_the_interface_goes(left: Namespace, cable: Namespace) -> None:
    with Fethctl(left).start("capture", "va") as capture:
        assert capture.stderr.next()
        left.run(["ip", "link", "delete", "va"])
        assert capture.wait() == 73
        assert "va has gone: ENETDOWN" in capture.stderr.all()


def test_a_capture_goes_on_when_the_interface_comes_up_again(
    left: Namespace, cable: Namespace
) -> None:
    with Fethctl(left).start("capture", "va") as capture:
        assert capture.stderr.next()
        left.run(["ip", "link", "set", "va", "down"])
        left.run(["ip", "link", "set", "va", "up"])
        cable.wait_up("vb")
        with PacketSocket(cable, "vb") as there:
            there.send(make_frame(1))
        assert capture.stdout.next(containing="0x88b6")
        capture.stop()


# ---- status ----


def test_status_is_that_of_ip(tap: Namespace) -> None:
    fethctl = Fethctl(tap)
    assert fethctl("list") == f"{_TAP}\n"
    lines = fethctl("status", _TAP).splitlines()
    (known,) = json.loads(tap.run(["ip", "-j", "address", "show", "dev", _TAP]))
    assert lines == [
        f"{_TAP}: flags=1003<UP,BROADCAST,MULTICAST> mtu 1500",
        f"\tether {known['address']}",
        "\tinet 10.0.0.1/24 brd 10.0.0.255",
        "\tstatus: inactive",
    ]
    told = json.loads(fethctl("status", "--json"))
    assert [each["name"] for each in told] == ["lo", _TAP]
    assert (told[1]["kind"], told[1]["active"], told[1]["addresses"]) == (
        "tun",
        False,
        ["10.0.0.1/24"],
    )
    assert (told[0]["addresses"][0], told[0]["active"]) == ("127.0.0.1/8", True)


def test_an_interface_that_goes_meanwhile_is_not_shown(
    tap: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = LinuxInterfaces.names
    monkeypatch.setattr(LinuxInterfaces, "names", lambda self: [*names(self), "gone0"])
    with tap.entered():
        list_names(argparse.Namespace())
    assert capsys.readouterr().out == f"{_TAP}\n"
