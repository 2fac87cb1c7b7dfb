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
from ..errors import NotAllowedError, system_step
from ..keeper.client import KeeperProcess, StoppedError, fork_keeper
from ..keeper.messages import Later
from ..provision.kind import Kind, find_kind, provision
from ..provision.request import Provisioned
from ..system.confinement import confine, empty_bounding_set
from ..system.descriptors import has_terminal, open_standard
from ..system.privileges import drop_privileges
from ..system.signals import STOPPING, SignalPipe
from ..system.stderr import only_write_terminal
from ..system.title import set_title
from ..wire.framing import FRAMINGS
from .addresses import warn_of_networks
from .carrier import SetLink, find_link
from .config import Config, far_modules, pack_config
from .ending import Ending
from .parts import (
    leaves_terminal,
    make_retry,
    make_session,
    open_announcer,
    open_capture,
    prepare,
)
from .people import People, choose_people
from .starter import Starter

if TYPE_CHECKING:
    from ..remote.session import RemoteSession
    from ..system.parting import Link
    from .command import Command

log = logging.getLogger("fethpipe")

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
    called when the device is up, before anything is written to the stream. ``load_late`` loads what
    moves frames only then, as may be done where everybody can read it. Raises FethpipeError.

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
        if on_ready:
            on_ready()
        from .tunnel import Tunnel  # noqa: PLC0415 - the rest of the program, see load_late

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
        tunnel.check_device(kind, addresses=later != "change")
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
    importlib.import_module(".tunnel", __package__)
    if config.dhcp:
        importlib.import_module("..system.changes", __package__)
    if session and config.far:
        with system_step("prepare the remote end"):
            session.prepare(pack_config(config.far), partial(far_modules, config.far))


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
