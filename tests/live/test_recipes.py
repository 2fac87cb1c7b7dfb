"""The recipes of docs/RECIPES.md, as they stand there, with a real sshd."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import plistlib
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fethpipe import __version__
from fethpipe.cli import _with_remote_joined, make_parser
from tests.documents import Document
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.lan import HOST6, STATIONS, be_access_point, far_lan
from tests.live.netns import Namespace, require_tools
from tests.live.peers import ping_in_turn, wait_reachable
from tests.live.programs import RIGHT, ROOT, Lines, listen
from tests.live.sshd import FAR, SYSTEM_PATH, USER, Sshd, hide, join
from tests.patience import PATIENCE

RECIPES, README = Document("docs/RECIPES.md"), Document("README.md")

pytestmark = pytest.mark.live

# The link comes up a moment after the far end is ready; what is sent before that is lost.
REACH = ("ping", "-q", "-c", "1", "-i", "0.05", "-w", "10")


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Here:
    """The near machine, on which fethpipe is installed and ssh knows ``host``."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self._namespace = namespace
        self._folder = folder
        self._said: list[Lines] = []
        self._last: subprocess.Popen[bytes] | None = None
        module = f'PYTHONPATH={ROOT} exec {sys.executable} -m fethpipe "$@"'
        self.program = folder / "fethpipe"
        write_script(self.program, module)

    @contextlib.contextmanager
    def joined(self, right: Namespace, **options: Any) -> Iterator[Sshd]:
        """Join a far machine, whose sshd has these options and is known here."""
        join(self._namespace, right)
        with Sshd(right, **options) as sshd:
            self.know(sshd)
            yield sshd

    def know(self, sshd: Sshd) -> None:
        """Let ``ssh`` find that sshd."""
        write_script(self._folder / "ssh", f'exec /usr/bin/{sshd.ssh_command} "$@"')

    def start(self, commands: str) -> Lines:
        """Start the commands of a recipe, and return what they say."""
        path = f"{self._folder}:/usr/sbin:/sbin:{SYSTEM_PATH}"
        environment = ["env", f"PATH={path}", f"HOME={self._folder}"]
        argv = [*environment, "sh", "-ec", commands]
        self._last, lines = listen(self._namespace, argv)
        self._said.append(lines)
        return lines

    def stop(self) -> None:
        """End the last command of the recipe that was started last, which the shell became."""
        assert self._last
        self._last.terminate()

    def close(self) -> None:
        """Stop listening."""
        for lines in self._said:
            lines.close()


@pytest.fixture
def here(left: Namespace, tmp_path: Path) -> Iterator[Here]:
    here = Here(left, tmp_path)
    yield here
    here.close()


@pytest.fixture
def installed(here: Here) -> list[str]:
    """The mounts of a far machine on which fethpipe is installed."""
    commands, roots = "/usr/local/bin", "/opt/fethpipe"
    return [
        *hide(commands),
        f"cp {here.program} {commands}",
        *hide("/opt"),
        f"mkdir {roots}",
        f"cp {here.program} {roots}",
    ]


FAR_PATH = f"/usr/local/bin:{SYSTEM_PATH}"


def test_over_ssh(left: Namespace, right: Namespace, here: Here) -> None:
    with here.joined(right):
        assert here.start(RECIPES.recipe("ssh")).next(containing="remote: fp0 is up")
        left.run([*REACH, RIGHT])


@pytest.mark.parametrize("name", ["plain ssh", "filter", "socat"])
def test_installed_at_both_ends(
    left: Namespace, right: Namespace, here: Here, installed: list[str], name: str
) -> None:
    require_tools("dpipe", "socat")
    with here.joined(right, path=FAR_PATH, mounts=installed):
        said = here.start(RECIPES.recipe(name))
        for _ in range(2):  # both ends
            assert said.next(containing="/24")
        left.run([*REACH, RIGHT])


def test_a_subsystem(left: Namespace, right: Namespace, here: Here, installed: list[str]) -> None:
    settings = [RECIPES.block("file", "subsystem").strip()]
    with here.joined(right, path=FAR_PATH, mounts=installed, settings=settings):
        assert here.start(RECIPES.recipe("subsystem")).next(containing="fp0 is up")
        left.run([*REACH, RIGHT])  # sshd drops what the far end says


