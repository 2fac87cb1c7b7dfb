"""The remote end has what was sent to it and nothing else, on each system.

No ssh is needed for that: a shell in another namespace stands in for it.
"""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace
from tests.live.peers import wait_reachable
from tests.live.programs import LEFT, RIGHT, Fethpipe, on_mac

pytestmark = pytest.mark.live

PYTHON = str(Path(sys.executable).resolve())


def start(near: Namespace, far: Namespace, folder: Path, python: str, *remote: str) -> Fethpipe:
    """Start a tunnel from one namespace to another one."""
    enter = f"exec nsenter --net={far.path} env PATH={folder}:/usr/bin:/bin"
    ssh = make_script(folder / "ssh", f'for line; do :; done; cd /; {enter} sh -c "$line"')
    options = ["--ssh", "far", "--ssh-command", ssh, "--remote-python", python]
    far_options = shlex.join(["--address", f"{LEFT}/24", *remote])
    return Fethpipe(near, "--address", f"{RIGHT}/24", *options, "--remote", far_options)


def make_script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def check(near: Namespace, program: Fethpipe, device: str) -> None:
    """Have the tunnel work, and end as it should."""
    assert program.stderr.next(containing=f"remote: {device} is up"), program.stderr.all()
    wait_reachable(near, LEFT)
    program.send_signal(signal.SIGTERM)
    status, said = program.end()
    assert (status, "Traceback" in said) == (0, False), said


def test_linux_needs_no_more(left: Namespace, right: Namespace, tmp_path: Path) -> None:
    with start(right, left, tmp_path, PYTHON) as program:
        check(right, program, "fp0")


def test_options_bring_what_they_need(left: Namespace, right: Namespace, tmp_path: Path) -> None:
    capture, made = tmp_path / "capture", tmp_path / "made"
    options = ("--pcap", str(capture), "--up", f"touch {made}", "--no-hello")
    with start(right, left, tmp_path, PYTHON, *options) as program:
        check(right, program, "fp0")
    assert made.exists()
    assert capture.stat().st_size


def test_a_mac_needs_no_more(
    darwin: SimulatedDarwin, left: Namespace, right: Namespace, tmp_path: Path
) -> None:
    make_script(tmp_path / "uname", "echo Darwin")
    run = shlex.join(on_mac(darwin, PYTHON))
    python = make_script(tmp_path / "python", f'exec {run} "$@"')
    with start(right, left, tmp_path, python) as program:
        check(right, program, "feth10000")
