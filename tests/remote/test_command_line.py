"""One command line for every login shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fethpipe.remote.ssh import RemoteEnd, remote_command_line, ssh_arguments
from fethpipe.system.bundle import BOOT, STAGE, pack_program

SHELLS = ("sh", "bash", "dash", "zsh", "fish", "csh", "tcsh")
LONGEST_WORD = 1000
"""Bytes of a word that an old csh takes."""

PROGRAM = pack_program("builtins:print", ["hello", 'a "quoted" $word', "back\\slash and `tick`!"])
SYSTEM = f"fethpipe on {os.uname().sysname} as {os.geteuid()}\n".encode()
PRINTED = b'hello a "quoted" $word back\\slash and `tick`!\n'
PYTHON = str(Path(sys.executable).resolve())


def run(
    *argv: str | Path, home: Path, path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv,
        input=PROGRAM,
        env={"PATH": path, "HOME": str(home)},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_it_for_what_it_is(shell: str, tmp_path: Path) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs the shell {shell}")
    done = run(path, "-c", remote_command_line(PYTHON), home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, SYSTEM + PRINTED, b"")


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("Python 3.9.0", True),
        ("Python 3.20.1", True),
        ("Python 4.0.0", True),
        ("warning: slow\nPython 3.12.0rc1+", True),
        ("Python 3.8.18", False),
        ("Python 3.1.4", False),
        ("Python 2.7.18", False),
        ("python: not installed", False),
    ],
)
def test_a_python_is_taken_by_its_version(tmp_path: Path, said: str, taken: bool) -> None:
    python = tmp_path / "python"
    make_program(python, f'[ "$1" = -V ] || exec {PYTHON} "$@"; echo "{said}"')
    done = run("sh", "-c", remote_command_line(str(python)), home=tmp_path)
    assert (done.returncode == 0) is taken
    assert (f"{python} is {said}".encode() in done.stderr) is not taken


@pytest.fixture
def stock_mac(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the line where /usr/bin/python3 is a stub that notes its start, as on a Mac without
    developer tools: a mount namespace has it. Programs that a test puts into ``bin`` come first.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root, to put a stub in the place of /usr/bin/python3")
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs a /usr/bin/python3 to put a stub in its place")
    stub = tmp_path / "stub"
    # Debian's python3 is a link, so the stub is behind python3.N too, which no Mac has in /usr/bin.
    make_program(stub, f'[ "$0" != /usr/bin/python3 ] || echo started >>{tmp_path}/started; exit 1')
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    make_program(bin_folder / "uname", "echo Darwin")
    make_program(
        bin_folder / "xcode-select",
        "echo 'xcode-select: error: Unable to get active developer directory' >&2; exit 2",
    )

    def start(*, developer_tools: bool = False) -> subprocess.CompletedProcess[bytes]:
        if developer_tools:
            make_program(bin_folder / "xcode-select", "echo /Library/Developer/CommandLineTools")
        line = remote_command_line(None)
        mounts = 'mount --bind "$1" /usr/bin/python3; mount -t tmpfs none /usr/local'
        argv = ["unshare", "--mount", "sh", "-ec", f'{mounts}; exec sh -c "$2"', "-"]
        return run(
            *argv, stub, line, home=tmp_path, path=f"{bin_folder}:/usr/bin:/bin:/usr/sbin:/sbin"
        )

    return start


def make_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_stub_of_a_stock_mac_is_never_started(
    stock_mac: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    make_program(tmp_path / "bin/python", "echo Python 2.7.18 >&2; exit 1")
    done = stock_mac()
    assert not (tmp_path / "started").exists()
    assert b"/usr/bin/python3 needs developer tools (xcode-select --install)" in done.stderr
    assert (done.returncode, done.stderr.count(b"\n")) == (127, 1)


def test_with_developer_tools_it_is_a_python_like_others(
    stock_mac: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    stock_mac(developer_tools=True)
    assert (tmp_path / "started").exists()


def test_a_python_that_comes_before_the_stub_is_taken(
    stock_mac: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    make_program(tmp_path / "bin/python", f"echo started >{tmp_path}/other; echo Python 3.9.1")
    assert stock_mac().returncode == 0
    assert (tmp_path / "other").exists()
    assert not (tmp_path / "started").exists()


def test_it_holds_nothing_that_shells_take_differently() -> None:
    line = remote_command_line(None)
    before, single, after = line.split("'", 2)[0], line.split("'")[1], line.split("'", 2)[2]
    assert before == "exec sh -c "
    assert not set("!\\\n") & set(single)
    words = after.split('"')
    assert all(not between.strip() for between in words[::2])
    for word in words[1::2]:
        assert not set("$`!\\\n") & set(word), word
    assert max(map(len, [single, *words])) < LONGEST_WORD


def test_the_first_stage_has_no_quotes_but_single_ones() -> None:
    for line in (BOOT, *STAGE):
        assert line.isascii()
        assert line.isprintable()


def test_the_user_s_ssh_command_comes_first_and_the_host_is_no_option() -> None:
    remote = RemoteEnd("me@host", ("ssh", "-p", "2222"))
    arguments = ssh_arguments(remote)
    assert arguments[:3] == ["ssh", "-p", "2222"]
    assert arguments[-3:-1] == ["--", "me@host"]
    assert arguments[-1] == remote_command_line(None)
    assert "-T" in arguments
