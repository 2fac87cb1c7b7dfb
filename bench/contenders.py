"""The tunnels that are compared: a table at the end, and an opener for each row.

Every tunnel joins a near and a far namespace so that 10.77.0.1 and 10.77.0.2 reach each other over
one Ethernet link of MTU 1500. Tunnels that need a network to run over get a veth pair, "the
carrier", with jumbo frames, so that none pays for fragmenting. An opener prepares first, then does
inside `timed()` what counts as start-up: from the first process of the tunnel until both addresses
are on interfaces that are up.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from bench.namespaces import BenchError, Namespace, Watched, kill_all, living, read_line, stop

NEAR, FAR = "10.77.0.1", "10.77.0.2"
CARRIER, CARRIER_NEAR, CARRIER_FAR = "10.78.0.0/24", "10.78.0.1", "10.78.0.2"
_PREFIX = 24
_START_SECONDS = 15.0
_SSH_PORT = 2222
_SSHD = "/usr/sbin/sshd"  # insists on being called by its absolute path
# One cipher for everything over ssh: the fastest that OpenSSH has on processors with AES.
_SSH_CIPHER = "aes128-gcm@openssh.com"
_CHECKOUT = Path(__file__).resolve().parent.parent
_FETHPIPE = [sys.executable, "-m", "fethpipe"]
_UNCONFINED = """
import sys
import fethpipe.tunnel.run as tunnel
from fethpipe.cli import main
from fethpipe.system.confinement import Confinement
tunnel.confine = lambda: Confinement((), ())
sys.exit(main())
"""
_ENVIRONMENT = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(_CHECKOUT)}

# The far end for bytes without frames: it reads for so many seconds, then prints how much came.
_SINK = """
import os, sys, time
room, total, seconds = [bytearray(1 << 20)], os.readv(0, [bytearray(1)]), float(sys.argv[1])
begin = time.monotonic()
while time.monotonic() - begin < seconds:
    total += os.readv(0, room)
print(total, time.monotonic() - begin)
"""


class Link:
    """One tunnel in one round: its two namespaces, its processes, and how they end."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True)
        self.scratch = scratch
        self.startup = 0.0  # seconds
        self.pids: set[int] = set()  # of the tunnel, both ends
        # The command that reads bytes at the far end for so long, where no frames pass.
        self.byte_sink: Callable[[float], list[str]] | None = None
        self._log = scratch / "stderr"
        self._tunnel = Watched(self._log)
        self._background: list[subprocess.Popen[bytes]] = []
        with contextlib.ExitStack() as undo:
            self.near = Namespace()
            undo.callback(self.near.close)
            self.far = Namespace()
            undo.callback(self.far.close)
            undo.callback(self._end_processes)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def _end_processes(self) -> None:
        stop([*self._tunnel.processes, *self._background])
        kill_all(self.pids & living())

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Around the start of the tunnel proper: times it, and tells its processes from others."""
        before = living()
        begin = time.monotonic()
        try:
            yield
            deadline = begin + _START_SECONDS
            self.near.wait_address(NEAR, self._tunnel, deadline)
            self.far.wait_address(FAR, self._tunnel, deadline)
            self.startup = time.monotonic() - begin
            # Addresses may be up before frames pass: no measure starts before the first answer.
            self.near.run(["ping", "-c", "1", "-w", "10", FAR], timeout=_START_SECONDS)
        finally:
            # Links are opened one after the other, so whatever is new belongs to this one.
            self.pids = living() - before

    def start(
        self,
        namespace: Namespace,
        argv: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start a process of the tunnel."""
        with self._log.open("ab") as log:
            process = namespace.start(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=log,
                pass_fds=pass_fds,
                env=_ENVIRONMENT,
            )
        self._tunnel.processes.append(process)

    def join(
        self, near: Sequence[str], far: Sequence[str], *, pass_fds: Sequence[int] = ()
    ) -> None:
        """Start both ends, the stdout of each being the stdin of the other."""
        near_in, far_out = os.pipe()
        far_in, near_out = os.pipe()
        try:
            self.start(self.near, near, stdin=near_in, stdout=near_out, pass_fds=pass_fds)
            self.start(self.far, far, stdin=far_in, stdout=far_out, pass_fds=pass_fds)
        finally:
            for fd in (near_in, near_out, far_in, far_out):
                os.close(fd)

    def address(self, namespace: Namespace, device: str) -> None:
        """Once the tunnel has made its device, do by ip(8) what fethpipe does by itself."""
        namespace.wait_interface(device, self._tunnel, time.monotonic() + _START_SECONDS)
        address = NEAR if namespace is self.near else FAR
        namespace.configure(
            f"address add {address}/{_PREFIX} dev {device}", f"link set {device} mtu 1500 up"
        )

    def carrier(self) -> None:
        """A network for the tunnels that need one.

        Its route names the congestion control that Linux has by default, whatever this machine
        prefers: a namespace may choose that for its routes, but not always for itself.
        """
        self._veth("under0", CARRIER_NEAR, CARRIER_FAR, mtu=9000)
        for namespace in (self.near, self.far):
            namespace.configure(f"route change {CARRIER} dev under0 congctl cubic")

    def direct(self) -> None:
        self._veth("veth0", NEAR, FAR, mtu=1500)

    def _veth(self, name: str, near: str, far: str, *, mtu: int) -> None:
        self.near.configure(
            f"link add name {name} mtu {mtu} type veth"
            f" peer name {name} mtu {mtu} netns {self.far.path}",
            f"address add {near}/{_PREFIX} dev {name}",
            f"link set {name} up",
        )
        self.far.configure(f"address add {far}/{_PREFIX} dev {name}", f"link set {name} up")

    def ssh(self) -> list[str]:
        """Run an sshd of our own at the far end; the command that logs in to it."""
        self.carrier()
        for key in ("host", "user"):
            path = str(self.scratch / key)
            self.near.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], timeout=10)
        server = {
            "ListenAddress": CARRIER_FAR,
            "Port": _SSH_PORT,
            "HostKey": self.scratch / "host",
            "AuthorizedKeysFile": self.scratch / "user.pub",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "PermitTunnel": "ethernet",
            # The start-up files of this machine's shell would cost some contenders time.
            "SetEnv": "HOME=/nonexistent",
        }
        client = {
            "Port": _SSH_PORT,
            "User": "root",
            "IdentityFile": self.scratch / "user",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "UserKnownHostsFile": "/dev/null",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "LogLevel": "ERROR",
            "Ciphers": _SSH_CIPHER,
            "Compression": "no",
        }
        for file, options in (("sshd_config", server), ("ssh_config", client)):
            text = "".join(f"{key} {value}\n" for key, value in options.items())
            (self.scratch / file).write_text(text)
        sshd = self.far.start(
            [_SSHD, "-D", "-e", "-f", str(self.scratch / "sshd_config")],
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
        )
        self._background.append(sshd)
        read_line(
            sshd.stderr,
            "sshd",
            time.monotonic() + _START_SECONDS,
            containing=b"Server listening",
        )
        return ["ssh", "-F", str(self.scratch / "ssh_config"), CARRIER_FAR]


