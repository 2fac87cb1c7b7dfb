"""Look after a device while frames pass: it is still whole, and still has its addresses."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..abi.address import IPInterface
from ..errors import FethpipeError
from ..keeper.client import KeeperProcess
from ..provision.kind import Kind
from ..provision.request import Provisioned

log = logging.getLogger("fethpipe")

Addresses = tuple[IPInterface, ...]


def look_after(
    kind: Kind, device: Provisioned, keeper: KeeperProcess | None, *, addresses: bool
) -> Callable[[], None] | None:
    """Return what to call now and then, None if nothing of this kind of device has to be checked.

    It raises DeviceError if the device is broken. ``addresses`` is whether they are looked after as
    well; not those that ZeroTier's host changes.
    """
    if kind.check is None:
        return None
    check = kind.check(device)
    if not (addresses and kind.find_lost and device.addresses):
        return check
    find_lost = kind.find_lost
    guard = AddressGuard(
        device.interface, lambda: find_lost(device), keeper.restore if keeper else None
    )

    def check_all() -> None:
        check()
        guard.check()

    return check_all


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
