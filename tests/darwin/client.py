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

from tests.darwin.inside import Inside, call_method

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

    def dup(self, fd: int) -> int:
        return os.dup(fd)

    def ioctl(self, fd: int, request: int, argument: bytes = b"") -> bytes:
        buffer = bytearray(argument)
        fcntl.ioctl(fd, request, buffer, True)
        return bytes(buffer)

    def ioctl_pointer(self, fd: int, request: int, argument: bytes, data: bytes) -> bytes:
        """An argument that ends with a pointer to `data`; what is there afterwards."""
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        fcntl.ioctl(fd, request, bytearray(argument + struct.pack("Q", ctypes.addressof(buffer))))
        return buffer.raw

    def ioctl_address(self, fd: int, request: int, address: int) -> None:
        """With a bare number where the pointer to the argument should be."""
        fcntl.ioctl(fd, request, address)

    def read(self, fd: int, length: int) -> bytes:
        return os.read(fd, length)

    def readv(self, fd: int, *lengths: int) -> bytes:
        buffers = [bytearray(length) for length in lengths]
        got = os.readv(fd, buffers)
        return b"".join(buffers)[:got]

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def writev(self, fd: int, *parts: bytes) -> int:
        return os.writev(fd, parts)

    def write_each(self, fd: int, frames: list[bytes]) -> int:
        return sum(os.write(fd, frame) for frame in frames)

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

    def burst(
        self, fd: int, frames: list[bytes], reader: int, length: int, seconds: float = 60
    ) -> list[bytes]:
        """Writes frames while reading what arrives on another descriptor, as a pump does."""
        arrived: list[bytes] = []
        deadline = time.monotonic() + seconds
        for number, frame in enumerate(frames):
            os.write(fd, frame)
            if number % 64 == 0 and select.select([reader], [], [], 0)[0]:
                arrived += [record.frame for record in parse_batch(os.read(reader, length))]
        while len(arrived) < len(frames):
            if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                break
            arrived += [record.frame for record in parse_batch(os.read(reader, length))]
        return arrived

    # ---- sockets ----

    def make_socket(self, family: int, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> int:
        return socket.socket(family, kind, protocol).detach()

    def bind(self, fd: int, address: bytes) -> None:
        self._check(self._libc.bind(fd, address, len(address)))

    def connect(self, fd: int, address: bytes) -> None:
        self._check(self._libc.connect(fd, address, len(address)))

    def family(self, fd: int) -> int:
        """As Python finds it out."""
        with socket.socket(fileno=os.dup(fd)) as sock:
            return int(sock.family)

    def set_send_buffer(self, fd: int, value: int) -> None:
        with self._ndrv(fd) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, value)

    def send_buffer(self, fd: int) -> int:
        with self._ndrv(fd) as sock:
            return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))

    def _ndrv(self, fd: int) -> socket.socket:
        """Named in full: an AF_NDRV socket that is not bound has no name to find its family by."""
        return socket.socket(27, socket.SOCK_RAW, 0, fileno=os.dup(fd))

    def udp_send(self, local: str, remote: str, payloads: list[bytes]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((local, 0))
            for payload in payloads:
                sock.sendto(payload, (remote, 9))

    # ---- the process ----

    def become(self, user: int) -> None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)

    def pid(self) -> int:
        return os.getpid()

    # ---- the system ----

    def uname(self) -> tuple[str, str, str]:
        name = os.uname()
        return name.sysname, name.release, name.machine

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

    def interface_index(self, name: str) -> int:
        return socket.if_nametoindex(name)

    def interface_names(self) -> list[str]:
        return [name for _, name in socket.if_nameindex()]

    # ---- a host at the other end ----

    def answer_pings(self, reader: int, length: int, writer: int, count: int) -> int:
        """Answers ARP for any address, and `count` echo requests."""
        answered = 0
        while answered < count and select.select([reader], [], [], 10)[0]:
            for record in parse_batch(os.read(reader, length)):
                reply = _answer(record.frame)
                if reply is not None:
                    os.write(writer, reply)
                    answered += reply[12:14] == b"\x08\x00"
        return answered


def _answer(frame: bytes) -> bytes | None:
    mac = bytes.fromhex("02aabbccddee")
    header = frame[6:12] + mac + frame[12:14]
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x01":
        sender, target = frame[22:32], frame[38:42]
        return header + frame[14:20] + b"\x00\x02" + mac + target + sender
    if frame[12:14] == b"\x08\x00" and frame[23] == 1 and frame[34] == 8:
        # Request and reply differ by the type alone: by 8 in the high byte of a 16-bit word.
        checksum = struct.unpack_from(">H", frame, 36)[0] + 0x0800
        checksum = (checksum & 0xFFFF) + (checksum >> 16)
        return (
            header
            + frame[14:26]
            + frame[30:34]
            + frame[26:30]
            + b"\x00\x00"
            + struct.pack(">H", checksum)
            + frame[38:]
        )
    return None


class Program:
    """A process on the simulated Mac whose methods are those of `Calls`.  A context manager."""

    def __init__(
        self, darwin: SimulatedDarwin, namespace: str, *, pass_fds: tuple[int, ...] = ()
    ) -> None:
        self._inside = Inside(darwin, namespace, pass_fds=pass_fds)
        self._calls = self._inside.make(Calls)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._inside.close()

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self._inside.kill()

    def start(self, name: str, *arguments: Any, **options: Any) -> None:
        """Begin a call; `finish` waits for its result."""
        self._inside.start(call_method, self._calls, name, arguments, options)

    def finish(self) -> Any:
        return self._inside.finish()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._calls, name)
        return method
