"""The keeper: the only process that stays root.

The keeper makes the device, passes its descriptors to the pump, then waits. When the pump's end of
the channel is closed, for whatever reason, it destroys what it made. Rules:

1. It accepts a few typed requests (:mod:`.messages`), never a command line, and checks every field,
   because the pump talks to a peer that nobody trusts.
2. It makes one device, once. It changes only that one, which it knows by name and index, and only
   if that was allowed when the keeper was started. Each state has its own requests.
3. It never holds or reads the stream. It closes its own copies of the device's descriptors as soon
   as it has passed them on.
4. It refuses a malformed request, and goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..abi.address import IPInterface
from ..errors import DeviceError, FethpipeError, SystemFailureError
from ..netif.name import interface_index
from ..provision.kind import Kind, find_kind, provision
from ..provision.request import KINDS, Change, DeviceRequest, Provisioned
from ..system.channel import Channel, ChannelClosedError, ChannelError, Message, pack_error
from ..system.descriptors import close_all_but
from ..system.title import set_title
from .ledger import Entry, Ledger, abandoned, open_folder
from .messages import (
    Later,
    RequestError,
    pack_provisioned,
    unpack_change,
    unpack_link,
    unpack_request,
)

if TYPE_CHECKING:
    from .dhcp import AddressLease

_STDERR = 2

# By what the pump may ask for later: the requests that each state accepts, and the state that
# follows.
_NO_DEVICE, _DEVICE, _RESTORED = "no device", "device", "device with restored addresses"
_STATES: dict[Later | None, dict[str, dict[str, str]]] = {
    None: {
        _NO_DEVICE: {"provision": _DEVICE},
        _DEVICE: {"link": _DEVICE, "restore": _RESTORED},
        _RESTORED: {"link": _RESTORED},
    },
    "change": {_NO_DEVICE: {"provision": _DEVICE}, _DEVICE: {"change": _DEVICE}},
    "dhcp": {
        _NO_DEVICE: {"provision": _DEVICE},
        _DEVICE: {"dhcp": _DEVICE, "link": _DEVICE, "restore": _RESTORED},
        _RESTORED: {"dhcp": _RESTORED, "link": _RESTORED},
    },
}

# The widest networks that ZeroTier's controllers assign: their presets are IPv4 networks of /16 and
# /24, a 6PLANE address is in a /40, an RFC 4193 one in an /88. And the most addresses that they
# assign (ZeroTierOne.h: ZT_MAX_ZT_ASSIGNED_ADDRESSES).
_WIDEST_NETWORKS = {4: 16, 6: 40}
_MOST_ADDRESSES = 32


class Keeper:
    """Serves one pump until the pump's end of the channel is closed."""

    def __init__(
        self,
        channel: Channel,
        *,
        later: Later | None = None,
        open_ledgers: Callable[[], int] = open_folder,
    ) -> None:
        self._channel = channel
        self._later = later
        self._states = _STATES[later]
        self._state = _NO_DEVICE
        self._addresses: set[IPInterface] = set()
        self._open_ledgers = open_ledgers
        self._ledger: Ledger | None = None
        self._made: list[Entry] = []
        self._kind: Kind | None = None
        self._device: Provisioned | None = None
        self._index = 0
        self._lease: AddressLease | None = None

    def serve(self) -> None:
        """Answer requests. At the end of the channel, destroy what was made."""
        try:
            while True:
                try:
                    message, _ = self._channel.receive()
                    answer, descriptors = self._answer(message)
                except (ChannelError, RequestError) as error:
                    answer, descriptors = {"refused": f"malformed request: {error}"}, ()
                except FethpipeError as error:
                    answer, descriptors = pack_error(error), ()
                except ImportError as error:  # too little memory, or too few files
                    failure = SystemFailureError(f"cannot load the program: {error}")
                    answer, descriptors = pack_error(failure), ()
                except (OSError, ValueError) as error:  # checked requests should not get here
                    answer, descriptors = {"refused": f"request failed: {error}"}, ()
                try:
                    self._channel.send(answer, descriptors)
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)
        except ChannelClosedError:
            pass
        finally:
            self._destroy()

    def _answer(self, message: Message) -> tuple[Message, tuple[int, ...]]:
        action = message.get("do")
        if not isinstance(action, str) or action not in self._states[self._state]:
            raise RequestError("do")
        if action == "provision":
            answer = self._provision(*unpack_request(message))
        elif action == "dhcp":
            answer = {"by": self._get_address(message)}, ()
        elif action == "restore":
            self._restore(message)
            answer = {"done": True}, ()
        elif action == "link":
            self._set_link(up=unpack_link(message))
            answer = {"done": True}, ()
        else:
            self._change(unpack_change(message))
            answer = {"done": True}, ()
        self._state = self._states[self._state][action]
        return answer

    def _provision(self, name: str, request: DeviceRequest) -> tuple[Message, tuple[int, ...]]:
        kind = find_kind(name)
        if self._later == "dhcp":
            from .dhcp import check_client  # noqa: PLC0415 - few devices need it

            check_client()
        if kind.lasting:
            self._reap_and_start_ledger()
        try:
            device = provision(kind, request, on_made=partial(self._note, kind))
        except BaseException:
            self._destroy()
            raise
        self._kind, self._device = kind, device
        self._index = interface_index(device.interface)
        self._addresses = set(device.addresses)
        return {"device": pack_provisioned(device)}, device.descriptors

    def _note(self, kind: Kind, interface: str) -> None:
        """Remember an interface that was just made, here and in the ledger."""
        mac = kind.mac(interface).hex() if kind.mac else ""
        made = Entry(kind.name, interface, interface_index(interface), mac)
        self._made.append(made)
        if self._ledger is not None:
            with suppress(OSError):
                self._ledger.add(made)

    def _reap_and_start_ledger(self) -> None:
        """Destroy what dead keepers left, and start our own ledger.

        If the folder cannot be used (a read-only root), there is no ledger, but still a tunnel.
        """
        with suppress(OSError):
            reap(self._open_ledgers)
            self._ledger = Ledger(self._open_ledgers())

    def _change(self, change: Change) -> None:
        if self._kind is None or self._device is None:
            raise RequestError("there is no device to change")
        name = self._device.interface
        addresses = self._addresses.union(change.add).difference(change.remove)
        check_bounds(change, addresses)
        self._check_present(name)
        self._kind.change(self._device, change)
        self._addresses = addresses

    def _restore(self, message: Message) -> None:
        """Add those addresses again that were asked for at the start and have been lost."""
        if message.keys() != {"do"} or self._device is None:
            raise RequestError("fields")
        if self._kind is None or self._kind.find_lost is None:
            raise RequestError("do")
        self._check_present(self._device.interface)
        self._kind.change(self._device, Change(add=self._kind.find_lost(self._device)))

    def _set_link(self, *, up: bool) -> None:
        """Set the link of a device that was made here."""
        if self._kind is None or self._kind.set_link is None or not (self._device and self._made):
            raise RequestError("do")
        self._check_present(self._device.interface)
        self._kind.set_link(self._device, up)

    def _get_address(self, message: Message) -> str:
        """Start the DHCP client of the device, or have it renew its lease. Return its name."""
        if message.keys() != {"do"} or self._device is None:
            raise RequestError("fields")
        self._check_present(self._device.interface)
        from .dhcp import AddressLease  # noqa: PLC0415

        self._lease = self._lease or AddressLease()
        return self._lease.start(self._device.interface, self._index)

    def _check_present(self, name: str) -> None:
        if interface_index(name) != self._index:
            raise DeviceError(f"{name} has gone", hint="somebody deleted or renamed it")

    def _destroy(self) -> None:
        """Destroy what was made. What cannot be destroyed stays in the ledger for a later start."""
        if self._lease:
            self._lease.end()
        resisting = False
        while self._made:
            try:
                _destroy_made(self._made.pop())
            except FethpipeError:
                resisting = True
        if self._kind is not None and self._kind.release:
            self._kind.release()
        self._device = None
        if self._ledger is not None:
            self._ledger.close(keep=resisting)
            self._ledger = None


