"""Run ``--up`` and ``--down``, shell commands of the person who started the tunnel.

A process that is forked before the pump gives up its privileges runs them as that person, one after
the other. It has the commands from the start: the pump can only say which one, and the facts for
its environment. It gets ``{"run": "up", "facts": {...}}`` and answers ``{"said": WORDS}``, which
are empty after success. When the pump dies, it runs ``--down`` by itself.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from select import select

from ..errors import reason
from ..system.channel import Channel, ChannelClosedError, ChannelError, Message
from ..system.child import fork_child
from ..system.signals import STOPPING, describe_status
from .starter import Starter, end_with_starter

log = logging.getLogger("fethpipe")

HOOK_SECONDS = 10.0
"""How long a command may take. One that lasts longer belongs into the background."""

_MOST_WAITING = 16
_STDERR = 2
# A careless command has these in a shell, and the pump may be somebody else's.
_SHAPES = {
    "INTERFACE": r"[!-~]{0,15}",
    "IO_INTERFACE": r"[!-~]{0,15}",
    "MAC": r"[0-9a-f:]{17}",
    "MTU": r"[0-9]{1,5}",
    "ADDRESSES": r"[0-9a-f.:/ ]{0,1000}",
    "REASON": r"device|connected|address|waiting|end",
}


class Hooks:
    """The pump's side: tell which command is to run. Nothing here waits but ``end``."""

    def __init__(self, channel: Channel, process: int) -> None:
        self._channel = channel
        self._process = process
        self._waiting: deque[Message] = deque(maxlen=_MOST_WAITING)
        self._busy = False

    def fileno(self) -> int:
        """Return what selects as readable when a command has ended."""
        return self._channel.fileno()

    def run(self, which: str, facts: Mapping[str, str]) -> None:
        """Run ``up`` or ``down`` with these facts, after those that were asked for before."""
        self._waiting.append({"run": which, "facts": dict(facts)})
        self._next()

    def attend(self) -> None:
        """Hear how a command has ended, and run the next one."""
        try:
            answer, _ = self._channel.receive()
        except (ChannelError, ChannelClosedError, OSError):
            answer = {"said": "the process that runs --up and --down has gone"}
            self._waiting.clear()
        self._busy = False
        if answer.get("said"):
            log.warning("%s", answer["said"])
        self._next()

    def end(self, facts: Mapping[str, str]) -> None:
        """Run ``down``, and wait for it and for the one that is running."""
        self._waiting.clear()
        self.run("down", facts)
        deadline = time.monotonic() + 2 * HOOK_SECONDS + 1
        while self._busy and select([self._channel], [], [], deadline - time.monotonic())[0]:
            self.attend()
        if self._channel.finish(1.0) and self._process:
            os.waitpid(self._process, 0)

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        try:
            self._channel.send(self._waiting.popleft())
            self._busy = True
        except (ChannelClosedError, OSError):
            self._waiting.clear()


def fork_hooks(commands: Mapping[str, str], starter: Starter, peer: str = "") -> Hooks:
    """Fork the process that runs these commands (``up``, ``down``). ``peer`` is FETHPIPE_PEER.

    Raises SystemFailureError.
    """
    serve = partial(_serve, commands=commands, starter=starter, peer=peer)
    return Hooks(*fork_child("the process for --up and --down", serve))


def _serve(channel: Channel, *, commands: Mapping[str, str], starter: Starter, peer: str) -> int:
    starter.become(kept={channel.fileno()}, handled=STOPPING)
    _obey(channel, commands, {**starter.environment(), "FETHPIPE_PEER": peer})
    return 0


def _obey(channel: Channel, commands: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Run what the pump asks for until it closes the channel."""
    facts: dict[str, str] = {}
    which = ""
    try:
        while True:
            try:
                message, _ = channel.receive()
                which, facts = _read(message)
            except (ChannelError, ValueError) as error:
                channel.send({"said": f"the process for --up and --down: {error}"})
                continue
            channel.send({"said": _run(which, commands, environment, facts)})
    except ChannelClosedError:
        if which and facts["FETHPIPE_REASON"] != "end":  # the pump was killed
            _run("down", commands, environment, {**facts, "FETHPIPE_REASON": "end"})


def _read(message: Message) -> tuple[str, dict[str, str]]:
    """Return which command is to run, and its variables. Raises ValueError."""
    which, facts = message.get("run"), message.get("facts")
    if which not in ("up", "down") or not isinstance(facts, dict) or facts.keys() != _SHAPES.keys():
        raise ValueError("malformed request")
    for name, value in facts.items():
        if not (isinstance(value, str) and re.fullmatch(_SHAPES[name], value)):
            raise ValueError("malformed fact")
    return which, {f"FETHPIPE_{name}": value for name, value in facts.items()}


def _run(
    which: str,
    commands: Mapping[str, str],
    environment: Mapping[str, str],
    facts: Mapping[str, str],
) -> str:
    """Run a command, if there is one. Return what went wrong in words, "" if nothing did."""
    command = commands.get(which)
    if not command:
        return ""
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            env={**environment, **facts},
            preexec_fn=end_with_starter,  # noqa: PLW1509 - there are no threads
        )
    except OSError as error:
        return f"cannot run --{which}: {reason(error)}"
    try:
        status = process.wait(HOOK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"--{which} did not end within {HOOK_SECONDS:.3g} s, and was killed"
    return f"--{which} {describe_status(status)}" if status else ""
