"""Apple's networking code, loaded into this process: its system calls as methods.

There is no IP stack: nothing has an address but a MAC. A panic of the kernel ends the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

_DARWIN_INET, _DARWIN_DATAGRAM = 2, 2
_NAME_SIZE = 16
_MOST_INTERFACES = 256

# Errors are Linux's of the same name, as in a Python on Linux they have to be.
_ERRORS = {
    **{number: number for number in range(1, 35) if number != 11},
    35: errno.EAGAIN,
    **{
        first + offset: getattr(errno, name)
        for first, names in (
            (36, "EINPROGRESS EALREADY ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT"),
            (43, "EPROTONOSUPPORT ESOCKTNOSUPPORT ENOTSUP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE"),
            (49, "EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS"),
            (56, "EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED"),
        )
        for offset, name in enumerate(names.split())
    },
    102: errno.EOPNOTSUPP,
}


class Kernel:
    """One running kernel; every method raises OSError."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._enter("boot")
        self.control = self.socket(_DARWIN_INET, _DARWIN_DATAGRAM, 0)

    def _enter(self, name: str, *arguments: Any) -> None:
        error = getattr(self._library, f"xnu_enter_{name}")(*arguments)
        if error != 0 and name != "boot":
            raise _error(error)

    def freeze(self) -> None:
        """Let no thread of the kernel run: what it does later stays undone."""
        self._library.host_freeze()

    def thaw(self) -> None:
        self._library.host_thaw()

    def become(self, *, root: bool) -> None:
        self._library.host_set_root(root)

    def names(self) -> list[str]:
        names = (ctypes.c_char * _NAME_SIZE * _MOST_INTERFACES)()
        count = self._library.xnu_enter_names(names, _MOST_INTERFACES)
        return [each.value.decode() for each in names[:count]]

    def mac(self, name: str) -> bytes:
        mac = ctypes.create_string_buffer(6)
        self._enter("mac", name.encode(), mac)
        return mac.raw

    def make_odd(self, name: str) -> None:
        """Let the driver of an interface refuse all that is handed to it."""
        self._enter("make_odd", name.encode())

    def sysctl(self, name: str, value: int | None = None) -> int:
        """Return a number, and set it."""
        old = ctypes.c_int()
        last = name.rpartition(".")[2].encode()
        self._enter("sysctl", last, ctypes.byref(old), value is not None, value or 0)
        return old.value

    def ioctl(self, request: int, argument: Any, sock: ctypes.c_void_p | None = None) -> None:
        """Make a request to an interface, through a socket."""
        self._enter("ioctl", sock or self.control, ctypes.c_ulong(request), argument)

    # ---- BPF ----

    def nodes(self) -> int:
        """Return how many /dev/bpfN there are."""
        return int(self._library.xnu_enter_bpf_nodes())

    def bpf_open(self, unit: int) -> None:
        self._enter("bpf_open", unit)

    def bpf_close(self, unit: int) -> None:
        self._enter("bpf_close", unit)

    def bpf_ioctl(self, unit: int, request: int, argument: Any) -> None:
        self._enter("bpf_ioctl", unit, ctypes.c_ulong(request), argument)

    def bpf_ready(self, unit: int) -> bool:
        """Return whether it selects as readable."""
        return bool(self._library.xnu_enter_bpf_select(unit))

    def bpf_read(self, unit: int, length: int) -> bytes:
        buffer, got = ctypes.create_string_buffer(length), ctypes.c_long()
        self._enter("bpf_read", unit, buffer, ctypes.c_long(length), ctypes.byref(got))
        return buffer.raw[: got.value]

    def bpf_write(self, unit: int, data: bytes) -> int:
        """Write, and return how much was taken."""
        taken = ctypes.c_long()
        self._enter("bpf_write", unit, data, ctypes.c_long(len(data)), ctypes.byref(taken))
        return taken.value

    # ---- sockets ----

    def socket(self, domain: int, kind: int, protocol: int) -> ctypes.c_void_p:
        """Make a socket that does not block."""
        made = ctypes.c_void_p()
        self._enter("socket", domain, kind, protocol, ctypes.byref(made))
        return made

    def socket_close(self, sock: ctypes.c_void_p) -> None:
        self._enter("close", sock)

    def bind(self, sock: ctypes.c_void_p, address: bytes) -> None:
        self._enter("bind", sock, address, len(address))

    def connect(self, sock: ctypes.c_void_p, address: bytes) -> None:
        self._enter("connect", sock, address, len(address))

    def send(self, sock: ctypes.c_void_p, data: bytes) -> int:
        """Write, and return how much was taken."""
        taken = ctypes.c_long()
        self._enter("send", sock, data, ctypes.c_long(len(data)), ctypes.byref(taken))
        return taken.value

    def send_buffer(self, sock: ctypes.c_void_p, size: int | None = None) -> int:
        """Return SO_SNDBUF, or set it."""
        value = ctypes.c_int(size or 0)
        self._enter("send_buffer", sock, ctypes.byref(value), size is not None)
        return value.value


def _error(number: int) -> OSError:
    number = _ERRORS[number]
    return OSError(number, os.strerror(number))
