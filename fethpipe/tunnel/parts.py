"""Make the parts of a tunnel that its Config asks for. A stack gets what is to be closed."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from ..errors import system_step
from ..netif.name import interface_index
from ..provision.request import Provisioned
from ..system.privileges import Person, acting_as
from ..system.service import ServiceManager
from .config import Config
from .ready import Announcer, open_outputs
from .starter import Starter

# What few tunnels need is imported when it is needed, so that others start sooner, and the other
# end need not get it.
if TYPE_CHECKING:
    from ..device.capture import Capture
    from ..remote.session import RemoteSession
    from ..system.parting import Link
    from .command import Command
    from .retry import Retry


def open_capture(config: Config, owner: Person | None, stack: ExitStack) -> Capture | None:
    """Open the capture, if there is one, as the user of COMMAND; None is our own user."""
    if config.pcap is None:
        return None
    from ..device.capture import Capture  # noqa: PLC0415

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
    hooks = None
    if any(commands.values()):
        from .hooks import fork_hooks  # noqa: PLC0415

        hooks = fork_hooks(commands, starter, name)
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
    from ..system.changes import NetworkChanges  # noqa: PLC0415
    from .retry import Retry  # noqa: PLC0415

    names = (device.interface, device.io_interface, config.request.bridge)
    ours = {interface_index(name) for name in names if name}
    changes = stack.enter_context(closing(NetworkChanges(ours)))
    return Retry(config.reconnect, changes, tell=announcer.waiting, count_down=announcer.count_down)


def make_session(config: Config, stack: ExitStack) -> RemoteSession | None:
    """Return the remote end, if there is one."""
    if config.remote is None:
        return None
    from ..remote.session import RemoteSession  # noqa: PLC0415

    with system_step("prepare the remote end"):
        session = RemoteSession(config.remote)
    stack.callback(session.relay.close)
    return session


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
    if not session and not config.command:
        return None
    from .command import prepare_command  # noqa: PLC0415

    if session:
        command = prepare_command(
            session.argv,
            starter,
            stderr=session.relay.write_descriptor,
            hint="install ssh, or name another command with --ssh-command",
        )
    else:
        own = link.terminal_descriptor if link and not starter.leaves_terminal else -1
        command = prepare_command(config.command, starter, stderr=None if own < 0 else own)
    return stack.enter_context(closing(command))


def leaves_terminal(link: Link | None, person: Person | None) -> bool:
    """Return whether the terminal belongs to somebody else than the person, None for us."""
    return link is not None and link.owner != (person.uid if person else os.geteuid())
