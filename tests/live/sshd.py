"""A real sshd of the tests' own: its keys, its configuration, its accounts, all of it temporary.

It runs in a network namespace, joined to another one by a pair of veth, and in a private mount
namespace in which /etc/passwd and its like are other files. So the machine's own accounts and its
own sshd are neither touched nor seen. What a login finds is the test's to say: the shell, its
start-up files, the search path, whether sudo asks for a password.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.closing import Closing
from tests.live.netns import Namespace, require_tools
from tests.live.private import descendants
from tests.live.programs import Lines, listen

SSHD = "/usr/sbin/sshd"
NEAR, FAR = "10.1.0.1", "10.1.0.2"
USER, USER_ID = "walter", 54321
PASSWORD = "open sesame"
_LISTENING = "Server listening on"
SYSTEM_PATH = f"/usr/bin:/bin:{Path(sys.executable).resolve().parent}"
"""Where a login finds programs; the last folder serves where the system has no Python."""


def join(left: Namespace, right: Namespace) -> None:
    """Lay a cable between two namespaces: ``wire0``, with NEAR and FAR as addresses."""
    left.lay_cable("wire0", right, "wire0")
    for namespace, address in ((left, NEAR), (right, FAR)):
        namespace.run(["ip", "address", "add", f"{address}/24", "dev", "wire0"])


class Sshd(Closing):
    """An sshd on FAR, and the ssh configuration on the other side that can log in to it.

    ``home`` is the home of both accounts, root and USER, and ``login_shell`` their shell; ``path``
    is where a login finds programs; ``mounts`` are commands that change what it sees of the disk.
    """

    def __init__(
        self,
        namespace: Namespace,
        *,
        login_shell: str = "sh",
        path: str = SYSTEM_PATH,
        mounts: Sequence[str] = (),
        sudoers: str = "",
        settings: Sequence[str] = (),
        home_files: Mapping[str, str] | None = None,
    ) -> None:
        require_tools(SSHD, "ssh", "ssh-keygen", "openssl", "unshare", login_shell)
        # Not a folder of pytest's: USER is not root, and could not look into it.
        self._temporary = tempfile.TemporaryDirectory(prefix="fethpipe-sshd-")
        self.folder = Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.config = self.folder / "ssh_config"
        self._namespace = namespace
        self._mounts = mounts
        self._shell = shutil.which(login_shell) or login_shell
        self._stderr: Lines | None = None
        for name, text in (home_files or {}).items():
            file = self.home / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self._make_keys()
        self._write_accounts(sudoers)
        self._write_configuration(path, settings)
        self.process = self._start()

    @property
    def ssh_command(self) -> str:
        """What ``--ssh-command`` needs to know to reach it as ``far``."""
        return shlex.join(["ssh", "-F", str(self.config)])

    def restart(self) -> None:
        """End it and its sessions, and start it again on the same address."""
        self.stop()
        self.process = self._start()

    def stop(self) -> None:
        """End it and its sessions; safe to call twice."""
        for pid in descendants(self.process.pid):
            kill(pid)
        with self.process:
            self.process.kill()
        if self._stderr:
            self._stderr.close()
            self._stderr = None

    def close(self) -> None:
        """Stop it and remove its files; safe to call twice."""
        self.stop()
        self._temporary.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        Path("/run/sshd").mkdir(exist_ok=True)
        mounts = [
            *self._mounts,
            *(
                f"mount --bind {shlex.quote(str(file))} /etc/{file.name}"
                for file in sorted((self.folder / "etc").iterdir())
            ),
        ]
        server = f"exec {SSHD} -D -e -f {shlex.quote(str(self.folder / 'sshd_config'))}"
        argv = ["unshare", "--mount", "sh", "-ec", "; ".join([*mounts, server])]
        process, self._stderr = listen(self._namespace, argv)
        assert self._stderr.next(containing=_LISTENING), "sshd did not start"
        return process

    def _make_keys(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        os.chown(self.home, USER_ID, USER_ID)
        for name in ("host_key", "user_key", "other_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name],
                check=True,
            )
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"{FAR} {host_key}")

    def _write_accounts(self, sudoers: str) -> None:
        etc = self.folder / "etc"
        etc.mkdir()
        lines = Path("/etc/passwd").read_text().splitlines()
        others = [line for line in lines if not line.startswith(("root:", f"{USER}:"))]
        root = f"root:x:0:0::{self.home}:{self._shell}"
        user = f"{USER}:x:{USER_ID}:{USER_ID}::{self.home}:{self._shell}"
        (etc / "passwd").write_text("\n".join([root, *others, user, ""]))
        groups = Path("/etc/group").read_text()
        (etc / "group").write_text(f"{groups}{USER}:x:{USER_ID}:\n")
        openssl = ["openssl", "passwd", "-6", "-stdin"]
        secret = subprocess.run(openssl, input=PASSWORD, text=True, capture_output=True, check=True)
        password = secret.stdout.strip()
        names = ("root", USER)
        shadow = "\n".join(f"{name}:{password}:19000:0:99999:7:::" for name in names)
        (etc / "shadow").write_text(f"{shadow}\n")
        (etc / "shadow").chmod(0o640)
        if Path("/etc/sudoers").exists():
            (etc / "sudoers").write_text(f"root ALL=(ALL) ALL\n{sudoers}\n")
            (etc / "sudoers").chmod(0o440)

    def _write_configuration(self, path: str, settings: Sequence[str]) -> None:
        # sshd uses the first of several lines for a setting, so those of the test come first.
        server = [
            *settings,
            f"ListenAddress {FAR}",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"SetEnv PATH={path}",
            "UsePAM no",
            "StrictModes no",
            "PidFile none",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
        ]
        (self.folder / "sshd_config").write_text("\n".join([*server, ""]))
        client = [
            "Host far host",
            f"  HostName {FAR}",
            "  User root",
            f"  IdentityFile {self.folder}/user_key",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {self.folder}/known_hosts",
            "  GlobalKnownHostsFile none",
            "  BatchMode yes",
        ]
        self.config.write_text("\n".join([*client, ""]))


def hide(*folders: str) -> list[str]:
    """Return commands for ``mounts`` that empty folders."""
    return [f"mount -t tmpfs none {folder}" for folder in folders if Path(folder).exists()]


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
