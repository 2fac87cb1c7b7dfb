"""The link of the device is up while there is a far end, and down while there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.live.netns import Namespace
from tests.live.programs import LEFT, Fethpipe

pytestmark = pytest.mark.live

ADDRESS = ("--address", f"{LEFT}/24")


def is_up(namespace: Namespace) -> bool:
    return "LOWER_UP" in namespace.run(["ip", "link", "show", "fp0"])


def test_it_is_down_until_the_far_end_is_there(left: Namespace) -> None:
    with Fethpipe(
        left, *ADDRESS, "--ssh", "host", "--ssh-command", "sh -c 'exec sleep 60'"
    ) as program:
        program.ready()
        assert not is_up(left)


def test_it_is_down_in_a_gap_and_addresses_and_routes_stay(left: Namespace, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = ["sh", "-c", f"echo COMMAND runs >&2; read line <{gate}"]
    with Fethpipe(left, *ADDRESS, "--reconnect", "--", *command).up() as program:
        program.stderr.next(containing="COMMAND runs")
        assert is_up(left)
        before = left.run(["ip", "-br", "address", "show", "dev", "fp0"]).split()[2]
        gate.write_text("end\n")
        program.stderr.next(containing="starting again in")
        assert not is_up(left)
        assert left.run(["ip", "-br", "address", "show", "dev", "fp0"]).split()[2] == before
        assert "10.9.0.0/24" in left.run(["ip", "route", "show", "dev", "fp0"])
        left.wait_until(lambda: is_up(left), "the link did not come up again")


def test_without_a_command_it_is_up_at_once(left: Namespace) -> None:
    with Fethpipe(left, *ADDRESS, stdin=subprocess.PIPE).up():
        left.wait_until(lambda: is_up(left), "the link did not come up")
