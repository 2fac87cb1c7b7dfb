"""Put the parts together, in the one order that is safe."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from select import select
from typing import NamedTuple

from .command import Command, describe_status, prepare_command
from .device import Device
from .errors import (
    CommandFailedError,
    FethpipeError,
    NotAllowedError,
    ProtocolError,
    SystemFailureError,
    TruncatedError,
    UsageError,
    reason,
)
from .keeper import KeeperProcess, fork_keeper
from .netif.mac import format_mac
from .privileges import (
    Person,
    can_become,
    drop_privileges,
    environment_of,
    find_nobody,
    find_person,
    person_behind_sudo,
)
from .provision import DeviceRequest, Provisioned, find_kind, provision
from .pump import Ending, Pump, Watch
from .reconnect import Pauses
from .signals import SignalPipe
from .stats import format_counters
from .stream import Stream
from .sudo import sudo_keeper
from .wire.connection import Connection
from .wire.framing import FRAMINGS

log = logging.getLogger("fethpipe")

# Exit statuses of COMMAND that will not get better: command not found, usage, not allowed.
_HOPELESS = (127, 64, 77)
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# SIGINFO is Ctrl-T on macOS and the BSDs.
_REPORTING = tuple(
    getattr(signal, name) for name in ("SIGUSR1", "SIGINFO") if hasattr(signal, name)
)


class Config(NamedTuple):
    """Everything that the command line decides."""

    device: str = "auto"
    request: DeviceRequest = DeviceRequest()
    framing: str = "u16be"
    command: tuple[str, ...] = ()
    ready_descriptor: int | None = None
    stats_seconds: float | None = None
    user: str | None = None
    reconnect: bool = False


def run(config: Config, *, stdin: int = 0, stdout: int = 1) -> None:
    """Run a tunnel until it ends cleanly.

    Without a COMMAND, frames flow on the two descriptors. Raises FethpipeError.

    The order is the point: what stays root or needs the privileges of now is forked off first,
    then they go for good, and only then is there a device, a stream and a peer.
    """
    kind = find_kind(config.device)
    with ExitStack() as stack:
        signals = stack.enter_context(SignalPipe((*_STOPPING, *_REPORTING)))
        people = _people(config.user)
        keeper = stack.enter_context(closing(fork_keeper())) if people.pump else None
        command = None
        if config.command:
            environment = environment_of(people.command, os.environ) if people.command else None
            command = prepare_command(
                config.command, person=people.command, environment=environment
            )
            stack.enter_context(closing(command))
        if people.pump:
            drop_privileges(people.pump)
        provisioned, keeper = _provision(config, keeper, stack)
        device = stack.enter_context(closing(kind.open(provisioned)))
        _announce(provisioned, config.ready_descriptor)
        watch = _watch(signals, keeper, device)
        if command:
            ending = _run_command(config, device, watch, command)
        else:
            ending = _pump(config, device, watch, stdin, stdout)
        log.info("%s: %s; %s", device.name, ending.reason, _report(device))


class _People(NamedTuple):
    """Whom the pump and COMMAND become; None stays who we are."""

    pump: Person | None
    command: Person | None


def _people(user: str | None) -> _People:
    """Decide who runs what. Raises UsageError, or NotAllowedError when we may not become them."""
    named = find_person(user) if user is not None else None
    if os.geteuid() != 0:
        if named is None or named.uid == os.geteuid():
            return _People(None, None)
        raise NotAllowedError(f"only root can become {named.name}", hint="leave --user out")
    person = named or person_behind_sudo(os.environ)
    pump = person or find_nobody()
    if can_become(pump):
        return _People(pump, person)
    if named is None:  # root of a user namespace: an ordinary user already
        return _People(None, None)
    raise NotAllowedError(f"this user namespace does not know {named.name}")


def _provision(
    config: Config, keeper: KeeperProcess | None, stack: ExitStack
) -> tuple[Provisioned, KeeperProcess | None]:
    """Have the device made, by a keeper where that takes root."""
    kind = find_kind(config.device)
    if keeper is None:
        try:
            return provision(kind, config.request), None
        except NotAllowedError:
            if os.geteuid() == 0:
                raise
            keeper = stack.enter_context(closing(sudo_keeper()))
    return keeper.provision(kind.name, config.request), keeper


def _watch(
    signals: SignalPipe, keeper: KeeperProcess | None, device: Device
) -> dict[int, Callable[[], Ending | None]]:
    """Return what the pump attends to besides frames."""

    def attend_signals() -> Ending | None:
        for number in signals.read():
            if number in _STOPPING:
                return Ending(f"stopped by {number.name}", requested=True)
            log.warning("%s: %s", device.name, _report(device))
        return None

    def attend_keeper() -> Ending | None:
        raise SystemFailureError(
            f"the keeper of {device.name} has died",
            hint="start again: that removes what it may have left",
        )

    watch: dict[int, Callable[[], Ending | None]] = {signals.fileno(): attend_signals}
    if keeper is not None:
        watch[keeper.channel.fileno()] = attend_keeper
    return watch


def _run_command(config: Config, device: Device, watch: Watch, command: Command) -> Ending:
    """Pump over COMMAND, again and again if so configured."""
    pauses = Pauses()
    while True:
        started = time.monotonic()
        command.start()
        try:
            ending = _pump_command(config, device, watch, command)
            if ending.requested or not config.reconnect:
                return ending
            why = ending.reason
        except (CommandFailedError, ProtocolError) as error:
            if not config.reconnect or getattr(error, "code", None) in _HOPELESS:
                raise
            why = str(error)
        pause = pauses.next(lasted=time.monotonic() - started)
        log.warning("%s: %s; starting again in %d s", device.name, why, pause)
        stopped = _pause(watch, pause)
        if stopped:
            return stopped


def _pump_command(config: Config, device: Device, watch: Watch, command: Command) -> Ending:
    """Pump over one run of COMMAND, and see to its end."""
    truncated: TruncatedError | None = None
    try:
        ending = _pump(config, device, watch, command.read_descriptor, command.write_descriptor)
    except TruncatedError as error:
        truncated = error
    except FethpipeError:
        command.stop()
        raise
    else:
        if ending.requested:
            command.finish()
            return ending
    status = command.finish()
    if status:
        # The likelier cause of a broken stream than the other end's framing.
        also = f": {truncated.message}" if truncated else ""
        raise CommandFailedError(f"{command.name} {describe_status(status)}{also}", status)
    if truncated:
        raise truncated
    return ending


def _pause(watch: Watch, seconds: float) -> Ending | None:
    """Wait, but for the end that somebody asks for."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for descriptor in select(list(watch), [], [], left)[0]:
            ending = watch[descriptor]()
            if ending:
                return ending
    return None


def _pump(config: Config, device: Device, watch: Watch, incoming: int, outgoing: int) -> Ending:
    def report() -> None:
        log.warning("%s: %s", device.name, _report(device))

    periodic = [(config.stats_seconds, report)] if config.stats_seconds else []
    connection = Connection(FRAMINGS[config.framing], device.counters)
    try:
        with Stream(incoming, outgoing) as stream:
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
