"""What a tunnel is to be: everything that the command line decides, of either end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SystemFailureError
from ..keeper.messages import RequestError, pack_request, unpack_request
from ..provision.request import DeviceRequest

if TYPE_CHECKING:  # only the end that starts the other one needs it
    from ..remote.ssh import RemoteEnd

_ANY_KIND = "tap"


class Config(NamedTuple):
    """Everything that the command line decides. Times are in seconds.

    ``far`` is what the tunnel is to be at the remote end, ``level`` that of the messages.
    """

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
    far: Config | None = None
    level: int = logging.INFO
    keepalive: float | None = None
    hello: bool = True
    latency_control: bool = True
    pcap: str | None = None
    dhcp: bool = False


# What concerns one end only, and the request, which crosses as messages to the keeper have it.
_NOT_SENT = {"request", "command", "reconnect", "remote", "far"}
_SENT = [name for name in Config._fields if name not in _NOT_SENT]


def pack_config(config: Config) -> dict[str, Any]:
    """Return a config for the other end, as JSON can carry it."""
    request = pack_request(_ANY_KIND, config.request)
    return {"request": request, **{name: getattr(config, name) for name in _SENT}}


def unpack_config(packed: Mapping[str, Any]) -> Config:
    """Return the config of ``pack_config``. Raises SystemFailureError."""
    try:
        _, request = unpack_request(packed["request"])
    except RequestError as error:
        raise SystemFailureError(f"the remote end refused the request: {error}") from error
    return Config(request=request, **{name: packed[name] for name in _SENT})


def far_modules(config: Config, system: str, *, root: bool) -> list[str]:
    """Return the modules that an end needs besides the one that starts it, on this system, as root
    or another user. Those come first that make the device.
    """
    mac = system == "Darwin"
    vmnet = config.device == "vmnet"
    needed = {
        "provision.tap": not mac,
        "provision.feth": mac and not vmnet,
        "vmnet.provision": mac and vmnet,
        "vmnet.process": mac and vmnet,
        "netif.darwin": mac,
        "system.libc_darwin": mac,
        "system.parting": root,
        "keeper.sudo": not root,
        "keeper.trust": not root,
        "keeper.main": not root,
        "keeper.dhcp": config.dhcp,
        "device.capture": bool(config.pcap),
        "tunnel.hooks": bool(config.up or config.down),
        "abi.seccomp": not mac,
        "tunnel.tunnel": True,
        "system.changes": config.dhcp,
    }
    package = __name__.partition(".")[0]
    return [f"{package}.{name}" for name, is_needed in needed.items() if is_needed]
