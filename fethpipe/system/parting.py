"""Leave a terminal to its owner.

A process that has a terminal can read what the user types, and can insert text as if it were typed
(TIOCSTI). So a process of another user must not have it, and the program forks. The first process
keeps the terminal, becomes its owner, and shows what the second one writes, quoted: text, and a
status line. It passes on signals, and ends when the second one ends, with the same exit status. The
second one gets a session of its own.

The socket between them carries lines. To the second process: ``signal N`` and ``width N``, the
columns for a status line, 0 if none can be shown. From the second process: status lines.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import NoReturn

from ..errors import FethpipeError, system_step
from .confinement import confine
from .descriptors import close_all_but, has_controlling_terminal, write_all
from .privileges import Person, drop_privileges, find_person, person_behind_sudo
from .signals import SignalPipe
from .stderr import can_show_status, output, printable, terminal
from .title import set_title

# The second process has ended; the terminal is wider or narrower; we are in the foreground again.
_NOTICED = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT)
_STANDARD = (0, 1, 2)
_STDERR = 2
_CHUNK = 1 << 12
_LONGEST_LINE = 2048
_LAST_SECONDS = 1.0
_USUAL_WIDTH = 80
_PTY_SLAVES = range(136, 144)  # major numbers (Documentation/admin-guide/devices.txt)


def _terminal_owner() -> int | None:
    """Return the uid of the owner of our terminal, -1 if it is unknown, None without a terminal.

    A pseudo-terminal that sudo made for this one program belongs to who called sudo, who reads and
    types there; the system says that it is root's.
    """
    owners = {os.fstat(each).st_uid for each in _STANDARD if os.isatty(each)}
    if not owners and has_controlling_terminal():
        owners = _owners_of_controlling_terminal()
    if not owners:
        return None
    owner = owners.pop() if len(owners) == 1 else -1
    person = person_behind_sudo(os.environ)
    return person.uid if owner == 0 and person and _sudo_made_this_session() else owner


class Link:
    """The second process's connection to the first one."""

    def __init__(self, control: socket.socket, owner: int, kept: int) -> None:
        self.owner = owner
        self.terminal_descriptor = kept
        """The terminal that was stderr, for a COMMAND of its owner; -1 if it was none."""
        self._control = control
        self._pending = b""

    def fileno(self) -> int:
        """Return the descriptor, which is readable when the first process has sent something."""
        return self._control.fileno()

    def attend(self, signals: SignalPipe) -> bool:
        """Read what the first process has sent. Return False if it has ended."""
        try:
            data = self._control.recv(_CHUNK)
        except OSError:
            data = b""
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"signal":
                signals.put(int(number))
            elif word == b"width":
                terminal.relayed_width = int(number)
        return bool(data)

    def leave_session(self) -> None:
        """Start a session of our own, without the terminal."""
        os.setsid()
        if self.terminal_descriptor >= 0:
            os.close(self.terminal_descriptor)
        self.terminal_descriptor = -1


def leave_terminal(user: int, passed_on: Sequence[signal.Signals]) -> Link | None:
    """Leave the terminal to its owner, if we have one and this user does not own it.

    Return as the second process then. The first one never does; it becomes the owner, or stays root
    if that is unknown. ``passed_on`` are the signals that it passes on. Raises SystemFailureError.
    """
    number = _terminal_owner()
    if number is None or number == user:
        return None
    owner = find_person(str(number)) if number > 0 else None
    shows = can_show_status()
    with system_step("start the process that keeps the terminal"):
        reading, writing = os.pipe()
        control, its_control = socket.socketpair()
        child = os.fork()
    if child:
        os.close(writing)
        its_control.close()
        _keep_terminal(owner, _Keeping(reading, control, child, shows=shows), passed_on)
    os.close(reading)
    control.close()
    kept = os.dup(_STDERR) if os.isatty(_STDERR) else -1
    with open(os.devnull, "rb") as nothing:
        for standard, instead in zip(_STANDARD, (nothing.fileno(), writing, writing)):
            if os.isatty(standard):
                os.dup2(instead, standard)
    os.close(writing)
    output.open()
    terminal.relay, terminal.relayed_width = its_control, _USUAL_WIDTH if shows else 0
    return Link(its_control, number, kept)


