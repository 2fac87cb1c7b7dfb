"""Run a tunnel: put its parts together, in the only order that is safe."""

from __future__ import annotations

import importlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

from ..device import Device
from ..device.inspected import InspectedDevice
from ..errors import FethpipeError, NotAllowedError, SystemFailureError, reason, system_step
from ..keeper.client import KeeperProcess, StoppedError, fork_keeper
from ..keeper.messages import Later
from ..netif.name import interface_index
from ..provision.kind import Kind, find_kind, provision
from ..provision.request import Provisioned
from ..stats import format_counters
from ..system.confinement import confine, empty_bounding_set
from ..system.descriptors import has_terminal, open_standard
from ..system.privileges import drop_privileges
from ..system.signals import STOPPING, SignalPipe
from ..system.stderr import only_write_terminal, without_waiting
from ..system.stream import Stream
from ..system.title import set_title
from ..wire.framing import FRAMINGS
from .addresses import warn_of_networks
from .carrier import SetLink, find_link, link_up
from .config import Config, common_modules, late_modules, pack_config
from .ending import Ending
from .parts import (
    leaves_terminal,
    make_retry,
    make_session,
    open_announcer,
    open_capture,
    prepare,
)
from .peer import compare_ends, make_hello
from .people import People, choose_people
from .ready import Announcer
from .ring import TICK_SECONDS, RingGuard
from .starter import Starter
from .upkeep import LeaseGuard, look_after
from .zerotier import parse_configuration

if TYPE_CHECKING:
    from ..remote.session import RemoteSession
    from ..system.parting import Link
    from .command import Command
    from .retry import Retry

log = logging.getLogger("fethpipe")

# How often a device is checked whose descriptors do not show every failure.
_CHECK_SECONDS = 5.0
# SIGINFO is Ctrl-T on macOS and the BSDs.
_COUNTING = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGINFO") if hasattr(signal, name))


def run(
    config: Config,
    *,
    stdin: int = 0,
    stdout: int = 1,
    on_ready: Callable[[], None] | None = None,
    load_late: bool = False,
) -> Ending | None:
    """Run a tunnel until it ends cleanly. Return why it ended, None if it was stopped before.

    Without a COMMAND or a remote end, the stream is ``stdin`` and ``stdout``. ``on_ready`` is
    called when the device is up, before anything is written to the stream. ``load_late`` loads the
    pump only then, as may be done where everybody can read it. Raises FethpipeError.

    The order matters: first fork what has to keep our privileges. Then have the device made, and
    load what another user may not read, while COMMAND starts. Then give up our privileges for good,
    and only then open the stream and listen to the peer.
    """
    kind = find_kind(config.device)
    later = _later(config)
    _prepare_process()
    people = choose_people(config.user)
    handled = (*STOPPING, *_COUNTING, *((signal.SIGUSR2,) if config.reconnect else ()))
    link = _leave_terminal(people, handled)
    starter = Starter(people.command, leaves_terminal=leaves_terminal(link, people.command))
    with ExitStack() as stack:
        with system_step("make a pipe"):
            signals = stack.enter_context(SignalPipe(handled))
        keeper = stack.enter_context(closing(fork_keeper(later))) if people.pump else None
        announcer = open_announcer(config, starter, stack, remote=on_ready is not None)
        session = make_session(config, stack)
        command = prepare(config, starter, session, link, stack)
        if link:
            link.leave_session()
        capture = open_capture(config, people.command, stack)
        try:
            provisioned, keeper = _make_device(config, later, keeper, signals, stack)
        except StoppedError as stopped:
            log.info("%s", stopped)
            return None
        device: Device = stack.enter_context(closing(kind.open(provisioned)))
        if capture:
            device = InspectedDevice(device, capture)
        set_link = _prepare_link(config, device, kind, keeper)
        if not load_late:
            _begin(config, command, session)
        retry = make_retry(config, provisioned, announcer, stack)
        if people.pump:
            empty_bounding_set()
            drop_privileges(people.pump)
        stack.callback(announcer.end)
        announcer.start(provisioned, device)
        warn_of_networks(provisioned)
        tunnel = Tunnel(
            config,
            device,
            provisioned,
            set_link=set_link,
            announcer=announcer,
            keeper=keeper,
            retry=retry,
        )
        tunnel.watch_processes(signals, session, link)
        if config.dhcp:
            tunnel.watch_addresses(kind, stack)
        tunnel.check_device(look_after(kind, provisioned, keeper, addresses=later != "change"))
        if on_ready:
            on_ready()
        importlib.import_module(".pump", __package__)
        _confine()
        if command:
            from .reconnect import run_command  # noqa: PLC0415

            ending = run_command(tunnel.watch, command, tunnel.pump, session=session, retry=retry)
        else:
            ending = tunnel.pump(stdin, stdout)
        log.info("%s: %s; %s", device.name, ending.reason, tunnel.count())
        return ending