def test_a_key_for_one_tunnel(
    left: Namespace, right: Namespace, here: Here, installed: list[str], tmp_path: Path
) -> None:
    with here.joined(right, path=FAR_PATH, mounts=installed) as sshd:
        key = (sshd.folder / "other_key.pub").read_text()
        line = RECIPES.block("file", "key").replace("ssh-ed25519 AAAA...", key)
        (sshd.folder / "authorized_keys").write_text(line)
        (tmp_path / ".ssh").mkdir()
        (sshd.folder / "other_key").rename(tmp_path / ".ssh/tunnel_key")
        command = RECIPES.recipe("key")
        assert here.start(command).next(containing=f"{RIGHT}/24")
        left.run([*REACH, RIGHT])
        other = command.replace("fethpipe --address 10.9.0.1/24 -- ", "") + " touch got-in"
        here.start(other.replace("\n", "")).next(containing="fp0")
        assert not (sshd.home / "got-in").exists()


def test_a_tap_beside_those_of_others(left: Namespace) -> None:
    left.make_bridge()
    left.run(["sh", "-ec", RECIPES.recipe("beside other taps")])
    assert "master br0" in left.run(["ip", "link", "show", "fp0"])


def test_a_port_of_a_bridge(left: Namespace, right: Namespace, here: Here) -> None:
    left.make_bridge("192.168.7.1")
    with here.joined(right):
        assert here.start(RECIPES.recipe("bridge")).next(containing="remote: fp0 is up")
        left.run([*REACH, "192.168.7.2"])


def test_two_lans_as_one(left: Namespace, right: Namespace, here: Here) -> None:
    left.make_bridge("192.168.7.1")
    right.make_bridge("192.168.7.2")
    with here.joined(right):
        assert here.start(RECIPES.recipe("two lans")).next(containing="remote: fp0 is up")
        wait_reachable(left, "192.168.7.2")


def test_proxy_arp_where_no_bridge_works(left: Namespace, right: Namespace, here: Here) -> None:
    require_tools("sysctl")
    with Namespace() as station, here.joined(right):
        right.lay_cable("wlan0", station, "wlan0")
        right.run(["ip", "address", "add", "192.168.7.1/24", "dev", "wlan0"])
        station.run(["ip", "address", "add", "192.168.7.9/24", "dev", "wlan0"])
        (link,) = json.loads(right.run(["ip", "-j", "link", "show", "wlan0"]))
        be_access_point(station, "wlan0", link["address"])
        assert here.start(RECIPES.recipe("proxy arp")).next(containing="remote: fp0 is up")
        right.run(["sh", "-ec", RECIPES.recipe("proxy arp, far")])
        wait_reachable(left, "192.168.7.9")
        wait_reachable(station, "192.168.7.200")


