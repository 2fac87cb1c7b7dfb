"""Make the parts of a tunnel that its Config asks for. A stack gets what is to be closed."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing

from ..device.capture import Capture
from ..errors import system_step
from ..netif.name import interface_index
from ..provision.request import Provisioned
from ..remote.session import RemoteSession
from ..system.changes import NetworkChanges
from ..system.parting import Link
from ..system.privileges import Person, acting_as
from ..system.service import ServiceManager
from .command import Command, prepare_command
from .config import Config
from .hooks import fork_hooks
from .ready import Announcer, open_outputs
from .retry import Retry
from .starter import Starter


def open_capture(config: Config, owner: Person | None, stack: ExitStack) -> Capture | None:
    """Open the capture, if there is one, as the user of COMMAND; None is our own user."""
    if config.pcap is None:
        return None
    with acting_as(owner):
        return stack.enter_context(closing(Capture(config.pcap)))


def open_announcer(
    config: Config, starter: Starter, stack: ExitStack, *, remote: bool
) -> Announcer:
    """Open what tells the states of the tunnel: a file, and --up and --down, as the user of
    COMMAND.
    """
    service = ServiceManager()
    commands = {"up": config.up or "", "down": config.down or ""}
    name = config.remote.host if config.remote else "".join(config.command[:1])
    hooks = fork_hooks(commands, starter, name) if any(commands.values()) else None
    with acting_as(starter.person):
        outputs = open_outputs(config.ready_descriptor, config.ready_file, stack)
    peer = f"{'to' if config.remote else 'through'} {name}" if name else ""
    return Announcer(peer, outputs, service, remote=remote, hooks=hooks)


def make_retry(
    config: Config, device: Provisioned, announcer: Announcer, stack: ExitStack
) -> Retry | None:
    """Return when to start COMMAND again, if it is to be started again at all."""
    if config.reconnect is None:
        return None
    names = (device.interface, device.io_interface, config.request.bridge)
    ours = {interface_index(name) for name in names if name}
    changes = stack.enter_context(closing(NetworkChanges(ours)))
    return Retry(config.reconnect, changes, tell=announcer.waiting, count_down=announcer.count_down)


def make_session(config: Config, stack: ExitStack) -> RemoteSession | None:
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


def prepare(
    config: Config,
    starter: Starter,
    session: RemoteSession | None,
    link: Link | None,
    stack: ExitStack,
) -> Command | None:
    """Fork the launcher of COMMAND or ssh, if there is one.

    It keeps the terminal if that belongs to its user, as ssh may have to ask something there.
    """
    if session:
        command = prepare_command(
            session.argv,
            starter,
            stderr=session.relay.write_descriptor,
            hint="install ssh, or name another command with --ssh-command",
        )
    elif config.command:
        own = link.terminal_descriptor if link and not starter.leaves_terminal else -1
        command = prepare_command(config.command, starter, stderr=None if own < 0 else own)
    else:
        return None
    return stack.enter_context(closing(command))


def leaves_terminal(link: Link | None, person: Person | None) -> bool:
    """Return whether the terminal belongs to somebody else than the person, None for us."""
    return link is not None and link.owner != (person.uid if person else os.geteuid())
