"""What the process for ``--up`` and ``--down`` takes from a pump that somebody else has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fethpipe.system.channel import Channel
from fethpipe.tunnel.hooks import FACTS, fork_hooks
from fethpipe.tunnel.starter import Starter

_RIGHT: dict[str, Any] = {"run": "up", "facts": dict.fromkeys(FACTS, "end")}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"run": "id", "facts": _RIGHT["facts"]},
        {"run": "up"},
        {"run": "up", "facts": {}},
        {"run": "up", "facts": {**_RIGHT["facts"], "PATH": "/x"}},
        {"run": "up", "facts": {**_RIGHT["facts"], "MTU": 1500}},
        {"run": "up", "facts": {**_RIGHT["facts"], "MTU": "a\nb"}},
        {"run": "up", "facts": {**_RIGHT["facts"], "MTU": "a" * 1001}},
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