def test_one_file(left: Namespace, right: Namespace, here: Here, tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    with here.joined(right):
        recipe = RECIPES.recipe("ssh").replace("fethpipe", f"{sys.executable} {archive}", 1)
        assert here.start(recipe).next(containing="remote: fp0 is up")
        left.run([*REACH, RIGHT])


def make_archive(folder: Path) -> Path:
    """Make the one file as the README shows, and return its path."""
    archive = folder / "fethpipe.pyz"
    command = README.recipe("install, one file")
    command = command.replace("fethpipe.pyz", str(archive))
    python = folder / "python3"
    python.symlink_to(sys.executable)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(
        ["sh", "-ec", command], cwd=ROOT, env=environment, check=True, timeout=6 * PATIENCE
    )
    said = subprocess.run(
        [archive, "--version"], env=environment, capture_output=True, check=True, timeout=PATIENCE
    )
    assert said.stdout.decode() == f"fethpipe {__version__}\n"
    return archive


def test_a_far_end_whose_sudo_lets_one_script_pass(
    left: Namespace, right: Namespace, here: Here, tmp_path: Path
) -> None:
    """As on a Mac: sudo asks for a password for all but a script that is root's own."""
    require_tools("sudo")
    make_archive(tmp_path)
    script = tmp_path / "far-end"
    script.write_text(RECIPES.block("file", "far end").replace("/usr/bin/python3", sys.executable))
    script.chmod(0o755)
    install = RECIPES.recipe("root's own").replace("sudo ", "").splitlines()
    mounts = [*hide("/opt"), f"cd {tmp_path}", *install, "cp -p far-end /opt/fethpipe", "cd /"]
    sudoers = RECIPES.block("file", "far end, sudoers").replace("me ", f"{USER} ")
    with here.joined(right, mounts=mounts, sudoers=sudoers):
        recipe = RECIPES.recipe("far end").replace("me@mac", f"{USER}@far")
        assert here.start(recipe).next(containing=f"{RIGHT}/24")
        left.run([*REACH, RIGHT])


def test_a_guest_of_qemu_reaches_us_through_nc(left: Namespace, here: Here, tmp_path: Path) -> None:
    require_tools("nc")
    path = tmp_path / "qemu.sock"
    recipe = re.sub(r"/\S+/qemu.sock", str(path), RECIPES.recipe("qemu guest"))
    assert here.start(recipe).next(containing="fp0 is up")
    left.run(["sh", "-c", f"until [ -S {path} ]; do sleep 0.05; done"])
    with PacketSocket(left, "fp0") as device, socket.socket(socket.AF_UNIX) as guest:
        guest.settimeout(PATIENCE)
        guest.connect(str(path))
        frame = make_frame(1)
        guest.sendall(len(frame).to_bytes(4, "big") + frame)
        assert device.receive() == frame


def test_everything_through_the_tunnel(left: Namespace, right: Namespace, here: Here) -> None:
    require_tools("nft", "sysctl")
    with Namespace() as world, here.joined(right):
        right.lay_cable("wan0", world, "wan0")
        for namespace, address in ((right, "198.51.100.1/24"), (world, "198.51.100.9/24")):
            namespace.run(["ip", "address", "add", address, "dev", "wan0"])
        assert here.start(RECIPES.recipe("ssh")).next(containing="remote: fp0 is up")
        right.run(["sh", "-ec", RECIPES.recipe("default route, far")])
        near = RECIPES.recipe("default route, near")
        near = near.replace("203.0.113.7", FAR).replace("192.168.1.1", FAR)
        left.run(["sh", "-ec", near])
        # `world` has no route to 10.9.0.0/24, so an answer proves that addresses are translated.
        left.run([*REACH, "198.51.100.9"])
        assert "via 10.9.0.2 dev fp0" in left.run(["ip", "route", "get", "198.51.100.9"])
        assert "dev wire0" in left.run(["ip", "route", "get", FAR])


def test_on_the_lan_of_another_place(
    left: Namespace, right: Namespace, here: Here, tmp_path: Path
) -> None:
    with far_lan(left, right, tmp_path) as lan:
        here.know(lan.sshd)
        assert here.start(RECIPES.recipe("far lan")).next(containing="by DHCP")
        left.run(["ping", "-c", "1", STATIONS[0]])


MDNS = ("224.0.0.251", 5353)
QUESTION = bytes.fromhex("0000 0000 0001 0000 0000 0000") + b"\x07printer\x05local\0\0\1\0\1"
ANSWER = (
    bytes.fromhex("0000 8400 0000 0001 0000 0000")
    + b"\x07printer\x05local\0"
    + bytes.fromhex("0001 8001 00000078 0004 0a09000b")
)


def speak_mdns(namespace: Namespace, address: str) -> socket.socket:
    """Return a socket of this station that hears and asks all others (RFC 6762)."""
    made = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own = socket.inet_aton(address)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(MDNS[0]) + own)
    made.bind(("", MDNS[1]))
    return made


def test_ipv6_and_mdns_on_the_lan_of_another_place(
    left: Namespace, here: Here, tmp_path: Path
) -> None:
    left.run(["sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=0"])
    with Namespace(ipv6=True) as right, far_lan(left, right, tmp_path, ipv6=True) as lan:
        here.know(lan.sshd)
        said = here.start(RECIPES.recipe("far lan")).next(containing="by DHCP")
        address = said.partition("got ")[2].partition("/")[0]
        with speak_mdns(left, address) as ours, speak_mdns(lan.stations[0], STATIONS[0]) as printer:
            ours.sendto(QUESTION, MDNS)
            assert printer.recvfrom(1000) == (QUESTION, (address, MDNS[1]))
            printer.sendto(ANSWER, MDNS)
            assert ours.recvfrom(1000) == (ANSWER, (STATIONS[0], MDNS[1]))
        show = ["ip", "-6", "address", "show", "dev", "fp0", "scope", "global", "-tentative"]
        left.wait_until(lambda: "inet6 fd00:9:" in left.run(show), "no address by IPv6")
        left.run([*REACH, HOST6])
        assert "proto ra" in left.run(["ip", "-6", "route", "show", "default", "dev", "fp0"])


def test_a_trunk_of_vlans(left: Namespace, right: Namespace, here: Here) -> None:
    with here.joined(right):
        assert here.start(RECIPES.recipe("trunk")).next(containing="remote: fp0 is up")
        with PacketSocket(left, "fp0") as near, PacketSocket(right, "fp0") as far:
            left.wait_up("fp0")
            right.wait_up("fp0")
            for one, other in ((near, far), (far, near)):
                # The full MTU has room for a tag; not here for one of IEEE 802.1ad.
                for tag, size in (("8100 e00a", 1518), ("8100 2ffe", 1518), ("88a8 000a", 1514)):
                    frame = make_frame(1, size=size, tag=bytes.fromhex(tag))
                    one.send(frame)
                    assert other.receive() == frame


