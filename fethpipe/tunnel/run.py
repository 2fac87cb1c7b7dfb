"""Put the parts together, in the one order that is safe."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from select import select
from typing import NamedTuple

from ..device import Device
from ..device.capture import Capture, CapturedDevice, open_capture
from ..errors import (
    CommandFailedError,
    FethpipeError,
    NotAllowedError,
    PeerSilentError,
    ProtocolError,
    SystemFailureError,
    TemporaryLaunchError,
    TruncatedError,
    UsageError,
    reason,
    system_step,
)
from ..keeper.client import KeeperProcess, fork_keeper
from ..keeper.sudo import StoppedError, sudo_keeper
from ..netif.mac import format_mac
from ..provision.kind import find_kind, provision
from ..provision.request import Change, DeviceRequest, Provisioned, VmnetFacts
from ..remote.handshake import NotStartedError
from ..remote.session import RemoteSession
from ..remote.ssh import RemoteEnd
from ..stats import format_counters
from ..system.confinement import confine, empty_bounding_set
from ..system.descriptors import open_standard
from ..system.parting import Link, part_from_terminal, terminal_owner
from ..system.privileges import (
    Person,
    acting_as,
    can_become,
    drop_privileges,
    environment_of,
    find_person,
    nobody_account,
    person_behind_sudo,
)
from ..system.signals import SignalPipe, describe_status
from ..system.stderr import can_show_status, terminal
from ..system.stream import Stream
from ..wire.connection import Connection
from ..wire.framing import FRAMINGS
from ..wire.hello import NONCE_LENGTH, Feature, Hello
from .command import Command, prepare_command
from .pump import Ending, Pump, Watch
from .reconnect import Backoff
from .status import CONNECTED, SUPER_FRAMES, StatusLine
from .zerotier import parse_configuration

log = logging.getLogger("fethpipe")

# Exit statuses of COMMAND that will not get better: command not found, usage, not allowed.
_HOPELESS = (127, 64, 77)
# For COMMAND to end by itself when somebody here asked for the end: he is waiting.
_CLOSING_SECONDS = 0.5
_SIGNAL_SECONDS = 0.1
"""How long a signal from the terminal may take to us, when COMMAND has ended of it."""
_STDERR = 2
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A kind of device whose descriptors do not tell all of its ends is asked this often.
_CHECK_SECONDS = 5.0
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
    remote: RemoteEnd | None = None
    verbosity: str | None = None
    keepalive: float | None = None
    hello: bool = True
    pcap: str | None = None
    configure: Callable[[Sequence[bytes]], None] | None = None
    check: Callable[[], None] | None = None


def run(
    config: Config,
    *,
    stdin: int = 0,
    stdout: int = 1,
    on_ready: Callable[[], None] | None = None,
) -> Ending | None:
    """Run a tunnel until it ends cleanly, and return how: None if it was stopped before it began.

    Without a COMMAND or a remote, frames flow on the two descriptors, after ``on_ready`` was
    called. Raises FethpipeError.

    The order is the point: what stays root or needs the privileges of now is forked off first,
    then they go for good, and only then is there a device, a stream and a peer.
    """
    kind = find_kind(config.device)
    with system_step(f"open {os.devnull}"):
        open_standard()
    # Whoever started us may ignore it, and then nobody's end could be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    people = _people(config.user)
    link = _part(people)
    with ExitStack() as stack:
        with system_step("make a pipe"):
            signals = stack.enter_context(SignalPipe((*_STOPPING, *_REPORTING)))
        keeper = stack.enter_context(closing(fork_keeper())) if people.pump else None
        session = None
        if config.remote:
            with system_step("prepare the other end"):
                session = stack.enter_context(closing(_remote_session(config, config.remote)))
        command = _prepare(config, people.command, session, link)
        if command:
            stack.enter_context(closing(command))
        if link:
            link.leave_session()
        capture = _open_capture(config, people.command, stack)
        if people.pump:
            empty_bounding_set()
            drop_privileges(people.pump)
        try:
            provisioned, keeper = _provision(config, keeper, signals, stack)
        except StoppedError as stopped:
            log.info("%s", stopped)
            return None
        device: Device = stack.enter_context(closing(kind.open(provisioned)))
        if capture:
            device = CapturedDevice(device, capture)
        change = keeper.change if keeper else partial(kind.change, provisioned)
        config = config._replace(
            request=config.request._replace(mtu=provisioned.mtu),
            configure=partial(_configure, device, change),
            check=kind.check(provisioned) if kind.check else None,
        )
        _announce(provisioned, config.ready_descriptor)
        if on_ready:
            on_ready()
        _confine()
        watch = _watch(signals, keeper, device)
        if link:
            watch[link.fileno()] = partial(_attend_terminal, link, signals)
        if session:
            watch[session.relay.fileno()] = session.relay.attend
        if command:
            ending = _run_command(config, device, watch, command, session)
        else:
            ending = _pump(config, device, watch, stdin, stdout)
        log.info("%s: %s; %s", device.name, ending.reason, _report(device))
        return ending


def _attend_terminal(link: Link, signals: SignalPipe) -> Ending | None:
    return None if link.attend(signals) else Ending("the terminal has gone", requested=True)


def _confine() -> None:
    """Give up what moving frames does not take, and tell whoever wants to know."""
    holds, lacks = confine()
    log.debug("confinement: %s", ", ".join(holds) or "none")
    for lack in lacks:
        log.debug("confinement lacks: %s", lack)


def _configure(device: Device, change: Callable[[Change], None], words: Sequence[bytes]) -> None:
    """Do what ZeroTier's host wants; what cannot be done is told, and the tunnel goes on."""
    wanted = parse_configuration(words)
    if wanted is None:
        device.counters.drop("configuration not understood")
        return
    try:
        change(wanted)
    except FethpipeError as error:
        log.error("%s", error)  # noqa: TRY400 - one line, never a traceback


