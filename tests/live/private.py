"""A machine of one's own for the processes of a test: its /run, its users, its sudo, its TAPs.

It is a mount namespace that a process holds. What a program in it does to /run, and what it
reads from /etc, is not the machine's, so tests may run side by side.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.closing import Closing
from tests.live.netns import Namespace, readable, require_tools
from tests.live.programs import ROOT
from tests.patience import PATIENCE

USER, UID, GID, EXTRA_GID = "fethpipe-user", 42420, 42421, 42422
HOME, SHELL = "/run/home", "/bin/dash"

_ETC = {
    "passwd": f"{USER}:x:{UID}:{GID}::{HOME}:{SHELL}\n",
    "group": f"{USER}:x:{GID}:\nfethpipe-extra:x:{EXTRA_GID}:{USER}\n",
    "shadow": f"{USER}:*:19000:0:99999:7:::\n",
}
_SUDOERS = """\
Defaults env_reset
Defaults closefrom_override
root ALL=(ALL:ALL) ALL
"""


def let_others_in(folder: Path) -> None:
    """Let every user into a temporary folder, which pytest makes for its own user alone."""
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()):
            return
        each.chmod(0o755)


class Process(NamedTuple):
    """What /proc says of a process."""

    pid: int
    parent: int
    session: int
    uids: list[int]
    gids: list[int]
    groups: list[int]
    capabilities: int

    @property
    def has_root(self) -> bool:
        """Whether it has any id or capability of root."""
        ids = {*self.uids, *self.gids, *self.groups}
        return 0 in ids or self.capabilities != 0


class Private(Closing):
    """The mount namespace, in a network namespace."""

    def __init__(self, namespace: Namespace, *, sudoers: str = "") -> None:
        require_tools("unshare", "nsenter", "mount", "mknod", "setpriv")
        self.namespace = namespace
        binds = [f"mount --bind /run/etc/{name} /etc/{name}" for name in _ETC]
        if sudoers:
            require_tools("sudo")
            binds.append("mount --bind /run/etc/sudoers /etc/sudoers")
        script = " && ".join(
            [
                "mount -t tmpfs -o mode=755 none /run",
                # Everybody may open /dev/net/tun, as with udev's rule.
                "mount -t tmpfs none /dev/net",
                "mknod -m 666 /dev/net/tun c 10 200",
                *("echo", "read go", *binds, "echo", "read end"),
            ]
        )
        reader, writer = os.pipe()
        self._stdin, self._keep = os.pipe()
        self._output = reader
        self._holder = namespace.popen(
            ["unshare", "--mount", "sh", "-c", script], stdin=self._stdin, stdout=writer
        )
        os.close(writer)
        self._next_step()
        self.root = Path(f"/proc/{self._holder.pid}/root")
        self._write_etc(sudoers)
        self.checkout = self._copy_program("checkout", 0o755)
        os.write(self._keep, b"go\n")
        self._next_step()

    def _next_step(self) -> None:
        assert readable(self._output, 10), "no namespace"
        assert os.read(self._output, 1) == b"\n", "no namespace"

    def _write_etc(self, sudoers: str) -> None:
        etc = self.root / "run/etc"
        etc.mkdir()
        for name, line in _ETC.items():
            shutil.copy(f"/etc/{name}", etc / name)
            with (etc / name).open("a") as file:
                file.write(line)
        (etc / "sudoers").write_text(_SUDOERS + sudoers)
        (etc / "sudoers").chmod(0o440)
        home = self.root / "run/home"
        home.mkdir()
        os.chown(home, UID, GID)

    def _copy_program(self, name: str, mode: int) -> str:
        """Copy the program to a folder in /run, and return its path inside. It is compiled, which
        a user there could not keep.
        """
        folder = self.root / "run" / name
        shutil.copytree(ROOT / "fethpipe", folder / "fethpipe")
        folder.chmod(mode)
        return f"/run/{name}"

    def hide_checkout(self) -> None:
        """Let only root look into the folder of the program."""
        (self.root / self.checkout[1:]).chmod(0o700)

    def entering(self, *argv: str) -> list[str]:
        """Return what runs a program in here, in the folder of the checkout."""
        mounts = f"--mount=/proc/{self._holder.pid}/ns/mnt"
        return ["nsenter", mounts, f"--wd={self.root}{self.checkout}", "--", *argv]

    def fethpipe(self, *before: str) -> list[str]:
        """Return what runs fethpipe as root."""
        return self.entering(*before, sys.executable, "-m", "fethpipe")

    def fethpipe_for_user(self, *before: str) -> list[str]:
        """Return what runs fethpipe with a Python that the user may run too."""
        return self.entering(*before, self.python_for_user(), "-m", "fethpipe")

    def as_user(self) -> list[str]:
        """Return what makes a program the user's."""
        ids = [f"--reuid={UID}", f"--regid={GID}", "--init-groups", "--inh-caps=-all"]
        return ["setpriv", *ids]

    def python_for_user(self) -> str:
        """Return a Python that the user may run, or skip the test."""
        for python in (sys.executable, "/usr/bin/python3"):
            # setpriv starts Python with root's rights to folders; the user has to have them.
            check = "import os, sys, fethpipe.cli; os.stat(os.path.realpath(sys.executable))"
            argv = self.entering(*self.as_user(), python, "-c", check)
            done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
            if done.returncode == 0:
                return python
        pytest.skip("needs a Python that an ordinary user may run")

    def ledgers(self) -> list[str]:
        """Return the names of the runtime files that tell of an interface."""
        return [name for name in self.runtime_files() if not name.startswith("fethpipe-vmnet-")]

    def runtime_files(self) -> list[str]:
        """Return the names of the runtime files."""
        folder = self.root / "run/fethpipe"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def processes(self) -> dict[int, Process]:
        """Return all processes of the network namespace but the one that holds ours."""
        pids = set(pids_in(self.namespace)) - {self._holder.pid}
        found = {}
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[pid] = read_process(pid)
        return found

    def wait_empty(self, seconds: float) -> None:
        """Wait until nothing is left: no process, no interface but lo, no runtime file."""
        deadline = time.monotonic() + seconds
        while pids := self.processes():
            for pid in pids:
                wait_for_process(pid, deadline)
        # The kernel closes a descriptor later that was in a socket when both its ends were killed.
        self.namespace.wait_until(
            lambda: self.namespace.interfaces() == ["lo"],
            "an interface is left",
            max(0.0, deadline - time.monotonic()),
        )
        assert self.ledgers() == []

    def close(self) -> None:
        """Let go of the namespace; its processes are the network namespace's to kill."""
        for descriptor in (self._stdin, self._keep, self._output):
            os.close(descriptor)
        self._holder.wait(10)


