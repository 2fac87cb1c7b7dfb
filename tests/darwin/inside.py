"""Functions of fethpipe, run in a process on the simulated Mac.

`Inside` starts the process.  `call` runs a function there and gives its result back; `make` leaves
the result there, and gives a stand-in whose methods are those of the real thing.  What fails there
is raised here.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from fethpipe.errors import FethpipeError
from tests.closing import Closing

if TYPE_CHECKING:
    from tests.darwin.simulation import SimulatedDarwin

_ROOT = Path(__file__).parents[2]
_START = "from tests.darwin.inside import serve; serve()"


class Inside(Closing):
    """A process on the simulated Mac, as root until it becomes somebody else."""

    def __init__(
        self, darwin: SimulatedDarwin, namespace: str, *, pass_fds: tuple[int, ...] = ()
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._process = subprocess.Popen(
            ["nsenter", f"--net={namespace}", sys.executable, "-c", _START],
            cwd=_ROOT,
            env={**os.environ, **darwin.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=pass_fds,
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function and return its result."""
        self.start(function, *arguments)
        return self.finish()

    def make(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function and return a stand-in of its result, which need not be picklable."""
        return Standin(self, self._exchange("make", function, arguments))

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begin a call; `finish` waits for its result."""
        self._send("call", function, arguments)

    def finish(self) -> Any:
        """Return the result of the call that was begun."""
        assert self._process.stdout is not None
        try:
            outcome, value = pickle.load(self._process.stdout)  # noqa: S301 - from our own child
        except EOFError:
            raise AssertionError(f"the process inside has ended: {self.said()}") from None
        if outcome == "refused":
            kind, message, hint = value
            raise kind(message, hint=hint)
        if outcome == "raised":
            raise value
        return value

    def said(self) -> str:
        """Return all that it wrote to stderr so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode()

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """Kill it, if it still runs."""
        self.kill()
        self._stderr.close()

    def _exchange(self, *request: Any) -> Any:
        self._send(*request)
        return self.finish()

    def _send(self, *request: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()


class Standin:
    """An object of the process inside."""

    def __init__(self, inside: Inside, number: int) -> None:
        self._inside = inside
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _find, (self._number,)

    def __getattr__(self, name: str) -> Any:
        def method(*arguments: Any, **options: Any) -> Any:
            return self._inside.call(call_method, self, name, arguments, options)

        return method

    def __call__(self, *arguments: Any) -> Any:
        return self._inside.call(call_method, self, "__call__", arguments, {})


_objects: list[Any] = []


def _find(number: int) -> Any:
    return _objects[number]


def call_method(
    instance: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Call a method of an object of the process inside."""
    return getattr(instance, name)(*arguments, **options)


def _obey(what: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    result = function(*arguments)
    if what == "call":
        return result
    _objects.append(result)
    return len(_objects) - 1


def serve() -> None:
    """Obey until the end of stdin."""
    from tests.darwin import inside  # noqa: PLC0415 - this very module, by its name in pickles

    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            request = pickle.load(requests)  # noqa: S301 - from our own parent
        except EOFError:
            return
        try:
            answer = pickle.dumps(("returned", inside._obey(*request)))
        except FethpipeError as error:
            answer = pickle.dumps(("refused", (type(error), error.message, error.hint)))
        except Exception as error:  # noqa: BLE001 - the caller gets it
            answer = pickle.dumps(("raised", error))
        answers.write(answer)
        answers.flush()


# ---- what tests often want done there ----


def become(user: int, *modules: str) -> None:
    """Give root's privileges up; import before what only root can read."""
    for module in modules:
        import_module(module)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def send_descriptors(channel: int, descriptors: tuple[int, ...]) -> None:
    """Hand descriptors over, and close our own."""
    with socket.socket(fileno=os.dup(channel)) as sock:
        socket.send_fds(sock, [b"x"], list(descriptors))
    for descriptor in descriptors:
        os.close(descriptor)


def receive_descriptors(channel: int, count: int) -> tuple[int, ...]:
    """Take descriptors over."""
    with socket.socket(fileno=os.dup(channel)) as sock:
        return tuple(socket.recv_fds(sock, 1, count)[1])