def _open_capture(config: Config, owner: Person | None, stack: ExitStack) -> Capture | None:
    """Open the capture, if there is one, as whom COMMAND belongs to; None is who we are."""
    if config.pcap is None:
        return None
    with acting_as(owner) if owner else nullcontext():
        return stack.enter_context(closing(open_capture(config.pcap)))


class _People(NamedTuple):
    """Whom the pump and COMMAND become; None stays who we are.

    The pump need not be the person, unless that is asked for, and needs no groups.
    """

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
    pump = named._replace(groups=(named.gid,)) if named else nobody_account()
    if can_become(pump) and can_become(person or pump):
        return _People(pump, person)
    if named is None:  # root of a user namespace: an ordinary user already
        return _People(None, None)
    raise NotAllowedError(f"this user namespace does not know {named.name}")


def _remote_session(config: Config, remote: RemoteEnd) -> RemoteSession:
    """Return the other end, whose options are ours where both ends must agree."""
    options = ["--framing", config.framing]
    if config.keepalive:
        options += ["--keepalive", str(config.keepalive)]
    if config.verbosity:
        options.append(config.verbosity)
    return RemoteSession(remote, [*options, *remote.options])


def _part(people: _People) -> Link | None:
    """Part from the terminal, if we have one and it is not the pump's own."""
    if people.pump is None:
        return None
    owner = terminal_owner(person_behind_sudo(os.environ))
    if owner is None or owner == people.pump.uid:
        return None
    person = find_person(str(owner)) if owner > 0 else None
    return part_from_terminal(person, (*_STOPPING, *_REPORTING), owner)


def _prepare(
    config: Config, person: Person | None, session: RemoteSession | None, link: Link | None
) -> Command | None:
    """Fork the launcher of COMMAND or ssh, if there is one. It keeps a terminal of its own, for ssh
    may have to ask for something there.
    """
    uid = person.uid if person else os.geteuid()
    own = link.terminal_descriptor if link and link.owner == uid else -1
    leave = link is not None and link.owner != uid
    environment = environment_of(person, os.environ) if person else None
    if session:
        return prepare_command(
            session.argv,
            person=person,
            environment=environment,
            stderr=session.relay.write_descriptor,
            leave_session=leave,
            hint="install ssh, or say what to run instead with --ssh-command",
        )
    if config.command:
        return prepare_command(
            config.command,
            person=person,
            environment=environment,
            stderr=None if own < 0 else own,
            leave_session=leave,
        )
    return None


