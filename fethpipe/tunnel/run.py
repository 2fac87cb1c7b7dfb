"""Run a tunnel: put its parts together, in the only order that is safe."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

from ..device import Device
from ..device.capture import Capture, open_capture
from ..device.inspected import InspectedDevice
from ..errors import (
    FethpipeError,
    NotAllowedError,
    SystemFailureError,
    reason,
    system_step,
)
from ..keeper.client import KeeperProcess, fork_keeper
from ..keeper.messages import Later
from ..keeper.sudo import StoppedError, sudo_keeper
from ..netif.name import interface_index
from ..provision.kind import find_kind, provision
from ..provision.request import Change, DeviceRequest, Provisioned
from ..remote.session import RemoteSession
from ..remote.ssh import RemoteEnd
from ..stats import format_counters
from ..system.changes import NetworkChanges, NewAddresses
from ..system.confinement import confine, empty_bounding_set
from ..system.descriptors import open_standard
from ..system.parting import Link
from ..system.privileges import (
    Person,
    acting_as,
    drop_privileges,
    environment_of,
)
from ..system.service import ServiceManager
from ..system.signals import SignalPipe
from ..system.stderr import without_waiting
from ..system.stream import Stream
from ..system.title import set_title
from ..wire.connection import Connection, EchoReceived, Event, PeerReady
from ..wire.framing import FRAMINGS
from ..wire.offload import SegmentLimit
from .addresses import warn_of_networks
from .carrier import link_up, set_carrier
from .command import Command, prepare_command
from .ending import Ending, Watch
from .hooks import Hooks, fork_hooks
from .peer import compare_ends, make_hello
from .people import choose_people, part
from .pump import Pump
from .ready import Announcer, open_outputs
from .reconnect import run_command
from .retry import Retry
from .ring import TICK_SECONDS, RingGuard
from .upkeep import look_after
from .zerotier import parse_configuration

log = logging.getLogger("fethpipe")

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# How often a device is checked whose descriptors do not show every failure.
_CHECK_SECONDS = 5.0
# SIGINFO is Ctrl-T on macOS and the BSDs.
_COUNTING = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGINFO") if hasattr(signal, name))


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
    configure: Callable[[Sequence[bytes]], None] | None = None
    check: Callable[[], None] | None = None
    get_address: Callable[[], None] | None = None


def run(
    config: Config,
    *,
    stdin: int = 0,
    stdout: int = 1,
    on_ready: Callable[[], None] | None = None,
) -> Ending | None:
    """Run a tunnel until it ends cleanly. Return why it ended, None if it was stopped before.

    Without a COMMAND or a remote end, the stream is ``stdin`` and ``stdout``. ``on_ready`` is
    called when the device is up, before anything is written to the stream. Raises FethpipeError.

    The order matters: first fork what has to keep our privileges, then give them up for good, and
    only then make the device, open the stream and listen to the peer.
    """
    kind = find_kind(config.device)
    later = _later(config)
    with system_step(f"open {os.devnull}"):
        open_standard()
    # If the program that started us ignores it, we could not wait for the end of our children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    people = choose_people(config.user)
    handled = (*_STOPPING, *_COUNTING, *((signal.SIGUSR2,) if config.reconnect else ()))
    link = part(people, handled)
    with ExitStack() as stack:
        with system_step("make a pipe"):
            signals = stack.enter_context(SignalPipe(handled))
        keeper = stack.enter_context(closing(fork_keeper(later))) if people.pump else None
        announcer = _open_announcer(
            config, people.command, link, stack, remote=on_ready is not None
        )
        session = _remote_session(config, stack)
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
            provisioned, keeper = _provision(config, later, keeper, signals, stack)
        except StoppedError as stopped:
            log.info("%s", stopped)
            return None
        device: Device = stack.enter_context(closing(kind.open(provisioned)))
        device, ring = _inspect(device, config, capture, provisioned.mac)
        config = config._replace(
            request=config.request._replace(mtu=provisioned.mtu),
            configure=partial(_configure, device, keeper.change) if keeper else None,
            check=look_after(kind, provisioned, keeper, addresses=later != "change"),
            get_address=partial(_get_address, device, keeper) if config.dhcp and keeper else None,
        )
        if session:
            set_carrier(device, up=False)
        stack.callback(announcer.end)
        announcer.start(provisioned, device)
        warn_of_networks(provisioned)
        retry = _retry(config, provisioned, announcer, stack)
        addresses = _watch_addresses(config, provisioned, announcer, stack)
        if on_ready:
            on_ready()
        _confine()
        watch = {
            **_watch(signals, keeper, device, retry, session, hooks=announcer.hooks),
            **addresses,
        }
        if link:
            watch[link.fileno()] = partial(_attend_terminal, link, signals)
        pump = partial(
            _pump, config, device, watch=watch, announcer=announcer, retry=retry, ring=ring
        )
        if command:
            ending = run_command(watch, command, pump, session=session, retry=retry)
        else:
            ending = pump(stdin, stdout)
        log.info("%s: %s; %s", device.name, ending.reason, _count(device))
        return ending


def _later(config: Config) -> Later | None:
    """Return what the pump may ask the keeper for when there is a device."""
    if config.dhcp:
        return "dhcp"
    return "change" if FRAMINGS[config.framing].commands else None


def _inspect(
    device: Device, config: Config, capture: Capture | None, mac: bytes
) -> tuple[Device, RingGuard | None]:
    """Return the device with what looks at its frames. Where no time counts anyway, and nothing
    says that there is a bridge, nobody looks for a ring: that takes a timer.
    """
    if capture:
        device = InspectedDevice(device, capture)
    if not (config.keepalive or config.request.bridge):
        return device, None
    ring = RingGuard(device, mac)
    return InspectedDevice(device, ring), ring


def _attend_terminal(link: Link, signals: SignalPipe) -> Ending | None:
    return None if link.attend(signals) else Ending("the terminal has gone", requested=True)


def _confine() -> None:
    """Give up what moving frames does not need, and log it (-v)."""
    set_title("fethpipe-pump")
    holds, lacks = confine()
    log.debug("confinement: %s", ", ".join(holds) or "none")
    for lack in lacks:
        log.debug("confinement lacks: %s", lack)


def _get_address(device: Device, keeper: KeeperProcess) -> None:
    """Have the device get an address from the far network, or renew it."""
    log.info("%s: %s asks for an address", device.name, keeper.get_address())


def _watch_addresses(
    config: Config, device: Provisioned, announcer: Announcer, stack: ExitStack
) -> dict[int, Callable[[], None]]:
    """Return what tells the addresses that the device gets by DHCP."""
    if not config.dhcp:
        return {}
    news = stack.enter_context(closing(NewAddresses(interface_index(device.interface))))

    def attend() -> None:
        for address in news.read():
            announcer.got_address(str(address))

    return dict.fromkeys(news.descriptors, attend)


def _configure(device: Device, change: Callable[[Change], None], words: Sequence[bytes]) -> None:
    """Do what ZeroTier's host asks for. If it fails, log the error and go on."""
    wanted = parse_configuration(words)
    if wanted is None:
        device.counters.drop("configuration not understood")
        return
    try:
        change(wanted)
    except FethpipeError as error:
        log.error("%s", error)  # noqa: TRY400 - one line, never a traceback