def _prepare_process() -> None:
    with system_step(f"open {os.devnull}"):
        open_standard()
    # If the program that started us ignores it, we could not wait for the end of our children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _leave_terminal(people: People, handled: Sequence[signal.Signals]) -> Link | None:
    """Leave the terminal to its owner, if there is one and the pump does not own it."""
    if people.pump is None or not has_terminal():
        return None
    from ..system.parting import leave_terminal  # noqa: PLC0415 - the other end has none

    return leave_terminal(people.pump.uid, handled)


def _later(config: Config) -> Later | None:
    """Return what the pump may ask the keeper for when there is a device."""
    if config.dhcp:
        return "dhcp"
    return "change" if FRAMINGS[config.framing].commands else None


def _prepare_link(
    config: Config, device: Device, kind: Kind, keeper: KeeperProcess | None
) -> SetLink:
    """Return what sets the link. It is down from now on if ssh has to start the far end. The keeper
    sets that of our own device only, and only if there can be a gap.
    """
    gaps = config.remote or config.reconnect is not None
    by_keeper = keeper and gaps and kind.set_link and not config.request.attach
    set_link = find_link(device, keeper.set_link if keeper and by_keeper else None)
    if config.remote:
        set_link(up=False)
    return set_link


def _begin(config: Config, command: Command | None, session: RemoteSession | None) -> None:
    """Have COMMAND started, and load the rest of the program meanwhile: it takes its time, as ssh
    does, and another user may not be allowed to read it.
    """
    if command:
        command.begin()
        importlib.import_module(".reconnect", __package__)
    importlib.import_module(".pump", __package__)
    if config.dhcp:
        importlib.import_module("..system.changes", __package__)
    if session and config.far:
        with system_step("prepare the remote end"):
            session.prepare(
                pack_config(config.far),
                common_modules(config.far),
                partial(late_modules, config.far),
            )


def _confine() -> None:
    """Give up what moving frames does not need, and log it (-v)."""
    set_title("fethpipe-pump")
    only_write_terminal()
    holds, lacks = confine()
    log.debug("confinement: %s", ", ".join(holds) or "none")
    for lack in lacks:
        log.debug("confinement lacks: %s", lack)


