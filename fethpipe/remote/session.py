"""One remote end for the life of a tunnel, over as many connections as that takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ..errors import CommandFailedError
from ..system.bundle import pack_program
from ..system.stream import Stream
from .diagnosis import describe_failure
from .handshake import NotStartedError, handshake, make_marker, make_nonce, patience
from .relay import ErrorRelay, printable
from .ssh import RemoteEnd, ssh_arguments

log = logging.getLogger("fethpipe")

_FAR_MAIN = "fethpipe.cli:serve"
_T = TypeVar("_T")


class RemoteSession:
    """The program on its way to the remote, and what comes back besides the stream.

    ``arguments`` are fethpipe's own on the far side. ``argv`` starts it; its stderr belongs to
    ``relay``.
    """

    def __init__(self, remote: RemoteEnd, arguments: Sequence[str]) -> None:
        nonce = make_nonce()
        program = pack_program(_FAR_MAIN, [list(arguments), nonce])
        self.argv = ssh_arguments(remote, program)
        self.relay = ErrorRelay(self.argv[0])
        self._remote = remote
        self._block = program.block
        self._marker = make_marker(nonce)

    def start(self, stream: Stream, watch: Mapping[int, Callable[[], _T | None]]) -> _T | None:
        """Start the program on a new connection. Afterwards the stream is all frames.

        Returns what one of ``watch`` returned, if that came first. Raises NotStartedError.
        """
        self.relay.last_words, self.relay.from_program = "", False
        return handshake(
            stream,
            self._block,
            self._marker,
            watch=watch,
            on_noise=self._tell_noise,
            seconds=patience(),
        )

    def last_words(self) -> str:
        """Return the last line on stderr of a connection that has ended."""
        self.relay.finish()
        return self.relay.last_words

    def describe(self, failure: NotStartedError, status: int) -> CommandFailedError:
        """Return the error that tells why it did not start; ``status`` is how ssh ended."""
        words = self.last_words()
        return describe_failure(
            self._remote, failure, status, words, from_program=self.relay.from_program
        )

    def close(self) -> None:
        """Close the relay; safe to call twice."""
        self.relay.close()

    def _tell_noise(self, noise: bytes) -> None:
        for line in noise.splitlines():
            log.debug("%s printed before the start: %s", self._remote.host, printable(line))
