"""Look after a device while frames pass: it is still whole, and still has its addresses."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..abi.address import IPInterface
from ..errors import FethpipeError
from ..provision.kind import Kind
from ..provision.request import Provisioned

log = logging.getLogger("fethpipe")

_CHECKS_WITHOUT = 6
"""Checks without an address before another one is asked for: longer than an answer may take."""

Addresses = tuple[IPInterface, ...]


def look_after(
    kind: Kind, device: Provisioned, restore: Callable[[], None] | None, *, addresses: bool
) -> Callable[[], None] | None:
    """Return what to call now and then, None if nothing of this kind of device has to be checked.

    It raises DeviceError if the device is broken. ``addresses`` is whether they are looked after as
    well; not those that ZeroTier's host changes. ``restore`` adds those that are lost; None where
    nothing can.
    """
    if kind.check is None:
        return None
    check = kind.check(device)
    if not (addresses and kind.find_lost and device.addresses):
        return check
    find_lost = kind.find_lost
    guard = AddressGuard(device.interface, lambda: find_lost(device), restore)

    def check_all() -> None:
        check()
        guard.check()

    return check_all


class LeaseGuard:
    """Tells the address that an interface got by DHCP, and asks again for one that has gone: macOS
    forgets it when the network changes.

    ``find`` returns the address, ``tell`` is called with a new one, and ``ask`` asks for one.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], IPInterface | None],
        *,
        tell: Callable[[str], None],
        ask: Callable[[], object],
    ) -> None:
        self._name = name
        self._find = find
        self._tell = tell
        self._ask = ask
        self._last: IPInterface | None = None
        self._without = 0

    def check(self) -> None:
        """Look for the address."""
        try:
            address = self._find()
        except OSError:
            return
        if address is None:
            self._attend_missing()
        elif address != self._last:
            self._tell(str(address))
        self._last = address

    def _attend_missing(self) -> None:
        """Ask at once, and then now and then: each time, the client starts from the beginning."""
        self._without = 0 if self._last else self._without + 1
        if self._without % _CHECKS_WITHOUT:
            return
        if self._last:
            log.warning("%s has lost %s: asking for an address again", self._name, self._last)
        try:
            self._ask()
        except FethpipeError as error:
            log.warning("%s", error)


class AddressGuard:
    """Has lost addresses added again, once, and warns. Later losses are only told: whoever removes
    them goes on with it, and it may be on purpose.

    ``restore`` adds what is lost; None where nothing can.
    """

    def __init__(
        self, name: str, find_lost: Callable[[], Addresses], restore: Callable[[], None] | None
    ) -> None:
        self._name = name
        self._find_lost = find_lost
        self._restore = restore
        self._told: Addresses = ()

    def check(self) -> None:
        """Look for the addresses."""
        lost = self._find_lost()
        if lost and lost != self._told and self._attend(", ".join(map(str, lost))):
            lost = ()
        self._told = lost

    def _attend(self, lost: str) -> bool:
        """Return whether they are there again."""
        restore, self._restore = self._restore, None
        if restore is None:
            log.warning(
                "%s has lost %s; add it again with ifconfig, or start again", self._name, lost
            )
            return False
        try:
            restore()
        except FethpipeError as error:
            log.warning("%s has lost %s: %s", self._name, lost, error)
            return False
        log.warning(
            "%s had lost %s: added it again; the next time it is only told", self._name, lost
        )
        return True