def _make_device(
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
            if config.dhcp and os.geteuid() != 0:
                raise NotAllowedError("only root can get an address by DHCP")  # noqa: TRY301
            if later:  # when the pump may do nothing of that, whatever it may now
                keeper = stack.enter_context(closing(fork_keeper(later)))
                return keeper.provision(kind.name, config.request), keeper
            if kind.release:
                stack.callback(kind.release)
            return provision(kind, config.request), None
        except NotAllowedError as need:
            if os.geteuid() == 0:
                raise
            from ..keeper.sudo import sudo_keeper  # noqa: PLC0415

            keeper = stack.enter_context(closing(sudo_keeper(need, signals, STOPPING, later)))
    return keeper.provision(kind.name, config.request), keeper


class Tunnel:
    """Moves frames between a device and a stream, and attends to what happens besides.

    ``watch`` has functions to call when a descriptor is readable, ``periodic`` has pairs of an
    interval in seconds and a function to call so often.
    """

    def __init__(
        self,
        config: Config,
        device: Device,
        provisioned: Provisioned,
        *,
        set_link: SetLink,
        announcer: Announcer,
        keeper: KeeperProcess | None,
        retry: Retry | None,
    ) -> None:
        self.watch: dict[int, Callable[[], Ending | None]] = {}
        self.periodic: list[tuple[float, Callable[[], None]]] = []
        self._config = config
        self._provisioned = provisioned
        self._set_link = set_link
        self._announcer = announcer
        self._keeper = keeper
        self._retry = retry
        if config.stats_seconds:
            self.periodic.append((config.stats_seconds, self._log_counters))
        # Where no time counts anyway, and nothing says that there is a bridge, nobody looks for a
        # ring: that takes a timer.
        if config.keepalive or config.request.bridge:
            ring = RingGuard(device, provisioned.mac, config.request.bridge)
            device = InspectedDevice(device, ring)
            self.periodic.append((TICK_SECONDS, ring.tick))
        self._device = device

    def watch_processes(
        self, signals: SignalPipe, session: RemoteSession | None, link: Link | None
    ) -> None:
        """Attend to signals, and to the processes that belong to the tunnel."""
        self.watch[signals.fileno()] = partial(self._attend_signals, signals)
        if self._announcer.hooks:
            self.watch[self._announcer.hooks.fileno()] = self._announcer.hooks.attend
        if self._keeper:
            self.watch[self._keeper.channel.fileno()] = self._attend_keeper
        if session:
            self.watch[session.relay.fileno()] = session.relay.attend
        if link:
            self.watch[link.fileno()] = partial(_attend_terminal, link, signals)

    def watch_addresses(self, kind: Kind, stack: ExitStack) -> None:
        """Tell the addresses that the device gets by DHCP."""
        name, keeper = self._provisioned.interface, self._keeper
        if kind.find_address and keeper:
            guard = LeaseGuard(
                name,
                partial(kind.find_address, name),
                tell=self._announcer.got_address,
                ask=keeper.get_address,
            )
            self.periodic.append((_CHECK_SECONDS, guard.check))
        from ..system.changes import NewAddresses  # noqa: PLC0415 - only --dhcp needs it

        index = interface_index(name)
        news = stack.enter_context(closing(NewAddresses(index)))

        def attend() -> None:
            for address in news.read():
                self._announcer.got_address(str(address))

        self.watch.update(dict.fromkeys(news.descriptors, attend))

    def check_device(self, check: Callable[[], None] | None) -> None:
        """Call this now and then, if it is there: it shows what the descriptors do not show."""
        if check:
            self.periodic.append((_CHECK_SECONDS, check))

    def pump(self, incoming: int, outgoing: int) -> Ending:
        """Move frames over a stream until the end: its descriptors to read and to write.

        Raises FethpipeError.
        """
        # _begin has loaded them.
        from ..wire.connection import Connection, EchoReceived, Event, PeerReady  # noqa: PLC0415
        from ..wire.offload import SegmentLimit  # noqa: PLC0415
        from .pump import Pump  # noqa: PLC0415

        config, device, status = self._config, self._device, self._announcer.status
        hello = make_hello(device, self._provisioned, config.keepalive) if config.hello else None
        limit = SegmentLimit(device.offload.longest_frame) if device.offload else None
        connection = Connection(FRAMINGS[config.framing], device.counters, hello=hello, limit=limit)
        periodic = self.periodic
        if status:
            status.progress.connected = False
            periodic = [*periodic, (1.0, status.redraw)]

        def meet(first: Event | None) -> None:
            if isinstance(first, EchoReceived):
                log.warning("%s: the other end sends back what we send: it is an echo", device.name)
                return
            if isinstance(first, PeerReady) and hello:
                compare_ends(device.name, hello, first.hello)
            self._announcer.connected()
            if self._retry:
                self._retry.reset()

        try:
            with Stream(incoming, outgoing) as stream, without_waiting(), link_up(self._set_link):
                if config.dhcp and self._keeper:
                    by = self._keeper.get_address()
                    log.info("%s: %s asks for an address", device.name, by)
                return Pump(
                    device,
                    stream,
                    connection,
                    watch=self.watch,
                    periodic=periodic,
                    keepalive=config.keepalive,
                    on_first=meet,
                    latency_control=config.latency_control,
                    on_configure=partial(self._configure, self._keeper) if self._keeper else None,
                ).run()
        except OSError as error:
            raise SystemFailureError(f"the stream failed: {reason(error)}") from error
        finally:
            if status:
                status.erase()

    def count(self) -> str:
        """Return the counters as one line."""
        return format_counters(self._device.counters, kernel_drops=self._device.kernel_drops())

    def _log_counters(self) -> None:
        log.warning("%s: %s", self._device.name, self.count())

    def _configure(self, keeper: KeeperProcess, words: Sequence[bytes]) -> None:
        """Do what ZeroTier's host asks for. If it fails, log the error and go on."""
        wanted = parse_configuration(words)
        if wanted is None:
            self._device.counters.drop("configuration not understood")
            return
        try:
            keeper.change(wanted)
        except FethpipeError as error:
            log.error("%s", error)  # noqa: TRY400 - one line, never a traceback

    def _attend_signals(self, signals: SignalPipe) -> Ending | None:
        for number in signals.read():
            if number in STOPPING:
                return Ending(f"stopped by {number.name}", requested=True, signal=number)
            if number == signal.SIGUSR2 and self._retry:
                self._retry.hurry()
            else:
                self._log_counters()
        return None

    def _attend_keeper(self) -> Ending | None:
        raise SystemFailureError(
            f"the keeper of {self._device.name} has died",
            hint="start again: that also destroys a feth pair that it left behind",
        )


def _attend_terminal(link: Link, signals: SignalPipe) -> Ending | None:
    return None if link.attend(signals) else Ending("the terminal has gone", requested=True)
