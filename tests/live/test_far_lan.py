"""A laptop on the LAN of another place: ``--dhcp`` here, ``--bridge`` there, ssh in between."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from fethpipe.keeper.dhcp import CLIENTS, SEARCH_PATH
from tests.live.lan import STATIONS, Lan, far_lan
from tests.live.netns import Namespace
from tests.live.peers import kill_program, wait_reachable
from tests.live.private import GID, HOME, UID, USER, Private, pids_in, wait_for_process
from tests.live.programs import LEFT, Fethpipe, changed, finish, listen
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_LEASE_SECONDS = 5.0
_END_SECONDS = 10.0
"""As long as the keeper of the far end may take to end, and the grace that COMMAND has."""
_QUICKLY = "tunnel.retry _FIRST_SECONDS = 0.01"
_OWN_FILES = 'mount -t tmpfs none /var/lib; mkdir /var/lib/dhcpcd; exec "$@"'
_WITH_FILES_OF_ITS_OWN = ("unshare", "--mount", "sh", "-ec", _OWN_FILES, "sh")
_GROUP = ("239.9.9.9", 5353)


@pytest.fixture
def lan(left: Namespace, right: Namespace, tmp_path: Path) -> Iterator[Lan]:
    with far_lan(left, right, tmp_path) as made:
        yield made


def lease(program: Fethpipe) -> str:
    """Wait for the address that the device gets."""
    while True:
        state = program.next_state()
        assert state, program.stderr.all()
        if state["state"] == "address":
            assert isinstance(state["addresses"], list)
            return str(state["addresses"][0]).partition("/")[0]


def hears(listener: Namespace, address: str, sender: Namespace) -> bool:
    """Tell whether what one sends to a group comes to another one, who has this address."""
    with listener.socket(socket.AF_INET, socket.SOCK_DGRAM) as group:
        group.bind(("", _GROUP[1]))
        member = socket.inet_aton(_GROUP[0]) + socket.inet_aton(address)
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        with sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            interface = socket.inet_aton(STATIONS[0])
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            sending.sendto(b"hello", _GROUP)
        return group.recv(100) == b"hello"


def test_a_lease_all_stations_and_multicast_within_five_seconds(left: Namespace, lan: Lan) -> None:
    start = time.monotonic()
    with Fethpipe(left, *lan.arguments()) as program:
        address = lease(program)
        took = time.monotonic() - start
        assert took < _LEASE_SECONDS
        assert program.stderr.next(containing=f"fp0: got {address}/24 by DHCP")
        assert "dynamic" in left.run(["ip", "address", "show", "dev", "fp0"])  # it ends by itself
        for station in STATIONS:
            left.run(["ping", "-c", "1", station])
        assert hears(left, address, lan.stations[0])
        assert left.run(["ip", "route", "show", "default"]) == ""
    lan.host.wait_gone("fp0")
    assert lan.ports() == []


def test_the_one_command_as_somebody_types_it(left: Namespace, lan: Lan) -> None:
    path = "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    sudoers = f"Defaults secure_path={path}\n{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"
    with Private(left, sudoers=sudoers) as private:
        _install_for_user(private, lan)
        typed = "exec sudo fethpipe --dhcp --ssh root@home --remote '--bridge br0'"
        argv = private.entering(*private.as_user(), "env", f"PATH={path}", "sh", "-c", typed)
        process, said = listen(left, argv)
        assert said.next(containing="by DHCP")
        for station in STATIONS:
            left.run(["ping", "-c", "1", station])
        process.terminate()
        assert "stopped by SIGTERM" in said.all()
        assert process.wait(PATIENCE) == 0
        said.close()
    lan.host.wait_gone("fp0")
    assert lan.ports() == []


def _install_for_user(private: Private, lan: Lan) -> None:
    """Make ``fethpipe`` a command, and ``home`` a host that the user's ssh knows."""
    run = private.root / "run"
    (run / "bin").mkdir()
    program = run / "bin/fethpipe"
    python = private.python_for_user()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={private.checkout} exec {python} -m fethpipe "$@"\n')
    program.chmod(0o755)
    ssh = run / "home/.ssh"
    ssh.mkdir()
    for name in ("user_key", "known_hosts"):
        shutil.copy(lan.sshd.folder / name, ssh)
    config = lan.sshd.config.read_text().replace("Host far", "Host home far")
    (ssh / "config").write_text(config.replace(str(lan.sshd.folder), f"{HOME}/.ssh"))
    for each in (ssh, *ssh.iterdir()):
        os.chown(each, UID, GID)