def check_bounds(change: Change, addresses: Collection[IPInterface]) -> None:
    """Raise DeviceError for more than a controller of ZeroTier's hands out: somebody else may have
    the pump, and whoever has all networks on his device has all that this host sends.
    """
    for address in change.add:
        widest = _WIDEST_NETWORKS[address.version]
        if address.network.prefixlen < widest:
            raise DeviceError(f"cannot add {address}: no network may be wider than /{widest}")
    if len(addresses) > _MOST_ADDRESSES:
        raise DeviceError(f"cannot add more than {_MOST_ADDRESSES} addresses")


def reap(open_ledgers: Callable[[], int] = open_folder) -> list[Entry]:
    """Destroy the interfaces that killed keepers left behind, and return them.

    An interface is destroyed only if fethpipe made it, its keeper is dead, and it is still the same
    interface. What cannot be destroyed stays in its ledger. Raises OSError if the folder of the
    ledgers cannot be used.
    """
    folder = open_ledgers()
    reaped = []
    try:
        for ledger in abandoned(folder):
            with suppress(FethpipeError):
                for made in ledger.entries:
                    if _has_its_mac(made) and _destroy_made(made):
                        reaped.append(made)
                ledger.remove()
    finally:
        os.close(folder)
    return reaped


def _destroy_made(made: Entry) -> bool:
    """Destroy an interface and return True; False if it no longer exists, or is another one now."""
    known = made.kind in KINDS and made.ifindex
    if not known or interface_index(made.interface) != made.ifindex:
        return False
    find_kind(made.kind).destroy(made.interface)
    return True


def _has_its_mac(made: Entry) -> bool:
    """Return whether an interface still has the MAC of its entry, or the entry has none.

    As long as its keeper lives, somebody may change the MAC. Afterwards, an interface with another
    MAC is another interface.
    """
    if not made.mac or made.kind not in KINDS:
        return True
    kind = find_kind(made.kind)
    return kind.mac is None or kind.mac(made.interface).hex() == made.mac


def serve(channel: Channel, *, later: Later | None) -> None:
    """Be the keeper at this side of the channel: the whole work of a process of its own."""
    set_title("fethpipe-keeper")
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    signal.set_wakeup_fd(-1)
    close_all_but({channel.fileno(), _STDERR})
    Keeper(channel, later=later).serve()
