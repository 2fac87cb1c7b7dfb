"""What the process for ``--up`` and ``--down`` takes from a pump that somebody else has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fethpipe.system.channel import Channel
from fethpipe.tunnel.hooks import fork_hooks
from fethpipe.tunnel.starter import Starter

_FACTS: dict[str, Any] = {
    "INTERFACE": "fp0",
    "IO_INTERFACE": "",
    "MAC": "02:00:5e:00:53:01",
    "MTU": "1500",
    "ADDRESSES": "10.9.0.1/24 fd00::1/64",
    "REASON": "end",
}
_RIGHT: dict[str, Any] = {"run": "up", "facts": _FACTS}
_CODE = "$(touch /tmp/x)"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"run": "id", "facts": _FACTS},
        {"run": "up"},
        {"run": "up", "facts": {}},
        {"run": "up", "facts": {**_FACTS, "PATH": "/x"}},
        {"run": "up", "facts": {**_FACTS, "PEER": "x"}},
        {"run": "up", "facts": {**_FACTS, "MTU": 1500}},
        {"run": "up", "facts": {**_FACTS, "MTU": "1\n"}},
        {"run": "up", "facts": {**_FACTS, "ADDRESSES": "1" * 1001}},
        *({"run": "up", "facts": {**_FACTS, name: _CODE + "-"}} for name in _FACTS),
    ],
)
def test_a_malformed_request_runs_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    ran = tmp_path / "ran"
    command = {"up": f"touch {ran}"}
    hooks = fork_hooks(command, Starter())
    channel: Channel = hooks._channel
    channel.set_timeout(10)
    channel.send(wrong)
    answer, _ = channel.receive()
    assert "malformed" in answer["said"]
    assert not ran.exists()
    channel.send(_RIGHT)
    assert channel.receive()[0] == {"said": ""}
    assert ran.exists()
    assert channel.finish(10)
    os.waitpid(hooks._process, 0)
