"""A program in the simulation that makes raw system calls on command.

`Program` starts it; its methods are those of `Calls`, run over there, with OSErrors coming back as
they were raised.  Nothing in here comes from fethpipe: what a call takes and gives are plain bytes.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from tests.closing import Closing
from tests.darwin.inside import Inside

if TYPE_CHECKING:
    from tests.darwin.simulation import SimulatedDarwin

_BPF_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC


class Record(NamedTuple):
    """One record of a BPF batch, and where in the batch it starts."""

    start: int
    header_length: int
    captured: int
    length: int
    frame: bytes


def parse_batch(batch: bytes, alignment: int = 4) -> list[Record]:
    records: list[Record] = []
    position = 0
    while position < len(batch):
        captured, length, header = struct.unpack_from("=IIH", batch, position + 8)
        frame = batch[position + header : position + header + captured]
        assert len(frame) == captured
        records.append(Record(position, header, captured, length, frame))
        position += header + captured
        position += -position % alignment
    return records


class InterfaceAddress(NamedTuple):
    """One entry of getifaddrs(3), its addresses in Darwin's layout."""

    name: str
    flags: int
    address: bytes
    netmask: bytes
    broadcast: bytes
    data: bytes


class _IfAddrs(ctypes.Structure):
    _fields_ = (
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("flags", ctypes.c_uint32),
        ("address", ctypes.c_void_p),
        ("netmask", ctypes.c_void_p),
        ("broadcast", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
    )


def _sockaddr(pointer: int | None) -> bytes:
    """The first byte of every Darwin socket address is its length."""
    return b"" if pointer is None else ctypes.string_at(pointer, ctypes.string_at(pointer, 1)[0])


class Calls:
    """What the program can be told to do."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _check(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    # ---- files ----

    def open(self, path: str, flags: int = _BPF_FLAGS) -> int:
        return os.open(path, flags)

    def close(self, fd: int) -> None:
        os.close(fd)

    def ioctl(self, fd: int, request: int, argument: bytes = b"") -> bytes:
        buffer = bytearray(argument)
        fcntl.ioctl(fd, request, buffer, True)
        return bytes(buffer)

    def ioctl_pointer(self, fd: int, request: int, argument: bytes, data: bytes) -> bytes:
        """An argument that ends with a pointer to `data`; what is there afterwards."""
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        fcntl.ioctl(fd, request, bytearray(argument + struct.pack("Q", ctypes.addressof(buffer))))
        return buffer.raw

    def read(self, fd: int, length: int) -> bytes:
        return os.read(fd, length)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def select(self, fd: int, seconds: float) -> bool:
        return bool(select.select([fd], [], [], seconds)[0])

    def read_frames(self, fd: int, length: int, count: int, seconds: float = 10) -> list[Record]:
        """Reads batches until there are `count` records, or fewer when time is up."""
        records: list[Record] = []
        deadline = time.monotonic() + seconds
        while len(records) < count:
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                break
            records += parse_batch(os.read(fd, length))
        return records

    # ---- sockets ----

    def make_socket(self, family: int, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> int:
        return socket.socket(family, kind, protocol).detach()

    def bind(self, fd: int, address: bytes) -> None:
        self._check(self._libc.bind(fd, address, len(address)))

    def connect(self, fd: int, address: bytes) -> None:
        self._check(self._libc.connect(fd, address, len(address)))

    def set_send_buffer(self, fd: int, value: int) -> None:
        with self._ndrv(fd) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, value)

    def send_buffer(self, fd: int) -> int:
        with self._ndrv(fd) as sock:
            return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))

    def _ndrv(self, fd: int) -> socket.socket:
        """Named in full: an AF_NDRV socket that is not bound has no name to find its family by."""
        return socket.socket(27, socket.SOCK_RAW, 0, fileno=os.dup(fd))

    def udp_send(self, local: str, remote: str, payload: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((local, 0))
            sock.sendto(payload, (remote, 9))

    # ---- the process ----

    def become(self, user: int) -> None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)

    # ---- the system ----

    def sysctl(self, name: str, value: bytes | None = None, room: int = 256) -> bytes:
        old = ctypes.create_string_buffer(room)
        size = ctypes.c_size_t(room)
        new_size = ctypes.c_size_t(0 if value is None else len(value))
        self._check(
            self._libc.sysctlbyname(name.encode(), old, ctypes.byref(size), value, new_size)
        )
        return old.raw[: size.value]

    def getifaddrs(self) -> list[InterfaceAddress]:
        head = ctypes.c_void_p()
        self._check(self._libc.getifaddrs(ctypes.byref(head)))
        found: list[InterfaceAddress] = []
        pointer = head.value
        while pointer is not None:
            entry = _IfAddrs.from_address(pointer)
            found.append(
                InterfaceAddress(
                    entry.name.decode(),
                    entry.flags,
                    _sockaddr(entry.address),
                    _sockaddr(entry.netmask),
                    _sockaddr(entry.broadcast),
                    b"" if entry.data is None else ctypes.string_at(entry.data, 96),
                )
            )
            pointer = entry.next
        self._libc.freeifaddrs(head)
        return found

    def interface_names(self) -> list[str]:
        return [name for _, name in socket.if_nameindex()]


class Program(Closing):
    """A process on the simulated Mac whose methods are those of `Calls`."""

    def __init__(self, darwin: SimulatedDarwin, namespace: str) -> None:
        self._inside = Inside(darwin, namespace)
        self._calls = self._inside.make(Calls)

    def close(self) -> None:
        self._inside.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._calls, name)
        return method