@pytest.mark.exhaustive  # its server looks for another owner of the address, for 3 seconds
def test_dhcp_and_router_advertisements(here: Here, tmp_path: Path, left: Namespace) -> None:
    require_tools("dnsmasq", "udhcpc")
    with Namespace(ipv6=True) as right:
        left.run(["sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=0"])
        with here.joined(right):
            said = here.start(RECIPES.recipe("dhcp server"))
            assert said.next(containing="remote: fp0 is up")
            # The usual script of udhcpc would write this machine's resolv.conf.
            script = tmp_path / "lease"
            write_script(script, '[ "$1" != bound ] || ip address add "$ip/$mask" dev "$interface"')
            client = RECIPES.recipe("dhcp client").strip()
            right.run(["sh", "-ec", f"{client} -s {script} -t 20 -T 1"])
            right.run([*REACH, "10.9.0.1"])
            assert "inet 10.9.0." in right.run(["ip", "-4", "address", "show", "dev", "fp0"])
            show = ["ip", "-6", "address", "show", "dev", "fp0"]
            right.wait_until(lambda: "inet6 fd00:9:" in right.run(show), "no address by IPv6")


# ---- those of the README ----


def test_a_switch(left: Namespace, here: Here, tmp_path: Path) -> None:
    require_tools("vde_switch", "vde_plug")
    path = tmp_path / "my-switch"
    left.popen(["vde_switch", "-s", str(path)], stdin=subprocess.PIPE)
    command = README.recipe("switch").replace("/run/my-switch", str(path))
    wait = f"until [ -S {path}/ctl ]; do sleep 0.05; done; "
    assert here.start(wait + command).next(containing="fp0 is up")
    other = command.replace("10.9.0.1", RIGHT).replace("fethpipe", "fethpipe --name fp1", 1)
    assert here.start(other).next(containing="fp1 is up")
    with PacketSocket(left, "fp0") as one, PacketSocket(left, "fp1") as two:
        # vde_plug starts after the device, so frames that are sent before that may be lost.
        sent = []
        for number in range(200):
            sent.append(make_frame(number))
            one.send(sent[-1])
            if two.comes(0.05):
                break
        assert two.receive() in sent  # it may have taken longer to come than the next to go


@pytest.mark.exhaustive  # it sleeps 4 seconds as it stands
def test_a_stream_that_is_kept_and_replayed(
    left: Namespace, right: Namespace, here: Here, installed: list[str], tmp_path: Path
) -> None:
    require_tools("tcpdump")
    with here.joined(right, path=FAR_PATH, mounts=installed):
        capture = README.recipe("capture")
        said = here.start(f"cd {tmp_path}; exec {capture}")
        for _ in range(2):  # both ends
            assert said.next(containing="fp0 is up")
        right.run(["ip", "address", "add", f"{RIGHT}/24", "dev", "fp0"])
        ping_in_turn(left, RIGHT, 3)
        here.stop()
    left.wait_gone("fp0")
    replay = README.recipe("replay")
    path = f"PATH={tmp_path}:/usr/sbin:{os.environ['PATH']}"
    replaying = left.popen(
        ["env", path, "sh", "-c", f"cd {tmp_path}; {replay}"], stdout=subprocess.PIPE
    )
    shown, _ = replaying.communicate(timeout=2 * PATIENCE)  # it ends when the device goes
    assert shown.decode().count("ICMP echo reply") == 3


# ---- files that other programs read ----


def check_options(words: list[str]) -> None:
    if words[:2] == ["/usr/bin/python3", "-I"]:
        del words[:2]
    assert words[0] == "/opt/fethpipe/fethpipe"
    make_parser().parse_args(_with_remote_joined(words[1:]))


@pytest.mark.parametrize("name", ["sudo script", "far end"])
def test_the_file_that_sudo_may_run(name: str) -> None:
    first, _, rest = RECIPES.block("file", name).partition("\n")
    assert first == "#!/bin/sh"
    check_options(shlex.split(rest.partition("exec ")[2]))


@pytest.mark.parametrize("name", ["sudoers", "far end, sudoers"])
def test_the_sudoers_line(tmp_path: Path, name: str) -> None:
    require_tools("visudo")
    file = tmp_path / "sudoers"
    file.write_text(RECIPES.block("file", name))
    file.chmod(0o440)
    subprocess.run(["visudo", "-c", "-f", str(file)], check=True, capture_output=True)


def test_the_systemd_unit() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(RECIPES.block("file", "systemd"))
    assert unit.sections() == ["Unit", "Service", "Install"]
    check_options(shlex.split(unit["Service"]["ExecStart"]))


def test_the_launchd_daemon() -> None:
    daemon = plistlib.loads(RECIPES.block("file", "launchd").encode())
    check_options(daemon["ProgramArguments"])
    assert daemon["RunAtLoad"] is True
    assert daemon["ProcessType"] == "Interactive"  # else it is throttled
