"""Start the keeper through sudo(8), and nothing else."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Container
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from select import select

from ..errors import NotAllowedError, system_step
from ..system.bundle import STAGE_ARGUMENTS, has_module, pack_program
from ..system.channel import Channel, ChannelClosedError, ChannelError, channel_pair
from ..system.descriptors import has_controlling_terminal
from ..system.signals import SignalPipe
from .client import KeeperProcess, StoppedError
from .messages import Later

log = logging.getLogger("fethpipe")

_KEEPER = "fethpipe.keeper.main:main"
_KEEPER_FILE = Path(__file__).with_name("main.py")
# What it imports when it knows what to make.
_LATE = (
    *(
        "system.child",
        "keeper.root",
        "keeper.dhcp",
        "provision.tap",
        "provision.feth",
        "vmnet.provision",
    ),
    *("vmnet.process", "system.importer"),
)
# No environment, no site-packages, and no compiled files, which root would own in a user's folder.
_ISOLATED = ("-I", "-S", "-B")
_START_SECONDS = 15.0
_PASSWORD_SECONDS = 300.0
_END_SECONDS = 1.0
_LONGEST_COMPLAINT = 4096
# On a Mac, sudo asks everybody for a password and works for administrators only. It has no TAPs.
_HINTS = {
    "Darwin": "run as root, or let sudo run one script without a password, as docs/RECIPES.md shows"
    " under 'A Mac at the far end'"
}


def sudo_keeper(
    need: NotAllowedError,
    signals: SignalPipe,
    stopping: Container[signal.Signals],
    later: Later | None,
) -> KeeperProcess:
    """Start a keeper through sudo, which may ask for a password if there is a terminal.

    ``need`` is what cannot be done without root, ``later`` what the pump may ask for when
    there is a device.

    Where our code is in no file of its own (sent over ssh, or in a zip file), the keeper gets it
    over its channel.

    Raises NotAllowedError with what sudo says, StoppedError when one of the ``stopping`` signals
    comes first, SystemFailureError when there is not even a channel to it.
    """
    from .trust import interpreter  # noqa: PLC0415 - few starts need it

    interactive = has_controlling_terminal()
    if interactive:
        log.info("sudo may ask for your password: %s", _needed(need))
    program = None if _KEEPER_FILE.is_file() else _pack_keeper(later)
    keeper = STAGE_ARGUMENTS if program else keeper_file()
    python = str(interpreter())  # which is what was checked
    argv = ["sudo", *([] if interactive else ["-n"]), "--", python, *_ISOLATED, *keeper]
    if later and not program:
        argv.append(later)
    with system_step("start the keeper"):
        near, far = channel_pair()
    complaints = None if interactive else subprocess.PIPE
    with ExitStack() as undo:
        undo.callback(near.close)
        with closing(far):
            try:
                process = subprocess.Popen(
                    argv, stdin=far.fileno(), stdout=subprocess.DEVNULL, stderr=complaints, cwd="/"
                )
            except OSError as error:
                raise NotAllowedError(
                    f"{_needed(need)}, but sudo cannot be started", hint=need.hint
                ) from error
        seconds = _PASSWORD_SECONDS if interactive else _START_SECONDS
        near.set_timeout(seconds)
        try:
            if program:
                near.send_bytes(program)
            _wait_for(near, seconds, signals, stopping)
            near.receive()
        except StoppedError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)  # it sets the terminal back, before a shell prompts
            raise
        except (ChannelClosedError, ChannelError, OSError) as error:
            raise _refusal(process, need) from error
        near.set_timeout(None)
        undo.pop_all()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)  # sudo ends; the keeper goes on
    if process.stderr:
        process.stderr.close()
    return KeeperProcess(near)


def _pack_keeper(later: Later | None) -> bytes:
    """Return the keeper as a program, as far as we have it ourselves."""
    package = _KEEPER.partition(".")[0]
    modules = [f"{package}.{name}" for name in _LATE]
    return pack_program(_KEEPER, [later], filter(has_module, modules))


def _wait_for(
    channel: Channel, seconds: float, signals: SignalPipe, stopping: Container[signal.Signals]
) -> None:
    """Wait until the channel is readable. Raises TimeoutError or StoppedError."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        readable, _, _ = select([channel.fileno(), signals.fileno()], [], [], left)
        if channel.fileno() in readable:
            return
        if not readable:
            raise TimeoutError
        for number in signals.read():
            if number in stopping:
                raise StoppedError(f"stopped by {number.name} before the device was made")


def keeper_file() -> list[str]:
    """Return the arguments with which Python runs the keeper: a file that is safe to run as root.

    Raises NotAllowedError if anybody else could have changed that file.
    """
    from .trust import find_unsafe  # noqa: PLC0415 - few starts need it

    path = _KEEPER_FILE.resolve()
    unsafe = find_unsafe(path.parents[1])
    if unsafe is not None:
        raise NotAllowedError(
            f"{unsafe} can be changed by other users, so root must not run it",
            hint="install fethpipe where only root and you can write, or run as root",
        )
    return [str(path)]


def _needed(need: NotAllowedError) -> str:
    """Return what root is needed for: what could not be done, without the reason."""
    tried = need.message.partition(": ")[0]
    what = tried[len("cannot ") :] if tried.startswith("cannot ") else "make the device"
    return f"root is needed to {what}"


def _refusal(process: subprocess.Popen[bytes], need: NotAllowedError) -> NotAllowedError:
    said = ""
    # We cannot kill it, as it runs as root. But its prompt ends by itself when nobody types.
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    if process.stderr:
        os.set_blocking(process.stderr.fileno(), False)
        with process.stderr:
            output = process.stderr.read(_LONGEST_COMPLAINT) or b""
        lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
        said = next((f": {line}" for line in reversed(lines) if line), "")
    return NotAllowedError(
        f"{_needed(need)}, but sudo did not start the keeper{said}",
        hint=_HINTS.get(os.uname().sysname, f"allow sudo without a password, {need.hint}"),
    )