def pids_in(namespace: Namespace) -> Iterator[int]:
    """Yield the processes that run in a network namespace."""
    here = os.stat(namespace.path)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                there = os.stat(f"/proc/{entry}/ns/net")
                if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                    yield int(entry)


def read_process(pid: int) -> Process:
    """Return what /proc says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Process(
        pid=pid,
        parent=int(status["PPid"]),
        session=int(stat[3]),
        uids=[int(number) for number in status["Uid"].split()],
        gids=[int(number) for number in status["Gid"].split()],
        groups=[int(number) for number in status["Groups"].split()],
        capabilities=int(status["CapPrm"], 16)
        | int(status["CapEff"], 16)
        | int(status["CapAmb"], 16),
    )


def wait_for_process(pid: int, deadline: float) -> None:
    """Wait until a process, of whomever, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        left = max(0.0, deadline - time.monotonic())
        ended = bool(select.select([descriptor], [], [], left)[0])
        assert ended, f"process {pid} is left: {_command_line(pid)}"
    finally:
        os.close(descriptor)


def descriptors_of(pid: int) -> dict[int, str]:
    """Return what a process has open."""
    folder = Path(f"/proc/{pid}/fd")
    return {int(entry.name): os.readlink(entry) for entry in folder.iterdir()}


def command_lines(pids: Sequence[int]) -> dict[int, str]:
    """Return how processes were called."""
    return {pid: _command_line(pid) for pid in pids}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, or while it is read
        return ""


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on, from the top down."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, path.read_text().split())
    return [*found, *(deeper for child in found for deeper in descendants(child))]


def end_by_signal(
    argv: Sequence[str], line: bytes, number: signal.Signals, *, child: bool = False
) -> int:
    """Start a program, and send it, or its first child, a signal when it has printed a line that
    starts like this; wait until nobody of its family runs, and return its status.
    """
    # Unbuffered, because select does not see a line that is in a buffer of Python.
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        said = b""
        while not said.startswith(line):
            assert readable(process.stdout.fileno(), PATIENCE)
            said = process.stdout.readline()
            assert said, f"it ended before it printed {line.decode()!r}"
        with contextlib.ExitStack() as stack:
            children = descendants(process.pid)
            assert len(children) >= 3
            family = [os.pidfd_open(pid) for pid in children]
            for descriptor in family:
                stack.callback(os.close, descriptor)
            os.kill(children[0] if child else process.pid, number)
            for descriptor in family:
                assert readable(descriptor, PATIENCE)  # it has ended
        return process.wait(PATIENCE)
