"""The recipes of docs/RECIPES.md, as they stand there, with a real sshd."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fethpipe import __version__
from tests.live.netns import PATIENCE, Namespace, require_tools
from tests.live.programs import RIGHT, ROOT, Lines
from tests.live.sshd import SYSTEM_PATH, Sshd, hide, join

RECIPES = (ROOT / "docs/RECIPES.md").read_text()

pytestmark = pytest.mark.live


def block(kind: str, name: str) -> str:
    """Return what is in a block of the document."""
    pattern = rf"<!-- {kind}: {re.escape(name)} -->\n```(?:sh)?\n(.*?)```"
    found = re.findall(pattern, RECIPES, re.DOTALL)
    assert len(found) == 1, f"there are {len(found)} blocks named {name}"
    return str(found[0])


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Here:
    """The near machine, on which fethpipe is installed and ssh knows ``host``."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self._namespace = namespace
        self._folder = folder
        self._said: list[Lines] = []
        module = f'PYTHONPATH={ROOT} exec {sys.executable} -m fethpipe "$@"'
        self.program = folder / "fethpipe"
        write_script(self.program, module)

    def know(self, sshd: Sshd) -> None:
        """Let ``ssh`` find that sshd."""
        write_script(self._folder / "ssh", f'exec /usr/bin/{sshd.ssh_command} "$@"')

    def start(self, commands: str) -> Lines:
        """Start the commands of a recipe, and return what they say."""
        stderr, its_stderr = os.pipe()
        lines = Lines(stderr)
        self._said.append(lines)
        path = f"{self._folder}:/usr/sbin:/sbin:{SYSTEM_PATH}"
        environment = ["env", f"PATH={path}", f"HOME={self._folder}"]
        try:
            self._namespace.popen([*environment, "sh", "-ec", commands], stderr=its_stderr)
        finally:
            os.close(its_stderr)
        return lines

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
    folder = "/usr/local/bin"
    return [*hide(folder), f"cp {here.program} {folder}"]


FAR_PATH = f"/usr/local/bin:{SYSTEM_PATH}"


def test_over_ssh(left: Namespace, right: Namespace, here: Here) -> None:
    join(left, right)
    with Sshd(right) as sshd:
        here.know(sshd)
        assert here.start(block("recipe", "ssh")).next(containing="remote: fp0 is ready")
        left.run(["ping", "-c", "1", RIGHT])


@pytest.mark.parametrize("name", ["plain ssh", "filter", "socat"])
def test_installed_at_both_ends(
    left: Namespace, right: Namespace, here: Here, installed: list[str], name: str
) -> None:
    require_tools("dpipe", "socat")
    join(left, right)
    with Sshd(right, path=FAR_PATH, mounts=installed) as sshd:
        here.know(sshd)
        assert here.start(block("recipe", name)).next(containing=f"{RIGHT}/24")
        left.run(["ping", "-c", "1", RIGHT])


def test_a_subsystem(left: Namespace, right: Namespace, here: Here, installed: list[str]) -> None:
    join(left, right)
    settings = [block("file", "subsystem").strip()]
    with Sshd(right, path=FAR_PATH, mounts=installed, settings=settings) as sshd:
        here.know(sshd)
        assert here.start(block("recipe", "subsystem")).next(containing="fp0 is ready")
        left.run(["ping", "-c", "1", "-w", "5", RIGHT])  # sshd drops what the far end says


def test_a_key_for_one_tunnel(
    left: Namespace, right: Namespace, here: Here, installed: list[str], tmp_path: Path
) -> None:
    join(left, right)
    with Sshd(right, path=FAR_PATH, mounts=installed) as sshd:
        here.know(sshd)
        key = (sshd.folder / "other_key.pub").read_text()
        line = block("file", "key").replace("ssh-ed25519 AAAA...", key)
        (sshd.folder / "authorized_keys").write_text(line)
        (tmp_path / ".ssh").mkdir()
        (sshd.folder / "other_key").rename(tmp_path / ".ssh/tunnel_key")
        command = block("recipe", "key")
        assert here.start(command).next(containing=f"{RIGHT}/24")
        left.run(["ping", "-c", "1", RIGHT])
        other = command.replace("fethpipe --address 10.9.0.1/24 -- ", "") + " touch got-in"
        here.start(other.replace("\n", "")).next(containing="fp0")
        assert not (sshd.home / "got-in").exists()


def test_a_port_of_a_bridge(left: Namespace, right: Namespace, here: Here) -> None:
    join(left, right)
    left.run(["ip", "link", "add", "br0", "type", "bridge"])
    left.run(["ip", "address", "add", "192.168.7.1/24", "dev", "br0"])
    left.run(["ip", "link", "set", "br0", "up"])
    with Sshd(right) as sshd:
        here.know(sshd)
        assert here.start(block("recipe", "bridge")).next(containing="remote: fp0 is ready")
        left.run(["ping", "-c", "1", "192.168.7.2"])


def test_one_file(left: Namespace, right: Namespace, here: Here, tmp_path: Path) -> None:
    command = block("recipe", "pyz").replace("fethpipe.pyz", f"{tmp_path}/fethpipe.pyz")
    python = tmp_path / "python3"
    python.symlink_to(sys.executable)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(
        ["sh", "-ec", command], cwd=ROOT, env=environment, check=True, timeout=6 * PATIENCE
    )
    archive = tmp_path / "fethpipe.pyz"
    said = subprocess.run(
        [archive, "--version"], env=environment, capture_output=True, check=True, timeout=PATIENCE
    )
    assert said.stdout.decode() == f"fethpipe {__version__}\n"
    join(left, right)
    with Sshd(right) as sshd:
        here.know(sshd)
        recipe = block("recipe", "ssh").replace("fethpipe", f"{sys.executable} {archive}", 1)
        assert here.start(recipe).next(containing="remote: fp0 is ready")
        left.run(["ping", "-c", "1", RIGHT])
