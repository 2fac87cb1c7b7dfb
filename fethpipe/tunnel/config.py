"""What a tunnel is to be."""

from __future__ import annotations

from typing import NamedTuple

from ..provision.request import DeviceRequest
from ..remote.ssh import RemoteEnd


class Config(NamedTuple):
    """Everything that the command line decides. Times are in seconds."""

    device: str = "auto"
    request: DeviceRequest = DeviceRequest()
    framing: str = "u16be"
    command: tuple[str, ...] = ()
    ready_descriptor: int | None = None
    ready_file: str | None = None
    up: str | None = None
    down: str | None = None
    stats_seconds: float | None = None
    user: str | None = None
    reconnect: float | None = None
    remote: RemoteEnd | None = None
    verbosity: str | None = None
    keepalive: float | None = None
    hello: bool = True
    latency_control: bool = True
    pcap: str | None = None
    dhcp: bool = False
