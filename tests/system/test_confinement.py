"""What a process can do once it is confined; what it cannot is tests/live/test_attacks.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fethpipe.system import confinement

_ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def confined(code: str) -> Any:
    """Return what an expression is in a process that is confined."""
    program = f"""
import json, os, pathlib, resource, select, sys
from fethpipe.system.confinement import confine, drop_capabilities
status = os.open("/proc/self/status", os.O_RDONLY)
result = confine()
def field(name):
    lines = os.read(status, 65536).decode().splitlines()
    return [line.split(":")[1].strip() for line in lines if line.startswith(name + ":")][0]
print(json.dumps({code}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_holds_no_capability_and_gets_none() -> None:
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    fields = confined(
        f"[int(line.split()[1], 16) for line in os.read(status, 65536).decode()"
        f".splitlines() if line.split(':')[0] in {names}]"
    )
    assert len(fields) == len(names)
    expected = [0] * 5 if os.geteuid() == 0 else [0, 0, 0, fields[3], 0]
    assert fields == expected


def test_it_says_what_holds() -> None:
    holds, lacks = confined("result")
    assert "no new privileges" in holds
    if os.uname().machine in ("x86_64", "aarch64"):
        assert "a filter of system calls" in holds
        assert lacks == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("field('NoNewPrivs')", "1"),
        ("field('Seccomp')", "2"),
        ("os.getpid() > 0", True),
        ("[os.write(os.pipe()[1], b'x'), select.select([], [], [], 0)]", [1, [[], [], []]]),
        ("os.set_blocking(0, True)", None),
        ("len(bytearray(1 << 26))", 1 << 26),
    ],
)
def test_it_uses_what_it_holds(code: str, expected: object) -> None:
    assert confined(code) == expected


def test_a_machine_without_a_filter_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "make_filter", lambda machine: None)
    with pytest.raises(OSError, match="there is no list of system calls for"):
        confinement._install_filter()
