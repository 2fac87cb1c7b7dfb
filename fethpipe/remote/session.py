"""The remote end of a tunnel. One session lasts as long as the tunnel, over many connections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import CommandFailedError
from ..system.bundle import Packer
from ..system.marker import make_marker, make_nonce
from ..system.stderr import printable
from ..system.stream import Stream
from .diagnosis import NotStartedError, describe_failure
from .handshake import SYSTEMS, FarSystem, handshake, patience
from .relay import ErrorRelay
from .ssh import RemoteEnd, ssh_arguments

log = logging.getLogger("fethpipe")

_FAR_MAIN = "fethpipe.tunnel.far:serve"
_T = TypeVar("_T")


class RemoteSession:
    """Starts fethpipe on the remote host, and passes on its stderr.

    ``argv`` is the local command that starts it; its stderr must be the ``write_descriptor`` of
    ``relay``, which the caller closes.
    """

    def __init__(self, remote: RemoteEnd) -> None:
        self.argv = ssh_arguments(remote)
        self.relay = ErrorRelay(self.argv[0])
        self._remote = remote
        self._seconds = patience()  # now: a confined process cannot look for a terminal
        self._block = self._marker = b""
        self._rest: dict[FarSystem, bytes] = {}

    def prepare(self, config: Mapping[str, Any], modules: Callable[..., Sequence[str]]) -> None:
        """Pack what is sent: the config of the other end, what starts it everywhere, and the
        further modules that it needs on one system (``modules(system, root=...)``).
        """
        nonce = make_nonce()
        self._marker = make_marker(nonce)
        packer = Packer(_FAR_MAIN, [config, nonce])
        self._block = packer.pack(more=True)
        for system in SYSTEMS:
            for root in (False, True):
                rest = packer.copy().pack(modules(system, root=root))
                self._rest[FarSystem(system, root)] = rest

    def size(self, system: FarSystem) -> int:
        """Return how many bytes are sent to a host with this system."""
        return len(self._block) + len(self._rest[system])

    def start(self, stream: Stream, watch: Mapping[int, Callable[[], _T | None]]) -> _T | None:
        """Start the program on a new connection. Afterwards the stream has records only.

        If a function of ``watch`` returns something before, return that. Raises NotStartedError.
        """
        self.relay.hold()
        stopped = handshake(
            stream,
            self._block,
            self._marker,
            self._rest,
            watch=watch,
            on_noise=self._tell_noise,
            on_pause=self.relay.flush,
            seconds=self._seconds,
        )
        self.relay.release()
        return stopped

    def describe(self, failure: NotStartedError, status: int) -> CommandFailedError:
        """Return the error that tells the user why the remote end did not start.

        ``status`` is the exit status of ssh, or a signal as a negative number.
        """
        self.relay.last_words()
        words, from_program = self.relay.last_line, self.relay.from_program
        return describe_failure(self._remote, failure, status, words, from_program=from_program)

    def _tell_noise(self, noise: bytes) -> None:
        for line in noise.splitlines():
            log.debug("%s printed before the start: %s", self._remote.host, printable(line))
