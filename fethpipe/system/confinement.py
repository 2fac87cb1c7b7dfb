"""Confine a process that reads the bytes of a peer: take from it for good what it does not need.

A process is confined when it has opened everything that it uses, and before it reads the first byte
from a peer. From then on it can use what it has open, and can open nothing else; abi.seccomp says
what that means on Linux. On macOS a sandbox does it, about which Apple promises nothing. If a step
fails, that is logged, and the program goes on without it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from ..errors import reason
from .libc import check_call, load_libc

if os.uname().sysname == "Linux":  # what is sent to a Mac is without it
    from ..abi.seccomp import INSTRUCTION_SIZE, make_filter

# include/uapi/linux/prctl.h, capability.h, seccomp.h
_PR_CAPBSET_DROP = 24
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_MOST_CAPABILITIES = 64
_CAPABILITY_HEADER = struct.Struct("=Ii")
_CAPABILITY_SETS = bytes(2 * 3 * 4)

# The language of Apple's own profiles (/System/Library/Sandbox/Profiles). What is open stays
# usable: reading and writing is decided when a file is opened. A macOS that does not know a word
# refuses all of a profile, so a shorter one follows.
_FORBIDDEN = (
    "(deny process-exec* process-fork file-read-data file-write* signal mach-lookup system-socket)"
    "(deny network-bind)"
    '(deny network-outbound (remote ip "*:*"))'
)
_ALSO_FORBIDDEN = "(deny iokit-open sysctl-write mach-register ipc-posix* (with no-log))"
_PROFILES = (
    f"(version 1)(allow default){_FORBIDDEN}{_ALSO_FORBIDDEN}".encode(),
    f"(version 1)(allow default){_FORBIDDEN}".encode(),
)
# With a framework: it looks up services (XPC), reads its files, and has sockets of the system.
_FRAMEWORK_PROFILES = (
    b"(version 1)(allow default)(deny process-exec* process-fork file-write* signal network-bind)"
    b'(deny network-outbound (remote ip "*:*"))',
)


class Confinement(NamedTuple):
    """The steps that worked, and those that failed and why, both in words."""

    holds: tuple[str, ...]
    lacks: tuple[str, ...]


def confine(*, framework: bool = False) -> Confinement:
    """Confine this process for good, as far as the system can. It must have one thread.

    With ``framework`` it is confined less: a framework of macOS is at work in it, which has
    threads, starts more, and talks to its services.
    """
    with suppress(OSError):
        os.chdir("/")
    holds, lacks = _limit(("RLIMIT_CORE",) if framework else ("RLIMIT_CORE", "RLIMIT_NPROC"))
    if os.uname().sysname == "Linux":
        empty_bounding_set()
        drop_capabilities()
        steps = [_forbid_new_privileges, *([] if framework else [_install_filter])]
    else:
        steps = [_enter_framework_sandbox if framework else _enter_sandbox]
    for step in steps:
        try:
            holds.append(step())
        except (OSError, AttributeError, ctypes.ArgumentError) as error:
            why = reason(error) if isinstance(error, OSError) else "the system has no such call"
            lacks.append(f"{step.__name__.strip('_').replace('_', ' ')}: {why}")
    return Confinement(tuple(holds), tuple(lacks))


def empty_bounding_set() -> None:
    """Keep all capabilities from programs that we start, if we are allowed to (Linux)."""
    if os.uname().sysname == "Linux":
        libc = load_libc()
        for number in range(_MOST_CAPABILITIES):
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up all capabilities (Linux). Root gets them back when it starts a program, and any user
    by starting a set-user-ID program of root (capabilities(7)).
    """
    if os.uname().sysname != "Linux":
        return
    libc = load_libc()
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    libc.capset(_CAPABILITY_HEADER.pack(_LINUX_CAPABILITY_VERSION_3, 0), _CAPABILITY_SETS)


def _limit(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Forbid core dumps, which would contain frames, and new processes."""
    lacks = []
    for name in names:
        try:
            resource.setrlimit(getattr(resource, name), (0, 0))
        except (OSError, ValueError) as error:
            lacks.append(f"{name}: {error}")
    return ([] if lacks else ["no core dumps"]), lacks


def _forbid_new_privileges() -> str:
    check_call(load_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    return "no new privileges"


def _install_filter() -> str:
    machine = os.uname().machine
    instructions = make_filter(machine)
    if instructions is None:
        raise OSError(errno.ENOSYS, f"there is no list of system calls for {machine}")
    array = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // INSTRUCTION_SIZE, ctypes.addressof(array))
    result = load_libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    check_call(result, "prctl")
    return "a filter of system calls"


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _enter_framework_sandbox() -> str:
    return _enter_sandbox(_FRAMEWORK_PROFILES)


def _enter_sandbox(profiles: Sequence[bytes] = _PROFILES) -> str:
    """Enter a sandbox of macOS. Raises OSError, AttributeError on another system."""
    library = load_libc()
    message = ctypes.c_char_p()
    for profile in profiles:
        if library.sandbox_init(profile, ctypes.c_uint64(0), ctypes.byref(message)) == 0:
            return "a sandbox"
    why = (message.value or b"unknown error").decode(errors="replace").splitlines()
    raise OSError(errno.EPERM, " ".join(why))
