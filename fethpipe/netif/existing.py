"""Errors about interfaces say so when there is no such interface."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DeviceError, errno_behind, step
from .name import interface_index

# What Darwin and Linux answer when there is no interface of a name. EADDRNOTAVAIL is AF_NDRV's.
_MISSING = (errno.ENXIO, errno.ENODEV, errno.EADDRNOTAVAIL)


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