@pytest.mark.parametrize(
    ("client", "count"),
    [
        ("udhcpc", 2),
        *(pytest.param(each.name, 10, marks=pytest.mark.exhaustive) for each in CLIENTS),
    ],
)
def test_the_lease_and_connections_survive_reconnects(
    left: Namespace, lan: Lan, client: str, count: int
) -> None:
    if not shutil.which(client, path=SEARCH_PATH):
        pytest.skip(f"needs {client}")
    options = lan.arguments("--reconnect", "--name", "fp0")
    chosen = f"[each for each in fethpipe.keeper.dhcp.CLIENTS if each.name == {client!r}]"
    launcher = changed(_QUICKLY, f"keeper.dhcp CLIENTS = {chosen}")
    with (
        Fethpipe(left, *options, launcher=[*_WITH_FILES_OF_ITS_OWN, *launcher]) as program,
        lan.stations[0].socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        left.popen(["ip", "monitor", "address"], stdout=subprocess.PIPE) as monitor,
    ):
        assert program.stderr.next(containing=f"{client} asks for an address")
        address = lease(program)
        listener.bind((STATIONS[0], 0))
        listener.listen()
        with left.socket(socket.AF_INET, socket.SOCK_STREAM) as ours:
            ours.connect(listener.getsockname())
            theirs, _ = listener.accept()
            for _ in range(count):
                kill_program(left, "ssh")
                assert program.stderr.next(containing="starting again in")
                assert program.stderr.next(containing="remote: fp0 is up")
                wait_reachable(left, STATIONS[1])
            with theirs:
                theirs.settimeout(PATIENCE)
                ours.sendall(b"still here")
                assert theirs.recv(100) == b"still here"
        assert f"inet {address}/24" in left.run(["ip", "address", "show", "dev", "fp0"])
        monitor.kill()
        assert "Deleted" not in str(monitor.communicate(timeout=PATIENCE)[0])


@pytest.mark.parametrize("count", [3, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_whatever_is_killed_no_port_is_left(left: Namespace, lan: Lan, count: int) -> None:
    random = Random(count)
    before = _processes(left, lan)
    unit = 0.0
    for turn in range(count):
        started = time.monotonic()
        with Fethpipe(left, *lan.arguments()) as program:
            if turn % 10 == 0:  # how busy the machine is changes
                lease(program)
                unit = time.monotonic() - started
            else:
                due = started + unit * random.uniform(0, 1.3)
                assert not program.ended_by(due), program.stderr.all()
            with suppress(ProcessLookupError):
                os.kill(random.choice(sorted(_processes(left, lan) - before)), signal.SIGKILL)
            if not program.ended_by(time.monotonic() + 0.1):
                program.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _END_SECONDS
            for pid in _processes(left, lan) - before:
                wait_for_process(pid, deadline)
        lan.host.wait_gone("fp0")
        left.wait_gone("fp0")
        assert lan.ports() == []


def _processes(left: Namespace, lan: Lan) -> set[int]:
    return {pid for each in (left, lan.host) for pid in pids_in(each)}


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--address", f"{LEFT}/24"], 64, "use either --address or --dhcp, not both"),
        (["--bridge", "br0"], 64, "run a DHCP client for br0"),
        (["--framing", "zerotier"], 64, "--dhcp does not work with --device vmnet or --framing"),
    ],
)
def test_what_does_not_go_with_it(
    left: Namespace, options: list[str], status: int, said: str
) -> None:
    finish(left, "--dhcp", *options).ends(status, said)


def test_a_system_without_a_client(left: Namespace) -> None:
    launcher = changed("keeper.dhcp SEARCH_PATH = '/nowhere'")
    finish(left, "--dhcp", launcher=launcher).ends(
        73, "--dhcp needs udhcpc, dhclient or dhcpcd; install one of"
    )
    assert left.interfaces() == ["lo"]
