"""What the shells complete: the files are those of the parsers as they are now, and they work."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.live.netns import require_tools
from tests.patience import PATIENCE
from tools.make_completion import FOLDER, make_completions

FILES = make_completions()

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

# What is typed, and something that has to be offered there; "" where nothing is.
CASES = [
    ("fethctl cap", "capture"),
    ("fethctl set --pe", "--peer"),
    ("fethctl set --state d", "down"),
    ("fethctl status --js", "--json"),
    ("fethctl status l", LOOPBACK),
    ("fethctl set --peer l", LOOPBACK),
    (f"fethctl inject {LOOPBACK} /etc/passw", "/etc/passwd"),
    ("fethctl capture -w /etc/passw", "/etc/passwd"),
    ("fethctl icmp --q", "--quiet"),
    ("fethpipe --fram", "--framing"),
    ("fethpipe --framing u32", "u32be"),
    ("fethpipe --attach l", LOOPBACK),
    ("fethpipe --pcap /etc/passw", "/etc/passwd"),
    ("fethpipe --user nob", "nobody"),
    ("fethpipe --mtu 1", ""),
    ("fethctl set --mtu 1", ""),
]


def test_what_is_committed_is_what_the_parsers_say() -> None:
    """Or somebody changed an option: run tools/make_completion.py."""
    found = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.glob("*/*")}
    assert {name: path.read_text() for name, path in found.items()} == FILES


@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_bash_offers_it(typed: str, offered: str) -> None:
    require_tools("bash")
    words = typed.split(" ")
    script = (
        f'source "{FOLDER}/bash/{words[0]}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        f'_{words[0]}; printf "%s\\n" "${{COMPREPLY[@]-}}"'
    )
    # The last minus: to bash 3.2, which a Mac has, an empty array is not set.
    argv = ["bash", "--norc", "-uc", script, "bash", *words]
    said = subprocess.run(argv, capture_output=True, check=False, text=True)
    assert said.stderr == ""
    assert offered in said.stdout.splitlines()


@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_fish_offers_it(typed: str, offered: str) -> None:
    require_tools("fish")
    script = f"source {FOLDER}/fish/{typed.partition(' ')[0]}.fish; complete -C '{typed}'"
    argv = ["fish", "--no-config", "-c", script]
    said = subprocess.run(argv, capture_output=True, check=True, text=True)
    assert said.stderr == ""
    found = [line.partition("\t")[0] for line in said.stdout.splitlines()]
    assert offered in found if offered else not found


@pytest.mark.parametrize(("typed", "offered"), [case for case in CASES if case[1]])
def test_zsh_completes_it(typed: str, offered: str) -> None:
    require_tools("zsh")
    rest = offered[len(typed.rpartition(" ")[2]) :]
    with _zsh() as terminal:
        os.write(terminal, f"{typed}\t".encode())
        _read_until(terminal, rest)


@contextmanager
def _zsh() -> Iterator[int]:
    """A zsh on a terminal, which knows the completions and nothing of anybody's."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb", PS1="> ")
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        setup = (
            f"fpath=({FOLDER}/zsh $fpath); autoload -U compinit; compinit -u -D; "
            "unsetopt prompt_cr prompt_sp auto_list; stty -echo; print REA''DY\n"
        )
        os.write(terminal, setup.encode())
        _read_until(terminal, "READY")
        yield terminal
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def _read_until(terminal: int, text: str) -> str:
    said = ""
    deadline = time.monotonic() + PATIENCE
    while text not in said:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([terminal], [], [], left)[0], f"no {text!r} in {said!r}"
        said += os.read(terminal, 4096).decode("utf-8", "replace")
    return said