def _provision(
    config: Config, keeper: KeeperProcess | None, signals: SignalPipe, stack: ExitStack
) -> tuple[Provisioned, KeeperProcess | None]:
    """Have the device made, by a keeper where that takes root."""
    kind = find_kind(config.device)
    if keeper is None:
        try:
            if FRAMINGS[config.framing].commands:
                # Changes come later, when the pump may make none, whatever it may now.
                keeper = stack.enter_context(closing(fork_keeper()))
                return keeper.provision(kind.name, config.request), keeper
            if kind.release:
                stack.callback(kind.release)
            return provision(kind, config.request), None
        except NotAllowedError:
            if os.geteuid() == 0:
                raise
            keeper = stack.enter_context(closing(sudo_keeper(signals, _STOPPING)))
    return keeper.provision(kind.name, config.request), keeper


def _watch(
    signals: SignalPipe, keeper: KeeperProcess | None, device: Device
) -> dict[int, Callable[[], Ending | None]]:
    """Return what the pump attends to besides frames."""

    def attend_signals() -> Ending | None:
        for number in signals.read():
            if number in _STOPPING:
                return Ending(f"stopped by {number.name}", requested=True, signal=number)
            log.warning("%s: %s", device.name, _report(device))
        return None

    def attend_keeper() -> Ending | None:
        raise SystemFailureError(
            f"the keeper of {device.name} has died",
            hint="start again: that removes a feth pair that it may have left",
        )

    watch: dict[int, Callable[[], Ending | None]] = {signals.fileno(): attend_signals}
    if keeper is not None:
        watch[keeper.channel.fileno()] = attend_keeper
    return watch


def _run_command(
    config: Config,
    device: Device,
    watch: Watch,
    command: Command,
    session: RemoteSession | None,
) -> Ending:
    """Pump over COMMAND, again and again if so configured."""
    backoff = Backoff()
    while True:
        started = time.monotonic()
        try:
            command.start()
            ending = _pump_command(config, device, watch, command, session)
            if ending.requested or not config.reconnect:
                return ending
            why = ending.reason
        except (TemporaryLaunchError, CommandFailedError, ProtocolError, PeerSilentError) as error:
            if not config.reconnect or getattr(error, "code", None) in _HOPELESS:
                raise
            why = str(error)
        pause = backoff.next(lasted=time.monotonic() - started)
        log.warning("%s: %s; starting again in %d s", device.name, why, pause)
        stopped = _pause(watch, pause)
        if stopped:
            return stopped


def _pump_command(
    config: Config,
    device: Device,
    watch: Watch,
    command: Command,
    session: RemoteSession | None,
) -> Ending:
    """Pump over one run of COMMAND, and see to its end."""
    if session:
        stopped = _start_remote(session, watch, command)
        if stopped:
            return stopped
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
            command.finish(_CLOSING_SECONDS)
            return ending
    status = command.finish()
    if status:
        stopped = _pause(watch, _SIGNAL_SECONDS)
        if stopped:
            return stopped
        # The likelier cause of a broken stream than the other end's framing.
        said = session.last_words() if session else ""
        also = f": {said}" if said else f": {truncated.message}" if truncated else ""
        raise CommandFailedError(f"{command.name} {describe_status(status)}{also}", status)
    if truncated:
        raise truncated
    return ending