def _open_capture(config: Config, owner: Person | None, stack: ExitStack) -> Capture | None:
    """Open the capture, if there is one, as the user of COMMAND; None is our own user."""
    if config.pcap is None:
        return None
    with acting_as(owner):
        return stack.enter_context(closing(open_capture(config.pcap)))


def _open_announcer(
    config: Config, owner: Person | None, link: Link | None, stack: ExitStack, *, remote: bool
) -> Announcer:
    """Open what tells the states of the tunnel: a file, and --up and --down, as the user of
    COMMAND.
    """
    commands = {"up": config.up or "", "down": config.down or ""}
    hooks = None
    if any(commands.values()):
        hooks = fork_hooks(
            commands,
            person=owner,
            environment=environment_of(owner, os.environ) if owner else None,
            leave_session=_leaves_terminal(link, owner),
        )
    with acting_as(owner):
        outputs = open_outputs(config.ready_descriptor, config.ready_file, stack)
    peer = f"through {config.command[0]}" if config.command else ""
    if config.remote:
        peer = f"to {config.remote.host}"
    return Announcer(peer, outputs, ServiceManager(), remote=remote, hooks=hooks)


def _retry(
    config: Config, device: Provisioned, announcer: Announcer, stack: ExitStack
) -> Retry | None:
    """Return when to start COMMAND again, if it is to be started again at all."""
    if config.reconnect is None:
        return None
    names = (device.interface, device.io_interface, config.request.bridge)
    ours = {interface_index(name) for name in names if name}
    changes = stack.enter_context(closing(NetworkChanges(ours)))
    return Retry(config.reconnect, changes, tell=announcer.waiting, count_down=announcer.count_down)


def _remote_session(config: Config, stack: ExitStack) -> RemoteSession | None:
    """Return the remote end, if there is one. It gets our options where both ends must have the
    same.
    """
    remote = config.remote
    if remote is None:
        return None
    options = ["--framing", config.framing]
    if config.keepalive:
        options += ["--keepalive", str(config.keepalive)]
    if config.verbosity:
        options.append(config.verbosity)
    with system_step("prepare the remote end"):
        return stack.enter_context(closing(RemoteSession(remote, [*options, *remote.options])))


