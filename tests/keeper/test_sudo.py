"""What root may be given to run."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from fethpipe.keeper import sudo


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a package that nobody but its owner can change, with a Python of the same kind."""
    python = tmp_path / "python"
    python.write_text("")
    monkeypatch.setattr(sys, "executable", str(python))
    package = tmp_path / "fethpipe"
    (package / "wire/__pycache__").mkdir(parents=True)
    for name in ("keeper_main.py", "wire/framing.py", "wire/__pycache__/framing.pyc"):
        (package / name).write_text("")
        (package / name).chmod(0o644)
    for folder in (tmp_path, package, package / "wire", package / "wire/__pycache__"):
        folder.chmod(0o755)
    if sudo._unsafe(package) is not None:
        pytest.skip("needs a folder for temporary files that only its owner can change")
    return package


@pytest.mark.parametrize(
    "name",
    [
        *("keeper_main.py", "wire", "wire/framing.py"),
        *("wire/__pycache__", "wire/__pycache__/framing.pyc", ".", "..", "../python"),
    ],
)
@pytest.mark.parametrize("mode", [0o777, 0o722, 0o702])
def test_what_everybody_can_write_to_is_not_run(package: Path, name: str, mode: int) -> None:
    path = (package / name).resolve()
    path.chmod(mode)
    assert sudo._unsafe(package) == path


def test_what_somebody_else_owns_is_not_run(package: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    os.chown(package / "wire/framing.py", 12345, -1)
    assert sudo._unsafe(package) == package / "wire/framing.py"


def test_a_link_is_not_followed(package: Path) -> None:
    (package / "other.py").symlink_to("/etc/hostname")
    assert sudo._unsafe(package) == package / "other.py"


def test_a_folder_with_a_sticky_bit_may_be_above(package: Path) -> None:
    package.parent.chmod(0o1777)
    assert sudo._unsafe(package) is None


@pytest.mark.parametrize(
    ("group", "members", "unsafe"),
    [
        pytest.param("ann", [], False, id="private"),
        pytest.param("ann", ["ann"], False, id="private, and she is listed"),
        pytest.param("ann", ["ann", "bob"], True, id="private, but for one"),
        pytest.param("users", [], True, id="of many"),
    ],
)
def test_a_group_may_write_if_it_is_the_users_own(
    package: Path, monkeypatch: pytest.MonkeyPatch, group: str, members: list[str], unsafe: bool
) -> None:
    entry = grp.struct_group((group, "x", 4243, members))
    person = pwd.struct_passwd(("ann", "x", os.getuid(), 4243, "", "/", "/bin/sh"))
    monkeypatch.setattr(grp, "getgrgid", lambda number: entry)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: person)
    path = package / "wire/framing.py"
    if path.stat().st_gid == 0:
        if os.geteuid() != 0:
            pytest.skip("needs files of another group than root's")
        os.chown(path, -1, 4243)
    path.chmod(0o664)
    assert sudo._unsafe(package) == (path if unsafe else None)


@pytest.mark.parametrize(
    ("system", "words"),
    [("Linux", "or have a TAP prepared"), ("Darwin", "under 'A Mac at the far end'")],
)
def test_what_is_needed_where_sudo_does_not_help(
    monkeypatch: pytest.MonkeyPatch, system: str, words: str
) -> None:
    name = os.uname_result((system, "here", "24.0.0", "1", "arm64"))
    monkeypatch.setattr(os, "uname", lambda: name)
    complaint = "echo 'sudo: a password is required' >&2; exit 1"
    with subprocess.Popen(["sh", "-c", complaint], stderr=subprocess.PIPE) as process:
        error = sudo._refusal(process)
    assert "did not start the keeper: sudo: a password is required" in error.message
    assert words in (error.hint or "")