def _veth(link: Link) -> None:
    with link.timed():
        link.direct()


def _vde_plug(link: Link) -> None:
    with link.timed():
        plug = ["vde_plug", "tap://tap0"]
        link.join(plug, plug)
        link.address(link.near, "tap0")
        link.address(link.far, "tap0")


def _vde_switch(link: Link) -> None:
    with link.timed():
        socket = str(link.scratch / "switch")
        # As a daemon, it returns when its socket exists, and does not read a console.
        link.near.run(["vde_switch", "-daemon", "-sock", socket], timeout=10)
        for namespace in (link.near, link.far):
            link.start(namespace, ["vde_plug2tap", "-s", socket, "tap0"])
            link.address(namespace, "tap0")


def open_openssh(link: Link) -> None:
    login = link.ssh()
    with link.timed():
        # Without this option, -w makes a point-to-point tunnel, whatever the file says.
        tunnel = ["-N", "-o", "Tunnel=ethernet", "-w", "0:0"]
        link.start(link.near, [*login[:-1], *tunnel, login[-1]])
        link.address(link.near, "tap0")
        link.address(link.far, "tap0")


def _openvpn(link: Link) -> None:
    """Without --secret and without TLS, OpenVPN carries clear text and authenticates nothing."""
    link.carrier()

    def end(own: str, peer: str, address: str) -> list[str]:
        options = f"--dev tap0 --dev-type tap --proto udp --local {own} --remote {peer}"
        tunnel = f"--ifconfig {address} 255.255.255.0 --cipher none --auth none --verb 1"
        return ["openvpn", *options.split(), *tunnel.split()]

    with link.timed():
        link.start(link.near, end(CARRIER_NEAR, CARRIER_FAR, NEAR), stdout=subprocess.DEVNULL)
        link.start(link.far, end(CARRIER_FAR, CARRIER_NEAR, FAR), stdout=subprocess.DEVNULL)


def open_ssh_bytes(link: Link) -> None:
    """No tunnel: what any tunnel over ssh could carry at most."""
    login = link.ssh()
    link.byte_sink = lambda seconds: [
        *login,
        shlex.join([sys.executable, "-c", _SINK, str(seconds)]),
    ]


@dataclass(frozen=True)
class _Ends:
    """The descriptors that a fethpipe writes its ready line to, and where the line is read."""

    write: int
    read: int


@contextlib.contextmanager
def _ready_pipe() -> Iterator[_Ends]:
    read, write = os.pipe()
    try:
        yield _Ends(write, read)
    finally:
        os.close(read)
        os.close(write)


def _fethpipe(*options: str, program: Sequence[str] = _FETHPIPE) -> Callable[[Link], None]:
    def open_link(link: Link) -> None:
        with _ready_pipe() as near, _ready_pipe() as far, link.timed():
            link.join(
                _end(NEAR, near, *options, program=program),
                _end(FAR, far, *options, program=program),
                pass_fds=(near.write, far.write),
            )
            _wait_ready(near)
            _wait_ready(far)

    return open_link