def _prepare(
    config: Config, person: Person | None, session: RemoteSession | None, link: Link | None
) -> Command | None:
    """Fork the launcher of COMMAND or ssh, if there is one.

    It keeps the terminal if that belongs to its user, as ssh may have to ask something there.
    """
    leaves = _leaves_terminal(link, person)
    prepare = partial(
        prepare_command,
        person=person,
        environment=environment_of(person, os.environ) if person else None,
        leave_session=leaves,
    )
    if session:
        return prepare(
            session.argv,
            stderr=session.relay.write_descriptor,
            hint="install ssh, or name another command with --ssh-command",
        )
    if config.command:
        own = link.terminal_descriptor if link and not leaves else -1
        return prepare(config.command, stderr=None if own < 0 else own)
    return None


def _leaves_terminal(link: Link | None, person: Person | None) -> bool:
    """Return whether the terminal belongs to somebody else than the person, None for us."""
    return link is not None and link.owner != (person.uid if person else os.geteuid())


def _provision(
    config: Config,
    later: Later | None,
    keeper: KeeperProcess | None,
    signals: SignalPipe,
    stack: ExitStack,
) -> tuple[Provisioned, KeeperProcess | None]:
    """Make the device, through a keeper if that needs root."""
    kind = find_kind(config.device)
    if keeper is None:
        try:
            if config.dhcp:
                _require_root()
            if later:  # when the pump may do nothing of that, whatever it may now
                keeper = stack.enter_context(closing(fork_keeper(later)))
                return keeper.provision(kind.name, config.request), keeper
            if kind.release:
                stack.callback(kind.release)
            return provision(kind, config.request), None
        except NotAllowedError as need:
            if os.geteuid() == 0:
                raise
            keeper = stack.enter_context(closing(sudo_keeper(need, signals, _STOPPING, later)))
    return keeper.provision(kind.name, config.request), keeper


def _require_root() -> None:
    if os.geteuid() != 0:
        raise NotAllowedError("only root can get an address by DHCP")


def _watch(
    signals: SignalPipe,
    keeper: KeeperProcess | None,
    device: Device,
    retry: Retry | None,
    session: RemoteSession | None,
    *,
    hooks: Hooks | None,
) -> dict[int, Callable[[], Ending | None]]:
    """Return the descriptors and functions that the pump watches besides the frames."""

    def attend_signals() -> Ending | None:
        for number in signals.read():
            if number in _STOPPING:
                return Ending(f"stopped by {number.name}", requested=True, signal=number)
            if number == signal.SIGUSR2 and retry:
                retry.hurry()
            else:
                log.warning("%s: %s", device.name, _count(device))
        return None

    def attend_keeper() -> Ending | None:
        raise SystemFailureError(
            f"the keeper of {device.name} has died",
            hint="start again: that also destroys a feth pair that it left behind",
        )

    watch: dict[int, Callable[[], Ending | None]] = {signals.fileno(): attend_signals}
    if hooks is not None:
        watch[hooks.fileno()] = hooks.attend
    if keeper is not None:
        watch[keeper.channel.fileno()] = attend_keeper
    if session is not None:
        watch[session.relay.fileno()] = session.relay.attend
    return watch


def _pump(
    config: Config,
    device: Device,
    incoming: int,
    outgoing: int,
    *,
    watch: Watch,
    announcer: Announcer,
    retry: Retry | None,
    ring: RingGuard | None,
) -> Ending:
    def log_counters() -> None:
        log.warning("%s: %s", device.name, _count(device))

    periodic = [(config.stats_seconds, log_counters)] if config.stats_seconds else []
    if ring:
        periodic.append((TICK_SECONDS, ring.tick))
    if config.check:
        periodic.append((_CHECK_SECONDS, config.check))
    hello = make_hello(device, config.request, config.keepalive) if config.hello else None
    limit = SegmentLimit(device.offload.longest_frame) if device.offload else None
    connection = Connection(FRAMINGS[config.framing], device.counters, hello=hello, limit=limit)
    status = announcer.status
    if status:
        status.connect(connected=False)
        periodic.append((1.0, status.redraw))

    def meet(first: Event | None) -> None:
        if isinstance(first, EchoReceived):
            log.warning("%s: the other end sends back what we send: it is an echo", device.name)
            return
        if isinstance(first, PeerReady) and hello:
            compare_ends(device.name, hello, first.hello)
        announcer.connected()
        if retry:
            retry.reset()

    try:
        with Stream(incoming, outgoing) as stream, without_waiting(), link_up(device):
            if config.get_address:
                config.get_address()
            return Pump(
                device,
                stream,
                connection,
                watch=watch,
                periodic=periodic,
                keepalive=config.keepalive,
                on_first=meet,
                latency_control=config.latency_control,
                on_configure=config.configure,
            ).run()
    except OSError as error:
        raise SystemFailureError(f"the stream failed: {reason(error)}") from error
    finally:
        if status:
            status.erase()


def _count(device: Device) -> str:
    return format_counters(device.counters, kernel_drops=device.kernel_drops())
