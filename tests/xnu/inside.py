"""Put the system calls of this process through to Apple's code.

After `Mac.enter`, ``os``, ``fcntl``, ``select``, ``socket`` and the C library that ctypes gives are
a Mac's, as far as interfaces, /dev/bpf and AF_NDRV go: the product's modules run on it unchanged.
Nothing happens there but what a call brings about, so a select that would wait returns at once.

A descriptor of the kernel's is a real one as well, so that no other can have its number.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.xnu.machine import Kernel
from tests.xnu.releases import Release

AF_NDRV, _AF_LINK = 27, 18
_ARGUMENT_ROOM = 1024
_INTERFACE_REQUESTS = ord("i")
_FILE_CALLS = "open close dup read readv write writev"
_Selectable = Any


@dataclass
class _Open:
    """What descriptors of the kernel's stand for: a BPF device or an AF_NDRV socket."""

    ioctl: Callable[[int, Any], None]
    read: Callable[[int], bytes]
    write: Callable[[bytes], int]
    ready: Callable[[], bool]
    close: Callable[[], None]
    handle: Any
    descriptors: int = 1


class Mac:
    """The calls of this process, once it is a Mac."""

    def __init__(self, kernel: Kernel, release: Release) -> None:
        self.kernel = kernel
        self._release = release
        self._opened: dict[int, _Open] = {}
        self._real = SimpleNamespace(
            **{name: getattr(os, name) for name in _FILE_CALLS.split()},
            ioctl=fcntl.ioctl,
            select=select.select,
            library=ctypes.CDLL,
        )

    def enter(self) -> None:
        """Replace the calls, for good."""
        library = _Library(self)

        class Socket(_Socket):
            mac = self

        _replace(os, self, f"{_FILE_CALLS} uname")
        _replace(fcntl, self, "ioctl")
        _replace(select, self, "select")
        _replace(socket, self, "if_nameindex")
        _replace(socket, SimpleNamespace(socket=Socket), "socket")

        def load(name: str | None, *arguments: Any, **options: Any) -> Any:
            return library if name is None else self._real.library(name, *arguments, **options)

        _replace(ctypes, SimpleNamespace(CDLL=load), "CDLL")

    # ---- os ----

    def uname(self) -> os.uname_result:
        return os.uname_result(("Darwin", "mac", self._release.darwin, "Darwin", "x86_64"))

    def open(self, path: str, flags: int, *mode: int) -> int:
        device = re.fullmatch("/dev/bpf([0-9]+)", os.fspath(path))
        if device is None:
            return int(self._real.open(path, flags, *mode))
        unit = int(device.group(1))
        if unit >= self.kernel.nodes():
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self.kernel.bpf_open(unit)
        descriptor = int(self._real.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        self._opened[descriptor] = _Open(
            ioctl=lambda request, argument: self.kernel.bpf_ioctl(unit, request, argument),
            read=lambda length: self.kernel.bpf_read(unit, length),
            write=lambda data: self.kernel.bpf_write(unit, data),
            ready=lambda: self.kernel.bpf_ready(unit),
            close=lambda: self.kernel.bpf_close(unit),
            handle=unit,
        )
        return descriptor

    def add_socket(self, descriptor: int, kind: int, protocol: int) -> None:
        """Let a descriptor be an AF_NDRV socket."""
        handle = self.kernel.socket(AF_NDRV, kind, protocol)
        self._opened[descriptor] = _Open(
            ioctl=lambda request, argument: self.kernel.ioctl(request, argument, handle),
            read=_refuse,
            write=lambda data: self.kernel.send(handle, data),
            ready=lambda: False,
            close=lambda: self.kernel.socket_close(handle),
            handle=handle,
        )

    def socket_of(self, descriptor: int) -> Any:
        """Return the kernel's socket behind a descriptor."""
        opened = self._opened.get(descriptor)
        return None if opened is None else opened.handle

    def close(self, descriptor: int) -> None:
        opened = self._opened.pop(descriptor, None)
        self._real.close(descriptor)
        if opened is not None:
            opened.descriptors -= 1
            if opened.descriptors == 0:
                opened.close()

    def dup(self, descriptor: int) -> int:
        copy = int(self._real.dup(descriptor))
        opened = self._opened.get(descriptor)
        if opened is not None:
            opened.descriptors += 1
            self._opened[copy] = opened
        return copy

    def read(self, descriptor: int, length: int) -> bytes:
        opened = self._opened.get(descriptor)
        return opened.read(length) if opened else bytes(self._real.read(descriptor, length))

    def readv(self, descriptor: int, buffers: Sequence[Any]) -> int:
        opened = self._opened.get(descriptor)
        if opened is None:
            return int(self._real.readv(descriptor, buffers))
        data = opened.read(sum(map(len, buffers)))
        buffers[0][: len(data)] = data  # one buffer, or one that has room for everything
        return len(data)

    def write(self, descriptor: int, data: Any) -> int:
        opened = self._opened.get(descriptor)
        return opened.write(bytes(data)) if opened else int(self._real.write(descriptor, data))

    def writev(self, descriptor: int, buffers: Sequence[Any]) -> int:
        if descriptor not in self._opened:
            return int(self._real.writev(descriptor, buffers))
        return self.write(descriptor, b"".join(map(bytes, buffers)))

    # ---- fcntl, select, socket ----

    def ioctl(self, descriptor: Any, request: int, argument: Any = 0, mutate: bool = True) -> Any:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        opened = self._opened.get(number)
        if opened is None and request >> 8 & 0xFF != _INTERFACE_REQUESTS:
            return self._real.ioctl(number, request, argument, mutate)
        # The kernel takes what the request's number says, whatever it is given.
        buffer = ctypes.create_string_buffer(bytes(argument), _ARGUMENT_ROOM)
        (opened.ioctl if opened else self.kernel.ioctl)(request, buffer)
        if isinstance(argument, bytearray):
            argument[:] = buffer.raw[: len(argument)]
        return 0

    def select(
        self,
        readers: Iterable[_Selectable],
        writers: Iterable[_Selectable],
        others: Iterable[_Selectable],
        timeout: float | None = None,
    ) -> tuple[list[_Selectable], list[_Selectable], list[_Selectable]]:
        ours = {each: self._opened.get(_number(each)) for each in readers}
        ready = [each for each, opened in ours.items() if opened is not None and opened.ready()]
        real = [each for each, opened in ours.items() if opened is None]
        if ready or not real:
            timeout = 0
        found, writable, special = self._real.select(real, writers, others, timeout)
        return [*ready, *found], writable, special

    def if_nameindex(self) -> list[tuple[int, str]]:
        return list(enumerate(self.kernel.names(), 1))


def _replace(module: Any, source: Any, names: str) -> None:
    for name in names.split():
        setattr(module, name, getattr(source, name))


def _number(selectable: _Selectable) -> int:
    return selectable if isinstance(selectable, int) else int(selectable.fileno())


def _refuse(length: int) -> bytes:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def become(library: Path, release: Release) -> Mac:
    """Make this process a Mac of a release, whose kernel a library holds."""
    mac = Mac(Kernel(library), release)
    mac.enter()
    return mac


class _Socket(socket.socket):
    """A socket that is one of the kernel's if its family is AF_NDRV."""

    mac: Mac

    def __init__(
        self, family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None
    ) -> None:
        if family != AF_NDRV:
            super().__init__(family, kind, protocol, fileno)
            return
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM, 0, fileno)
        if fileno is None:
            self.mac.add_socket(self.fileno(), kind, protocol)

    def setsockopt(self, *arguments: Any) -> None:
        sock = self.mac.socket_of(self.fileno())
        if sock is None:
            super().setsockopt(*arguments)
        else:
            self.mac.kernel.send_buffer(sock, arguments[2])

    def getsockopt(self, *arguments: Any) -> Any:
        sock = self.mac.socket_of(self.fileno())
        if sock is None:
            return super().getsockopt(*arguments)
        return self.mac.kernel.send_buffer(sock)

    def close(self) -> None:
        if self.mac.socket_of(self.fileno()) is None:
            super().close()
        else:
            os.close(self.detach())