class _Keeping:
    """The first process: it shows what the second one writes."""

    def __init__(self, text: int, control: socket.socket, child: int, *, shows: bool) -> None:
        self.descriptors = {text, control.fileno()}
        self._text = text
        self._control = control
        self._child = child
        self._shows = shows
        self._lines = b""
        self._status_lines = b""
        self._width = -1
        self._open = [text, control.fileno()]

    def serve(self, signals: SignalPipe) -> int:
        """Serve until the second process ends, and return its exit status."""
        while True:
            self._tell_width()
            readable, _, _ = select([signals.fileno(), *self._open], [], [])
            if self._text in readable:
                self._show_text()
            if self._control.fileno() in readable:
                self._show_status()
            for number in signals.read() if signals.fileno() in readable else ():
                if number not in _NOTICED:
                    self._say(f"signal {number:d}")
            pid, status = os.waitpid(self._child, os.WNOHANG)
            if pid:
                self._finish()
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def _show_text(self) -> bool:
        data = os.read(self._text, _CHUNK)
        if not data:
            self._open.remove(self._text)
        *lines, self._lines = (self._lines + data).split(b"\n")
        if len(self._lines) > _LONGEST_LINE:
            lines, self._lines = [*lines, self._lines], b""
        for line in lines:
            text = printable(line.rstrip(b"\r")).encode()
            write_all(_STDERR, terminal.around(text + b"\n"))
        return bool(data)

    def _show_status(self) -> None:
        try:
            data = self._control.recv(_CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            self._open.remove(self._control.fileno())
        *lines, self._status_lines = (self._status_lines + data)[-_CHUNK:].split(b"\n")
        if lines:
            line = lines[-1].decode("ascii", "replace")[: max(0, terminal.width() - 1)]
            terminal.show("".join(letter if letter.isprintable() else "?" for letter in line))

    def _tell_width(self) -> None:
        width = terminal.width() if self._shows else 0
        if width != self._width:
            self._width = width
            self._say(f"width {width}")

    def _say(self, line: str) -> None:
        with suppress(OSError):
            self._control.send(line.encode() + b"\n", socket.MSG_DONTWAIT)

    def _finish(self) -> None:
        """Show what is left. Do not wait for the end of the pipe, as others may have it open."""
        deadline = time.monotonic() + _LAST_SECONDS
        while self._text in self._open and select([self._text], [], [], 0)[0]:
            if not self._show_text() or time.monotonic() > deadline:
                break
        terminal.erase()


def _keep_terminal(
    owner: Person | None, keeping: _Keeping, passed_on: Sequence[signal.Signals]
) -> NoReturn:
    status = FethpipeError.status
    set_title("fethpipe-tty")
    try:
        with SignalPipe((*passed_on, *_NOTICED)) as signals:
            kept = {*_STANDARD, *keeping.descriptors, *signals.descriptors}
            close_all_but(kept)
            output.open()
            if owner:
                drop_privileges(owner)
            confine()
            status = keeping.serve(signals)
    except BaseException as error:  # noqa: BLE001 - the second process goes on as the program
        with suppress(OSError):
            os.write(_STDERR, f"fethpipe: the terminal is lost: {error!r}\n".encode())
    finally:
        os._exit(status)


def _owners_of_controlling_terminal() -> set[int]:
    """Return its owner, if Linux tells which terminal it is: proc(5), tty_nr of /proc/PID/stat."""
    with suppress(OSError, ValueError):
        number = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[4])
        if os.major(number) in _PTY_SLAVES:
            index = (os.major(number) - _PTY_SLAVES[0]) * 256 + os.minor(number)
            return {Path(f"/dev/pts/{index}").stat().st_uid}
    return {-1}


def _sudo_made_this_session() -> bool:
    """Return whether sudo started us and made a session for us alone (use_pty)."""
    parent = os.getppid()
    try:
        if os.getsid(0) != parent:
            return False
        if sys.platform == "darwin":
            from .libc_darwin import process_name  # noqa: PLC0415 - a start elsewhere needs no ctypes

            return process_name(parent) == "sudo"
        return Path(f"/proc/{parent}/comm").read_text() == "sudo\n"
    except OSError:
        return False
