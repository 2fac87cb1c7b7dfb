"""The pump's side of the keeper: ask it to make, change and destroy a device."""

from __future__ import annotations

import logging
import os
from functools import partial

from ..errors import SystemFailureError
from ..provision.request import Change, DeviceRequest, Provisioned
from ..system.channel import Channel, Message
from ..system.child import fork_child
from .messages import Later, pack_change, pack_link, pack_request, unpack_provisioned
from .root import serve

log = logging.getLogger("fethpipe")

_ANSWER_SECONDS = 10.0
_END_SECONDS = 15.0
"""More than an interface of vmnet takes to stop."""


class StoppedError(Exception):
    """A signal asked us to end while sudo waited for a password."""


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

    def restore(self) -> None:
        """Let the keeper add the addresses of the request that the device has lost. It does so once
        only. Raises like ``provision``.
        """
        self._ask({"do": "restore"})

    def set_link(self, *, up: bool) -> None:
        """Let the keeper set the link of the device. Raises like ``provision``."""
        self._ask(pack_link(up))

    def get_address(self) -> str:
        """Let the keeper get an address for the device by DHCP, or renew it. Return who does that.
        Raises like ``provision``.
        """
        by: str = self._ask({"do": "dhcp"})[0]["by"]
        return by

    def close(self) -> None:
        """Let the keeper destroy the device, and wait until it has ended. Safe to call twice."""
        process, self._process = self._process, None
        if not self.channel.finish(_END_SECONDS):
            log.warning("the keeper does not end: it may leave the device behind")
        elif process is not None:
            os.waitpid(process, 0)

    def _ask(self, request: Message) -> tuple[Message, list[int]]:
        answer, descriptors = self.channel.ask("the keeper", request, seconds=_ANSWER_SECONDS)
        if "refused" in answer:
            raise SystemFailureError(f"the keeper refused: {answer['refused']}")
        return answer, descriptors


def fork_keeper(later: Later | None = None) -> KeeperProcess:
    """Start the keeper as a fork of this process. Call it before there are threads.

    ``later`` is what we may ask for when there is a device. Raises SystemFailureError.
    """
    return KeeperProcess(*fork_child("the keeper", partial(serve, later=later)))
