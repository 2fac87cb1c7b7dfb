"""The verbs that make, change and destroy interfaces."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from ..abi.darwin import FETH_MTU
from ..errors import DeviceError, NotAllowedError, SystemFailureError, UsageError, reason
from ..keeper.root import reap
from ..library.feth import Feth, create_feth, require_macos
from .cli import NONE


def create(options: argparse.Namespace) -> None:
    """Make feth interfaces, all or none."""
    made: list[Feth] = []
    with ExitStack() as undo:
        for unit in options.unit:
            feth = create_feth(unit, largest_mtu=FETH_MTU[-1])
            made.append(undo.enter_context(feth))
        undo.pop_all()
    for feth in made:
        print(feth.name)


def destroy(options: argparse.Namespace) -> None:
    """Destroy interfaces, after all of them were checked."""
    require_macos("destroy an interface")
    interfaces = [_changeable(name, force=options.force) for name in options.name]
    for interface in interfaces:
        interface.destroy()


def configure(options: argparse.Namespace) -> None:
    """Change an interface, in an order in which no setting undoes another."""
    settings = (options.peer, options.mtu, options.mac, options.metric, options.state)
    if not options.addr and all(setting is None for setting in settings):
        raise UsageError("no setting was given", hint="see fethctl set --help")
    require_macos(f"change {options.name}")
    interface = _changeable(options.name, force=options.force)
    if options.peer == NONE:
        interface.remove_peer()
    elif options.peer is not None:
        interface.set_peer(options.peer)
    if options.mtu is not None:
        interface.set_mtu(options.mtu)
    if options.mac is not None:
        interface.set_mac(options.mac)
    if options.metric is not None:
        interface.set_metric(options.metric)
    if NONE in options.addr:
        interface.remove_addresses()
    for address in options.addr:
        if address != NONE:
            interface.add_address(address)
    if options.state is not None:  # last, because adding an address brings the interface up
        interface.set_up(up=options.state == "up")


def reap_abandoned(_options: argparse.Namespace) -> None:
    """Destroy interfaces whose keeper was killed."""
    try:
        reaped = reap()
    except PermissionError as error:
        raise NotAllowedError(
            f"cannot look for abandoned interfaces: {reason(error)}", hint="run as root"
        ) from error
    except OSError as error:
        raise SystemFailureError(
            f"cannot look for abandoned interfaces: {reason(error)}"
        ) from error
    for made in reaped:
        print(made.interface)


def _changeable(name: str, *, force: bool) -> Feth:
    """Return the interface if it may be changed: it is a feth, or ``force`` is set."""
    interface = Feth(name)
    if not force:
        try:
            interface.peer()
        except DeviceError as error:
            if error.message == f"{name} is not a feth":
                raise DeviceError(error.message, hint="use --force to do it anyway") from error
            raise
    return interface
