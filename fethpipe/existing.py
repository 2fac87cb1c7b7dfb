"""Interfaces as things that exist or do not, and that somebody made."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from .errors import DeviceError, FethpipeError
from .netif.name import interface_index
from .provision.feth import destroy_feth
from .provision.request import step

# What Darwin and Linux answer when there is no interface of a name. EADDRNOTAVAIL is AF_NDRV's.
_MISSING = (errno.ENXIO, errno.ENODEV, errno.EADDRNOTAVAIL)


class Owned(NamedTuple):
    """A feth that we made. Its number tells it from a later one of the same name as far as the
    kernel gives that another number, which XNU need not do.
    """

    name: str
    ifindex: int


def own(name: str) -> Owned:
    """Return an interface that was made just now."""
    return Owned(name, interface_index(name))


def destroy_owned(owned: Sequence[Owned]) -> None:
    """Destroy the feths that we made, the last one first; what has gone is no error."""
    for made in reversed(owned):
        if interface_index(made.name) == made.ifindex:
            destroy_feth(made.name)


@contextmanager
def existing(what: str, *names: str) -> Iterator[None]:
    """Turn the failure of a step into an error that names it, and says so if it failed because
    there is no such interface.
    """
    try:
        with step(what):
            yield
    except DeviceError as error:
        if errno_behind(error) in _MISSING:
            for name in names:
                if not interface_index(name):
                    raise DeviceError(f"cannot {what}: {name} does not exist") from error
        raise


def errno_behind(error: FethpipeError) -> int | None:
    """Return the number of the system's error that an error was made from."""
    return getattr(error.__cause__, "errno", None)
