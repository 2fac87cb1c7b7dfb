"""``.ci/mac``, which somebody with a Mac runs: from its start to its end, on a simulated one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.netns import Namespace, require_tools
from tests.live.programs import ROOT
from tests.patience import PATIENCE
from tests.vmnet.framework import MacWithVmnet, missing_requirement

pytestmark = pytest.mark.live

STEPS = ROOT / ".ci/mac.d"
LEFT_OUT = {
    "install": "a simulated Mac has nothing to install for",
    "formula": "there is no brew here",
    "system": "there is no ipconfig here",
    "launchd": "there is no launchctl here",
    "sudo": "nobody called sudo",
    "pytest": "a simulated Mac has nothing to install for",
}
"""What needs programs of macOS, or somebody who called sudo."""


@pytest.fixture
def mac() -> Iterator[MacWithVmnet]:
    missing = missing_requirement()
    if missing is not None:
        pytest.skip(missing)
    require_tools("ping", "ps", "tar")
    with Namespace(ipv6=True) as namespace, MacWithVmnet(namespace.path) as mac:
        yield mac
        assert mac.interfaces() == {}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy, since the collected file is written into the checkout."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".git", ".venv", "*.gz")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


def run(
    checkout: Path, *arguments: str, mac: MacWithVmnet | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it as root, whom nobody stands behind."""
    enter = ["nsenter", f"--net={mac.namespace}"] if mac else []
    environment = {name: value for name, value in os.environ.items() if "SUDO" not in name}
    environment |= {**(mac.environment if mac else {}), "PYTHON": sys.executable}
    return subprocess.run(
        [*enter, ".ci/mac", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )


def collected(checkout: Path) -> dict[str, str]:
    """Return the files of the one that it wrote, by name."""
    (path,) = checkout.glob("fethpipe-mac-*.tar.gz")
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        texts = {member.name: archive.extractfile(member) for member in files}
        return {
            name.partition("/")[2]: file.read().decode(errors="replace")
            for name, file in texts.items()
            if file is not None
        }


def outcomes(summary: str) -> dict[str, str]:
    """Return what came of each step, without the seconds."""
    rows = [line.split(None, 1) for line in summary.splitlines()[1:]]
    return {name: text.rpartition(" (")[0] for name, text in rows}


def names() -> list[str]:
    return [path.stem.partition("-")[2] for path in sorted(STEPS.glob("[0-9]*.sh"))]


@pytest.mark.exhaustive
def test_it_runs_from_start_to_end(mac: MacWithVmnet, checkout: Path) -> None:
    done = run(checkout, mac=mac)
    files = collected(checkout)
    wanted = {
        name: f"left out: {LEFT_OUT[name]}" if name in LEFT_OUT else "works" for name in names()
    }
    found = outcomes(files["summary.txt"])
    wrong = [name for name in wanted if found[name] != wanted[name]]
    assert found == wanted, "\n".join(files[f"{name}.log"] for name in wrong)
    assert done.returncode == 0
    assert files["selftest/selftest-" + f"{sys.version_info[0]}.{sys.version_info[1]}.json"]
    assert files["tunnel.log"].count(" 0% packet loss") == 2
    assert files["tunnel.log"].count("bytes of TCP from") == 2
    assert "3 packets transmitted, 3 received" in files["fethctl.log"]
    assert "20 times killed" in files["kills.log"]
    assert "nothing left" in files["kills.log"]


def test_what_does_not_work_is_told(mac: MacWithVmnet, checkout: Path) -> None:
    mac.settings["start_status"] = "1009"
    done = run(checkout, "machine", "vmnet", mac=mac)
    assert done.returncode == 1
    files = collected(checkout)
    told = outcomes(files["summary.txt"])
    assert told["machine"] == "works"
    assert told["vmnet"].startswith("DOES NOT WORK (1): fethpipe does not get ready: ")
    assert "turn Internet Sharing off" in told["vmnet"]


def test_a_step_that_hangs_is_ended_with_all_that_it_started() -> None:
    limit = [sys.executable, str(STEPS / "limit.py"), "1"]
    reader, writer = os.pipe()
    with open(reader) as held:
        done = subprocess.run(
            [*limit, "sh", "-c", "sleep 600 & wait"],
            pass_fds=[writer],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert held.read() == ""  # the last holder of the other end has gone
    assert (done.returncode, done.stderr) == (124, "it took more than 1 seconds\n")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_it_is_for_a_mac() -> None:
    done = run(ROOT)
    assert done.returncode == 77
    assert done.stderr == ".ci/mac: this needs macOS, and this is Linux; .ci/run is for Linux\n"


@pytest.mark.parametrize("word", ["nonsense", "--nonsense"])
def test_there_are_no_other_steps(word: str) -> None:
    done = run(ROOT, word)
    assert done.returncode == 64
    assert word in done.stderr


def test_every_step_says_what_it_does() -> None:
    rows = [line.split(None, 1) for line in run(ROOT, "--list").stdout.splitlines()]
    assert [row[0] for row in rows] == names()
    assert all(len(row) == 2 for row in rows)
