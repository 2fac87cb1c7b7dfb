"""The pump's side of the keeper: ask it to make, change and destroy a device."""

from __future__ import annotations

import os
from functools import partial

from ..errors import SystemFailureError
from ..provision.request import Change, DeviceRequest, Provisioned
from ..system.channel import Channel, Message
from ..system.child import fork_child
from .messages import pack_change, pack_request, unpack_provisioned
from .root import serve

_ANSWER_SECONDS = 10.0


class KeeperProcess:
    """A channel to a keeper, and its process id if it is our child."""

    def __init__(self, channel: Channel, process: int | None = None) -> None:
        self.channel = channel
        self._process = process

    def provision(self, kind: str, request: DeviceRequest) -> Provisioned:
        """Let the keeper make the device. Raises the error that the keeper got, or
        SystemFailureError if it does not answer.
        """
        message, descriptors = self._ask(pack_request(kind, request))
        return unpack_provisioned(message["device"], descriptors)

    def change(self, change: Change) -> None:
        """Let the keeper change the device. Raises like ``provision``."""
        self._ask(pack_change(change))

    def close(self) -> None:
        """Let the keeper destroy the device, and wait until it has ended. Safe to call twice."""
        self.channel.finish()
        if self._process is not None:
            os.waitpid(self._process, 0)
            self._process = None

    def _ask(self, request: Message) -> tuple[Message, list[int]]:
        answer, descriptors = self.channel.ask("the keeper", request, seconds=_ANSWER_SECONDS)
        if "refused" in answer:
            raise SystemFailureError(f"the keeper refused: {answer['refused']}")
        return answer, descriptors


def fork_keeper(*, may_change: bool = False) -> KeeperProcess:
    """Start the keeper as a fork of this process. Call it before there are threads.

    ``may_change`` is whether we may have the device changed later. Raises SystemFailureError.
    """
    return KeeperProcess(*fork_child("the keeper", partial(serve, may_change=may_change)))
