"""Errors that say which interface does not exist."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DeviceError, errno_behind, step
from .name import interface_index

# What Darwin and Linux answer if no interface has the name. EADDRNOTAVAIL comes from AF_NDRV.
_MISSING = (errno.ENXIO, errno.ENODEV, errno.EADDRNOTAVAIL)


@contextmanager
def existing(what: str, *names: str, hint: str = "") -> Iterator[None]:
    """Re-raise OSError as an error that begins with "cannot {what}: ".

    Raises NotAllowedError or DeviceError, which says so if one of ``names`` does not exist, and
    then has the ``hint``.
    """
    try:
        with step(what):
            yield
    except DeviceError as error:
        if errno_behind(error) in _MISSING:
            for name in names:
                if not interface_index(name):
                    raise DeviceError(f"cannot {what}: {name} does not exist", hint=hint) from error
        raise
