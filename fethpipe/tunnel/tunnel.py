"""A tunnel that is set up: it moves frames, and attends to what happens besides."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

from ..device import Device
from ..device.inspected import InspectedDevice
from ..errors import FethpipeError, SystemFailureError, reason
from ..keeper.client import KeeperProcess
from ..netif.name import interface_index
from ..provision.kind import Kind
from ..provision.request import Provisioned
from ..stats import format_counters
from ..system.signals import STOPPING, SignalPipe
from ..system.stderr import without_waiting
from ..system.stream import Stream
from ..wire.connection import Connection, EchoReceived, Event, PeerReady
from ..wire.framing import FRAMINGS
from ..wire.offload import SegmentLimit
from .carrier import SetLink, link_up
from .config import Config
from .ending import Ending
from .peer import compare_ends, make_hello
from .pump import Pump
from .ready import Announcer
from .ring import TICK_SECONDS, RingGuard
from .upkeep import LeaseGuard, look_after
from .zerotier import parse_configuration

if TYPE_CHECKING:
    from ..remote.session import RemoteSession
    from ..system.parting import Link
    from .retry import Retry

log = logging.getLogger("fethpipe")

# How often a device is checked whose descriptors do not show every failure.
_CHECK_SECONDS = 5.0


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

    def check_device(self, kind: Kind, *, addresses: bool) -> None:
        """Look now and then for what the descriptors do not show. ``addresses`` as look_after."""
        restore = self._keeper.restore if self._keeper else None
        check = look_after(kind, self._provisioned, restore, addresses=addresses)
        if check:
            self.periodic.append((_CHECK_SECONDS, check))

    def pump(self, incoming: int, outgoing: int) -> Ending:
        """Move frames over a stream until the end: its descriptors to read and to write.

        Raises FethpipeError.
        """
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