def _end(
    address: str, ready: _Ends | None, *options: str, program: Sequence[str] = _FETHPIPE
) -> list[str]:
    argv = [*program, "--address", f"{address}/{_PREFIX}", *options]
    return argv if ready is None else [*argv, "--ready-fd", str(ready.write)]


def _wait_ready(ready: _Ends) -> None:
    line = read_line(ready.read, "fethpipe", time.monotonic() + _START_SECONDS)
    facts = json.loads(line)
    if not facts.get("interface"):
        raise BenchError(f"fethpipe's ready line names no interface: {line!r}")


def _fethpipe_and_vde_plug(link: Link) -> None:
    with _ready_pipe() as near, link.timed():
        link.join(_end(NEAR, near), ["vde_plug", "tap://tap0"], pass_fds=(near.write,))
        _wait_ready(near)
        link.address(link.far, "tap0")


def _fethpipe_over_ssh(link: Link) -> None:
    login = link.ssh()
    remote = f"cd {shlex.quote(str(_CHECKOUT))} && exec {shlex.join(_end(FAR, None))}"
    with _ready_pipe() as near, link.timed():
        link.start(link.near, [*_end(NEAR, near), "--", *login, remote], pass_fds=(near.write,))
        _wait_ready(near)


def open_by_ssh(link: Link, *options: str) -> None:
    """Start both ends as users do: the near one sends itself to the far one."""
    login = link.ssh()
    with _ready_pipe() as near, link.timed():
        command = [*_end(NEAR, near, *options), "--ssh-command", shlex.join(login[:-1])]
        far = shlex.join([f"--address={FAR}/{_PREFIX}", *options])
        link.start(
            link.near, [*command, "--remote", far, "--ssh", login[-1]], pass_fds=(near.write,)
        )
        _wait_ready(near)


@dataclass(frozen=True)
class Contender:
    """One row of the comparison."""

    name: str
    about: str
    open: Callable[[Link], None]
    tools: tuple[str, ...] = ()  # programs it needs
    options: tuple[str, ...] = ()  # options that this checkout's fethpipe must know
    ours: bool = False
    frames: bool = True  # False: it carries bytes, and only bulk transfer can be measured
    processes: bool = True  # False: the kernel alone does it
    unasked: bool = True  # False: only --tunnels brings it in

    def missing(self) -> str | None:
        """Why it cannot take part on this machine, if so."""
        absent = [tool for tool in self.tools if shutil.which(tool) is None]
        if absent:
            return f"needs {', '.join(absent)}"
        known = _fethpipe_help() if self.options else ""
        unknown = [option for option in self.options if option not in known.split()]
        return f"this fethpipe has no {', '.join(unknown)}" if unknown else None


@functools.cache
def _fethpipe_help() -> str:
    """What fethpipe says of its options, with the punctuation around their names gone."""
    result = subprocess.run(
        [*_FETHPIPE, "--help"],
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return result.stdout.translate(str.maketrans("[](),|=", "       "))


_OPTIONS = ("--address", "--ready-fd")
_SSH = ("ssh", "ssh-keygen", _SSHD)

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("vde_plug", "two vde_plug tap:// on a pair of pipes", _vde_plug, ("vde_plug",)),
        Contender(
            "fethpipe", "two fethpipe on a pair of pipes", _fethpipe(), options=_OPTIONS, ours=True
        ),
        Contender(
            "fethpipe-plain",
            "fethpipe --no-hello: plain frames",
            _fethpipe("--no-hello"),
            options=(*_OPTIONS, "--no-hello"),
            ours=True,
        ),
        Contender(
            "fethpipe-unconfined",
            "fethpipe that keeps all rights: what confinement costs",
            _fethpipe(program=[sys.executable, "-c", _UNCONFINED]),
            options=_OPTIONS,
            ours=True,
            unasked=False,
        ),
        Contender(
            "fethpipe+vde_plug",
            "fethpipe at one end, vde_plug at the other",
            _fethpipe_and_vde_plug,
            ("vde_plug",),
            _OPTIONS,
            ours=True,
        ),
        Contender(
            "vde_switch",
            "vde_switch with a vde_plug2tap for each end",
            _vde_switch,
            ("vde_switch", "vde_plug2tap"),
        ),
        Contender("openvpn", "OpenVPN tap over UDP, clear text", _openvpn, ("openvpn",)),
        Contender("openssh-w", f"ssh -w, Tunnel=ethernet, {_SSH_CIPHER}", open_openssh, _SSH),
        Contender(
            "fethpipe-ssh",
            f"fethpipe -- ssh ... fethpipe, {_SSH_CIPHER}",
            _fethpipe_over_ssh,
            _SSH,
            _OPTIONS,
            ours=True,
        ),
        Contender(
            "ssh-bytes",
            f"bytes through ssh, no tunnel, {_SSH_CIPHER}",
            open_ssh_bytes,
            _SSH,
            frames=False,
        ),
        Contender("veth", "the kernel's own veth pair, no user space", _veth, processes=False),
    )
}