class _Function:
    """A function with the attributes that ctypes sets."""

    argtypes: Any
    restype: Any

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> int:
        try:
            self._function(*arguments)
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1
        return 0


class _Library:
    """The functions of Darwin's C library that are not among Linux's, or not the same."""

    def __init__(self, mac: Mac) -> None:
        self._mac = mac
        self._kept: list[Any] = []
        for name in ("bind", "connect", "sysctlbyname", "gethostuuid", "getifaddrs", "freeifaddrs"):
            setattr(self, name, _Function(getattr(self, f"_{name}")))

    def _bind(self, descriptor: int, address: bytes, length: int) -> None:
        self._mac.kernel.bind(self._mac.socket_of(descriptor), address[:length])

    def _connect(self, descriptor: int, address: bytes, length: int) -> None:
        self._mac.kernel.connect(self._mac.socket_of(descriptor), address[:length])

    def _sysctlbyname(self, name: bytes, old: Any, size: Any, new: bytes | None, _: Any) -> None:
        value = None if new is None else int.from_bytes(new, "little", signed=True)
        found = self._mac.kernel.sysctl(name.decode(), value)
        if old is not None:
            ctypes.memmove(old, struct.pack("=i", found), 4)
            size._obj.value = 4

    def _gethostuuid(self, uuid: Any, _: Any) -> None:
        ctypes.memmove(uuid, bytes(range(16)), 16)

    def _getifaddrs(self, head: Any) -> None:
        after = 0
        for name in self._mac.kernel.names():
            text, mac = name.encode(), self._mac.kernel.mac(name)
            link = struct.pack("=BBHBBBB", 8 + len(text) + 6, _AF_LINK, 1, 6, len(text), 6, 0)
            parts = [ctypes.create_string_buffer(each) for each in (text, link + text + mac)]
            text_at, link_at = map(ctypes.addressof, parts)
            packed = struct.pack("=QQQQ24x", after, text_at, 0, link_at)
            entry = ctypes.create_string_buffer(packed, len(packed))
            after = ctypes.addressof(entry)
            self._kept += [*parts, entry]
        ctypes.memmove(ctypes.addressof(head._obj), struct.pack("=Q", after), 8)

    def _freeifaddrs(self, head: Any) -> None:
        self._kept.clear()
