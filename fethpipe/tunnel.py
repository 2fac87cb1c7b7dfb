"""Put the parts together, in the one order that is safe."""

from __future__ import annotations

import json
import logging
import os
import signal
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from .command import Command, describe_status
from .device import Device
from .errors import LaunchError, SystemFailureError, TruncatedError, UsageError, reason
from .netif.mac import format_mac
from .provision import DeviceRequest, Provisioned, find_kind, provision
from .pump import Ending, Pump
from .signals import SignalPipe
from .stats import format_counters
from .stream import Stream
from .wire.connection import Connection
from .wire.framing import FRAMINGS

log = logging.getLogger("fethpipe")

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# SIGINFO is Ctrl-T on macOS and the BSDs.
_REPORTING = tuple(
    getattr(signal, name) for name in ("SIGUSR1", "SIGINFO") if hasattr(signal, name)
)


@dataclass(frozen=True)
class Config:
    """Everything that the command line decides."""

    device: str = "auto"
    request: DeviceRequest = field(default_factory=DeviceRequest)
    framing: str = "u16be"
    command: tuple[str, ...] = ()
    ready_descriptor: int | None = None
    stats_seconds: float | None = None


def run(config: Config, *, stdin: int = 0, stdout: int = 1) -> None:
    """Run a tunnel until it ends cleanly.

    Without a COMMAND, frames flow on the two descriptors. Raises FethpipeError.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(SignalPipe((*_STOPPING, *_REPORTING)))
        kind = find_kind(config.device)
        provisioned = provision(kind, config.request)
        device = stack.enter_context(closing(kind.open(provisioned)))
        _announce(provisioned, config.ready_descriptor)
        if config.command:
            ending = _pump_command(config, device, signals)
        else:
            ending = _pump(config, device, signals, stdin, stdout)
        log.info("%s: %s; %s", device.name, ending.reason, _report(device))


def _pump_command(config: Config, device: Device, signals: SignalPipe) -> Ending:
    """Pump over COMMAND, and see to its end."""
    with closing(Command(config.command)) as command:
        truncated: TruncatedError | None = None
        try:
            ending = _pump(
                config, device, signals, command.read_descriptor, command.write_descriptor
            )
        except TruncatedError as error:
            truncated = error
        else:
            if ending.requested:
                return ending
        status = command.finish()
        if status:
            # The likelier cause of a broken stream than the other end's framing.
            also = f": {truncated.message}" if truncated else ""
            raise LaunchError(f"{command.name} {describe_status(status)}{also}")
        if truncated:
            raise truncated
        return ending


def _pump(
    config: Config, device: Device, signals: SignalPipe, incoming: int, outgoing: int
) -> Ending:
    def attend_signals() -> Ending | None:
        for number in signals.read():
            if number in _STOPPING:
                return Ending(f"stopped by {number.name}", requested=True)
            log.warning("%s: %s", device.name, _report(device))
        return None

    def report() -> None:
        log.warning("%s: %s", device.name, _report(device))

    periodic = [(config.stats_seconds, report)] if config.stats_seconds else []
    connection = Connection(FRAMINGS[config.framing], device.counters)
    try:
        with Stream(incoming, outgoing) as stream:
            watch = {signals.fileno(): attend_signals}
            return Pump(device, stream, connection, watch=watch, periodic=periodic).run()
    except OSError as error:
        raise SystemFailureError(f"the stream failed: {reason(error)}") from error


def _report(device: Device) -> str:
    return format_counters(device.counters, kernel_drops=device.kernel_drops())


def _announce(device: Provisioned, ready_descriptor: int | None) -> None:
    """Tell people, and a waiting program, that the device is up."""
    addresses = [str(address) for address in device.addresses]
    state = "is ready" if device.up else "is down: bring it up to pass frames"
    log.info(
        "%s %s: MAC %s, MTU %d%s",
        device.interface,
        state,
        format_mac(device.mac),
        device.mtu,
        "".join(f", {address}" for address in addresses),
    )
    if ready_descriptor is None:
        return
    facts = {
        "interface": device.interface,
        "io_interface": device.io_interface,
        "mac": format_mac(device.mac),
        "mtu": device.mtu,
        "addresses": addresses,
        "pid": os.getpid(),
    }
    try:
        os.write(ready_descriptor, json.dumps(facts).encode() + b"\n")
    except OSError as error:
        raise UsageError(
            f"cannot write to --ready-fd {ready_descriptor}: {reason(error)}"
        ) from error
