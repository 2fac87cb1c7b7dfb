"""A seccomp(2) filter: the system calls that a confined process may make, as plain data.

The list names what is allowed; all other calls, those of later kernels included, fail with EPERM.
A confined process uses what it holds: it reads, writes, waits, and takes memory. It cannot open,
start, connect, signal or trace anything, nor send to another address than its socket's.

The numbers are those of asm/unistd_64.h (x86-64) and asm-generic/unistd.h (arm64), the program is
classic BPF on struct seccomp_data (linux/seccomp.h, linux/bpf_common.h).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

X86_64, ARM64 = "x86_64", "aarch64"  # as uname(2) spells them
_ARCHITECTURES = {X86_64: 0xC000003E, ARM64: 0xC00000B7}  # linux/audit.h: AUDIT_ARCH_*

SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000


class Call(NamedTuple):
    """A system call by name and number; None where the machine has none of that name.

    ``argument`` is the index of the one that decides, which must have one of the ``values``. The
    kernel takes 32 bits of all of these arguments.
    """

    name: str
    x86_64: int | None
    arm64: int | None
    argument: int | None = None
    values: tuple[int, ...] = ()


# asm-generic/ioctls.h, linux/sockios.h, linux/if_tun.h
IOCTLS = {
    "FIONBIO": 0x5421,  # os.set_blocking
    "FIONREAD": 0x541B,
    "FIOCLEX": 0x5451,  # os.set_inheritable
    "TIOCOUTQ": 0x5411,  # and SIOCOUTQ: how much waits in a socket
    "TCGETS": 0x5401,  # isatty(3)
    "TIOCGWINSZ": 0x5413,
    "TIOCGPGRP": 0x540F,
    "SIOCGIFNAME": 0x8910,
    "TUNSETOFFLOAD": 0x400454D0,
    "TUNSETCARRIER": 0x400454E2,
}
# asm-generic/fcntl.h, linux/fcntl.h. Not F_SETOWN, which sends signals to others.
FCNTLS = {
    "F_GETFD": 1,
    "F_SETFD": 2,
    "F_GETFL": 3,
    "F_SETFL": 4,
    "F_SETLK": 6,  # the lock of the status line
    "F_DUPFD_CLOEXEC": 1030,
    "F_SETPIPE_SZ": 1031,
    "F_GETPIPE_SZ": 1032,
}
# asm-generic/socket.h, linux/if_packet.h. Not SO_PEERPIDFD, which opens a process.
SOCKET_OPTIONS = {
    "SO_TYPE": 3,
    "SO_ERROR": 4,
    "PACKET_STATISTICS": 6,
    "SO_PROTOCOL": 38,
}
# What is on the path of a frame comes first. The rest is for messages, counters and the end.
CALLS = (
    Call("read", 0, 63),
    Call("write", 1, 64),
    Call("readv", 19, 65),
    Call("writev", 20, 66),
    Call("select", 23, None),
    Call("pselect6", 270, 72),
    Call("poll", 7, None),
    Call("ppoll", 271, 73),
    # Without an address (its length is 0): a packet socket would send through any interface, and
    # the service manager's to any daemon. So no sendmsg: the filter cannot see its address.
    Call("sendto", 44, 206, 5, (0,)),
    Call("recvfrom", 45, 207),
    Call("recvmsg", 47, 212),
    Call("clock_gettime", 228, 113),
    Call("mmap", 9, 222),
    Call("munmap", 11, 215),
    Call("mremap", 25, 216),
    Call("mprotect", 10, 226),
    Call("madvise", 28, 233),
    Call("brk", 12, 214),
    Call("futex", 202, 98),
    Call("restart_syscall", 219, 128),
    Call("rt_sigreturn", 15, 139),
    Call("rt_sigaction", 13, 134),
    Call("rt_sigprocmask", 14, 135),
    Call("sigaltstack", 131, 132),
    Call("close", 3, 57),
    Call("dup", 32, 23),
    Call("dup2", 33, None),
    Call("dup3", 292, 24),
    Call("fstat", 5, 80),
    Call("newfstatat", 262, 79),  # glibc's fstat; it tells of files, and opens none
    Call("lseek", 8, 62),
    Call("shutdown", 48, 210),
    Call("getsockname", 51, 204),
    Call("getsockopt", 55, 209, 2, tuple(SOCKET_OPTIONS.values())),
    Call("pipe2", 293, 59),
    Call("wait4", 61, 260),
    Call("waitid", 247, 95),
    # To whom we hold, as no other pidfd can be had; not to his group.
    Call("pidfd_send_signal", 424, 424, 3, (0,)),
    Call("getpid", 39, 172),
    Call("gettid", 186, 178),
    Call("getppid", 110, 173),
    Call("getpgrp", 111, None),
    Call("getpgid", 121, 155),
    Call("getuid", 102, 174),
    Call("geteuid", 107, 175),
    Call("getgid", 104, 176),
    Call("getegid", 108, 177),
    Call("uname", 63, 160),
    Call("getrandom", 318, 278),
    Call("nanosleep", 35, 101),
    Call("clock_nanosleep", 230, 115),
    Call("sched_yield", 24, 124),
    Call("rseq", 334, 293),
    Call("exit", 60, 93),
    Call("exit_group", 231, 94),
    Call("ioctl", 16, 29, 1, tuple(IOCTLS.values())),
    Call("fcntl", 72, 25, 1, tuple(FCNTLS.values())),
)

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
INSTRUCTION_SIZE = _INSTRUCTION.size
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_REFUSE = SECCOMP_RET_ERRNO | errno.EPERM

Instruction = tuple[int, int, int, int]
"""What to do, how many instructions to skip if a comparison holds and if not, and a number."""


def make_filter(machine: str, calls: tuple[Call, ...] = CALLS) -> bytes | None:
    """Return the filter as an array of struct sock_filter, None for a machine without one."""
    if machine not in _ARCHITECTURES:
        return None
    return b"".join(_INSTRUCTION.pack(*each) for each in _instructions(machine, calls))


def _instructions(machine: str, calls: tuple[Call, ...]) -> Iterator[Instruction]:
    """Yield the program. Calls of another architecture, such as 32-bit ones, have other numbers."""
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _IF_EQUAL, 1, 0, _ARCHITECTURES[machine]
    yield _RETURN, 0, 0, _REFUSE
    yield _LOAD, 0, 0, _NUMBER
    for call in calls:
        number = call.x86_64 if machine == X86_64 else call.arm64
        if number is not None:
            yield from _permission(number, call)
    yield _RETURN, 0, 0, _REFUSE


def _permission(number: int, call: Call) -> Iterator[Instruction]:
    if call.argument is None:
        yield _IF_EQUAL, 0, 1, number
        yield _RETURN, 0, 0, SECCOMP_RET_ALLOW
        return
    yield _IF_EQUAL, 0, 2 + 2 * len(call.values), number
    # The lower half of a 64-bit argument, on a little-endian machine as both of these are.
    yield _LOAD, 0, 0, _ARGUMENTS + 8 * call.argument
    for value in call.values:
        yield _IF_EQUAL, 0, 1, value
        yield _RETURN, 0, 0, SECCOMP_RET_ALLOW
    yield _RETURN, 0, 0, _REFUSE
