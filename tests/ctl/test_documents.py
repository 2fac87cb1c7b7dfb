"""docs/FETHCTL.md is run as it stands, and so are the examples of the library in README.md."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fethpipe.ctl.cli import make_parser
from tests.ctl.running import Running
from tests.darwin.simulation import SimulatedDarwin
from tests.documents import Document
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.shell import Shell
from tools.programs import read_programs

DOCUMENT, README = Document("docs/FETHCTL.md"), Document("README.md")
FETHCTL = DOCUMENT.text


def test_its_table_has_every_verb() -> None:
    table = re.findall(r"^\| `([a-z]+)", FETHCTL, re.MULTILINE)
    (fethctl,) = (program for program in read_programs() if program.name == "fethctl")
    assert sorted(table) == sorted(verb.name for verb in fethctl.verbs)


def test_it_speaks_of_no_other_options() -> None:
    known = set(re.findall(r"--[a-z]+", "".join(map(str, read_programs()))))
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", FETHCTL))
    assert told <= known
    assert make_parser().prog == "fethctl"


# ---- the walkthrough ----


def _install(folder: Path, environment: Mapping[str, str]) -> None:
    """Put fethctl and sudo on the PATH of the shell, on a Mac if the environment says so."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    scripts = {
        "fethctl": f'exec env {settings} {sys.executable} -m fethpipe.ctl "$@"',
        "sudo": 'exec "$@"',
    }
    for name, script in scripts.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.mark.live
def test_the_walkthrough_goes_as_it_says(
    shell: Shell, tmp_path: Path, darwin: SimulatedDarwin
) -> None:
    _install(tmp_path, darwin.environment)
    shell.run(DOCUMENT.recipe("pair"))
    shell.run("echo BEGIN;" + DOCUMENT.recipe("status") + "echo END")
    shell.run(DOCUMENT.recipe("responder"))
    shell.wait_for_lines("listening on feth101", count=1)
    shell.run(DOCUMENT.recipe("ping"))
    shell.run("kill %1; wait %1")
    shell.run(DOCUMENT.recipe("more"))
    shell.run(DOCUMENT.recipe("end"))
    said = shell.finish()
    assert said.partition("BEGIN\n")[2].partition("END\n")[0] == DOCUMENT.block("output", "status")
    answers = re.sub(r"id=\d+", "id=ID", said)
    for line in DOCUMENT.block("output", "responder").splitlines():
        assert line in answers  # ping writes to the same pipe, maybe in the middle of a line
    assert "3 packets transmitted, 3 received, 0% packet loss" in said
    assert darwin.interfaces() == {}


@pytest.mark.live
def test_the_walkthrough_on_linux_goes_as_it_says(shell: Shell, tmp_path: Path) -> None:
    _install(tmp_path, {})
    shell.run(DOCUMENT.recipe("tap"))
    shell.wait_for_lines("listening on tap7", count=1)
    shell.run(DOCUMENT.recipe("tap, traffic"))
    shell.run("kill %1; wait %1")
    assert "3 packets transmitted, 3 received, 0% packet loss" in shell.finish()


# ---- the library ----


def _example(namespace: Namespace, name: str, darwin: SimulatedDarwin | None = None) -> Running:
    environment = darwin.environment if darwin else {}
    settings = [f"{key}={value}" for key, value in environment.items()]
    code = README.block("example", name)
    return Running(namespace, ["env", *settings, sys.executable, "-c", code])


def _interrupt(program: Running) -> None:
    """End an example as Ctrl-C does, which Python tells with a traceback."""
    os.kill(program.pid, signal.SIGINT)
    program.wait()
    assert program.stderr.all().endswith("KeyboardInterrupt\n")


@pytest.mark.live
@pytest.mark.parametrize("name", ["fp0", "feth10000"], ids=["Linux", "a Mac"])
def test_the_example_of_a_device_works(left: Namespace, darwin: SimulatedDarwin, name: str) -> None:
    with _example(left, "device", darwin if name == "feth10000" else None) as program:
        assert program.stdout.next() == f"{name} is up"
        left.popen(["ping", "-c1", "10.9.0.2"])
        assert re.fullmatch(r"42 bytes from (..:){5}..", program.stdout.next())
        _interrupt(program)
    assert name not in left.interfaces()
    assert darwin.interfaces() == {}


@pytest.mark.live
def test_the_example_of_a_pair_works(left: Namespace, darwin: SimulatedDarwin) -> None:
    with _example(left, "pair", darwin) as program:
        assert program.stdout.next().startswith("Status(name='feth0'")
        assert program.wait() == 0
        assert program.stderr.all() == ""
    assert darwin.interfaces() == {}
    assert darwin.counters()["ndrv_writes"] == 1


@pytest.mark.live
def test_the_example_of_asyncio_works(left: Namespace) -> None:
    with _example(left, "asyncio") as program:
        assert program.stdout.next() == "fp0 and fp1 are one cable"
        with PacketSocket(left, "fp0") as near, PacketSocket(left, "fp1") as far:
            near.send(make_frame(1))
            assert far.receive() == make_frame(1)
            far.send(make_frame(2))
            assert near.receive() == make_frame(2)
        _interrupt(program)
    assert left.interfaces() == ["lo"]


def test_the_example_of_the_framing_works() -> None:
    code = README.block("example", "framing")
    shown: list[tuple[object, ...]] = []
    exec(code, {"print": lambda *values: shown.append(values)})  # noqa: S102 - from our own page
    assert shown == [([], [b"one frame", b"another"])]