def _start_remote(session: RemoteSession, watch: Watch, command: Command) -> Ending | None:
    """Start the program at the other end of a new connection; return who wants to end instead."""
    try:
        with Stream(command.read_descriptor, command.write_descriptor) as stream:
            stopped = session.start(stream, watch)
    except NotStartedError as failure:
        status = command.stop() if failure.message else command.finish()
        raise session.describe(failure, status) from failure
    except FethpipeError:
        command.stop()
        raise
    if stopped:
        command.stop()
    return stopped


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
    if config.check:
        periodic.append((_CHECK_SECONDS, config.check))
    hello = _hello(config, device) if config.hello else None
    connection = Connection(FRAMINGS[config.framing], device.counters, hello=hello)
    status = _Status(device) if can_show_status() and log.isEnabledFor(logging.INFO) else None
    if status:
        periodic.append((1.0, status.redraw))

    def meet(peer: Hello) -> None:
        _compare_mtu(device.name, config.request.mtu, peer)
        if status:
            status.meet(peer)

    try:
        with Stream(incoming, outgoing) as stream:
            return Pump(
                device,
                stream,
                connection,
                watch=watch,
                periodic=periodic,
                keepalive=config.keepalive,
                on_peer=meet,
                on_configure=config.configure,
            ).run()
    except OSError as error:
        raise SystemFailureError(f"the stream failed: {reason(error)}") from error
    finally:
        if status:
            terminal.erase()


class _Status:
    """The status line of one stream, on the terminal."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._line = StatusLine(device.name, device.counters, time.monotonic())

    def meet(self, peer: Hello) -> None:
        """Take note of what the peer has said of itself."""
        both = Feature.SUPER_FRAMES in _features(self._device) & peer.features
        self._line.peer = SUPER_FRAMES if both else CONNECTED

    def redraw(self) -> None:
        """Show how it stands now, if there is somebody to see it."""
        width = terminal.width()
        if width:
            drops = self._device.kernel_drops()
            terminal.show(self._line.format(time.monotonic(), kernel_drops=drops, width=width))


def _features(device: Device) -> Feature:
    """Return what this device lets us take from a peer."""
    offload = device.offload
    if offload is None or not offload.super_frames:
        return Feature(0)
    return Feature.SUPER_FRAMES | (Feature.UDP_SEGMENTS if offload.udp else Feature(0))


def _hello(config: Config, device: Device) -> Hello:
    """Return what we say of ourselves at the start of a stream."""
    return Hello(
        nonce=os.urandom(NONCE_LENGTH),
        mtu=config.request.mtu or 0,
        features=_features(device),
        keepalive=round(1000 * (config.keepalive or 0)),
    )


def _compare_mtu(name: str, mtu: int | None, peer: Hello) -> None:
    """Tell of frames that will not pass: nobody else would, and it looks like a broken network."""
    if mtu and peer.mtu and mtu != peer.mtu:
        log.warning(
            "%s: its MTU is %d and the other end's is %d: frames with more than %d bytes of data "
            "may be dropped; give both ends the same --mtu",
            name,
            mtu,
            peer.mtu,
            min(mtu, peer.mtu),
        )


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
        "".join(f", {fact}" for fact in (*addresses, *_describe_vmnet(device.vmnet))),
    )
    if ready_descriptor is None:
        return
    facts: dict[str, object] = {
        "interface": device.interface,
        "io_interface": device.io_interface,
        "mac": format_mac(device.mac),
        "mtu": device.mtu,
        "addresses": addresses,
        "pid": os.getpid(),
    }
    if device.vmnet:
        facts["vmnet"] = device.vmnet._asdict()
    try:
        os.write(ready_descriptor, json.dumps(facts).encode() + b"\n")
    except OSError as error:
        raise UsageError(
            f"cannot write to --ready-fd {ready_descriptor}: {reason(error)}"
        ) from error
    if ready_descriptor != _STDERR:  # which is there for more than this
        os.close(ready_descriptor)  # who reads to the end need not wait for ours


def _describe_vmnet(facts: VmnetFacts | None) -> Iterator[str]:
    """Yield what is to be told of a vmnet interface besides its MAC and MTU."""
    if facts is None:
        return
    yield f"{facts.mode} mode"
    yield f"largest packet {facts.max_packet}"
    on = f" on {facts.host_interface}" if facts.host_interface else ""
    if facts.start_address:
        yield f"host {facts.start_address}{on}, up to {facts.end_address}, mask {facts.subnet_mask}"
