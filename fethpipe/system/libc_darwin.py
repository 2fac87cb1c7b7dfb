"""Calls of Darwin's C library that Python does not have. They raise OSError.

The OSError has the name of the call or the request in ``filename``, so that a message can say which
one failed. The library is loaded at the first call, so any system can import this module.

ioctl(2) is called through fcntl, because it is variadic: on Apple silicon, variadic arguments are
passed in another way than ctypes passes them.
"""

from __future__ import annotations

import ctypes
import fcntl
from functools import lru_cache
from typing import NamedTuple

from ..abi.darwin import Request, pack_u32, unpack_u32
from .libc import check_call, failed_call, load_libc

_UUID_LENGTH = 16
_ACL_TYPE_EXTENDED = 0x100  # sys/acl.h
_LONGEST_TEXT = 256
_UUID_PATIENCE_SECONDS = 5


def ioctl(descriptor: int, request: Request, argument: bytes = b"") -> bytes:
    """Make a request, and return its argument as the kernel left it. Raises OSError."""
    buffer = bytearray(argument)
    try:
        fcntl.ioctl(descriptor, request, buffer)
    except OSError as error:
        raise failed_call(error.errno or 0, request.name) from error
    return bytes(buffer)


def bind(descriptor: int, sockaddr: bytes) -> None:
    """bind(2) to a sockaddr in bytes, for families that Python's socket module does not know."""
    check_call(_library().bind(descriptor, sockaddr, len(sockaddr)), "bind")


def connect(descriptor: int, sockaddr: bytes) -> None:
    """connect(2) to a sockaddr in bytes."""
    check_call(_library().connect(descriptor, sockaddr, len(sockaddr)), "connect")


def sysctl_number(name: str) -> int:
    """Return the value of a sysctl that is an int. Raises FileNotFoundError if there is none."""
    return unpack_u32(_sysctl(name, 4).raw)


def sysctl_text(name: str) -> str:
    """Return a sysctl whose value is text. Raises FileNotFoundError where there is none."""
    return _sysctl(name, _LONGEST_TEXT).value.decode("utf-8", "replace")


def _sysctl(name: str, longest: int) -> ctypes.Array[ctypes.c_char]:
    value = ctypes.create_string_buffer(longest)
    size = ctypes.c_size_t(longest)
    answer = _library().sysctlbyname(name.encode(), value, ctypes.byref(size), None, 0)
    check_call(answer, name)
    return value


def set_sysctl_number(name: str, value: int) -> None:
    """Set the value of a sysctl that is an int."""
    new = pack_u32(value)
    check_call(_library().sysctlbyname(name.encode(), None, None, new, len(new)), name)


def host_uuid() -> bytes:
    """Return the UUID of this Mac (16 bytes), which never changes."""
    uuid = ctypes.create_string_buffer(_UUID_LENGTH)
    patience = _Timespec(_UUID_PATIENCE_SECONDS, 0)
    check_call(_library().gethostuuid(uuid, ctypes.byref(patience)), "gethostuuid")
    return uuid.raw


class AddressEntry(NamedTuple):
    """One entry of getifaddrs(3). The socket addresses are bytes, empty if there is none."""

    interface: str
    address: bytes
    netmask: bytes


def interface_addresses() -> list[AddressEntry]:
    """Return getifaddrs(3): one AF_LINK entry for each interface, and one for each address."""
    library = _library()
    head = ctypes.POINTER(_IfAddrs)()
    check_call(library.getifaddrs(ctypes.byref(head)), "getifaddrs")
    entries: list[AddressEntry] = []
    try:
        entry = head
        while entry:
            found = entry.contents
            name = found.ifa_name.decode("utf-8", "replace")
            address, netmask = _sockaddr(found.ifa_addr), _sockaddr(found.ifa_netmask)
            entries.append(AddressEntry(name, address, netmask))
            entry = found.ifa_next
    finally:
        library.freeifaddrs(head)
    return entries


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _IfAddrs(ctypes.Structure):  # ifaddrs.h
    pass


_IfAddrs._fields_ = (
    ("ifa_next", ctypes.POINTER(_IfAddrs)),
    ("ifa_name", ctypes.c_char_p),
    ("ifa_flags", ctypes.c_uint),
    ("ifa_addr", ctypes.c_void_p),
    ("ifa_netmask", ctypes.c_void_p),
    ("ifa_dstaddr", ctypes.c_void_p),
    ("ifa_data", ctypes.c_void_p),
)


def _sockaddr(pointer: int | None) -> bytes:
    """Copy a socket address. Its first byte is its length."""
    return ctypes.string_at(pointer, ctypes.string_at(pointer, 1)[0]) if pointer else b""


def read_acl(path: str) -> str:
    """Return the access control list of a file, "" if it has none (acl(3), ACL_TYPE_EXTENDED)."""
    library = _library()
    library.acl_get_file.restype = library.acl_to_text.restype = ctypes.c_void_p
    acl = library.acl_get_file(path.encode(), _ACL_TYPE_EXTENDED)
    if not acl:
        return ""
    text = library.acl_to_text(ctypes.c_void_p(acl), None)
    try:
        return ctypes.string_at(text).decode(errors="replace") if text else ""
    finally:
        library.acl_free(ctypes.c_void_p(text))
        library.acl_free(ctypes.c_void_p(acl))


def process_name(process: int) -> str:
    """Return the name of a process's program, "" if it has gone (libproc.h: proc_name)."""
    name = ctypes.create_string_buffer(64)
    return name.value.decode() if _library().proc_name(process, name, len(name)) > 0 else ""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = load_libc()
    size_pointer = ctypes.POINTER(ctypes.c_size_t)
    library.bind.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    library.connect.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    library.sysctlbyname.argtypes = (
        ctypes.c_char_p,
        ctypes.c_char_p,
        size_pointer,
        ctypes.c_char_p,
        ctypes.c_size_t,
    )
    library.gethostuuid.argtypes = (ctypes.c_char_p, ctypes.POINTER(_Timespec))
    library.getifaddrs.argtypes = (ctypes.POINTER(ctypes.POINTER(_IfAddrs)),)
    library.freeifaddrs.argtypes = (ctypes.POINTER(_IfAddrs),)
    library.freeifaddrs.restype = None
    return library
