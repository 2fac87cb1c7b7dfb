"""The filter of system calls, run here as the kernel runs it."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from fethpipe.abi.seccomp import (
    ARM64,
    CALLS,
    FCNTLS,
    INSTRUCTION_SIZE,
    IOCTLS,
    X86_64,
    make_filter,
)

_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050000 | errno.EPERM
_AUDIT = {X86_64: 0xC000003E, ARM64: 0xC00000B7}
_I386 = 0x40000003
_X32 = 0x40000000
_HEADERS = {
    X86_64: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    ARM64: Path("/usr/include/asm-generic/unistd.h"),
}


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return what the filter says to a system call (Documentation/networking/filter.rst)."""
    program = make_filter(machine)
    assert program is not None
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, architecture or _AUDIT[machine], 0, *padded)
    accumulator = position = 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, position * INSTRUCTION_SIZE)
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x15:
            position += yes if accumulator == value else no
        else:
            assert code == 0x06
            return int(value)


def numbers(machine: str) -> dict[str, int]:
    """Return the calls of a machine that need no certain argument."""
    found = {each.name: each.x86_64 if machine == X86_64 else each.arm64 for each in CALLS}
    return {name: number for name, number in found.items() if number is not None}


@pytest.mark.parametrize("machine", [X86_64, ARM64])
def test_what_is_listed_is_allowed_and_nothing_else(machine: str) -> None:
    known = numbers(machine)
    free = {
        known[each.name]
        for each in CALLS
        if each.name in known and (each.argument is None or 0 in each.values)
    }
    for number in (*range(600), _X32, *(_X32 + each for each in known.values())):
        expected = _ALLOWED if number in free else _REFUSED
        assert decide(machine, number) == expected, number


@pytest.mark.parametrize("machine", [X86_64, ARM64])
@pytest.mark.parametrize(("name", "values"), [("ioctl", IOCTLS), ("fcntl", FCNTLS)])
def test_a_request_is_allowed_by_its_lower_half(
    machine: str, name: str, values: dict[str, int]
) -> None:
    number = numbers(machine)[name]
    for value in values.values():
        assert decide(machine, number, 3, value) == _ALLOWED
        assert decide(machine, number, 3, value | 0xFFFFFFFF00000000) == _ALLOWED  # as the kernel
        assert decide(machine, number, value) == _REFUSED
    for forbidden in (0x5412, 0x400454CC, 0x400454CB, 0x8924, 8, 10, 0):  # TIOCSTI, F_SETOWN ...
        assert decide(machine, number, 3, forbidden) == _REFUSED


@pytest.mark.parametrize("machine", [X86_64, ARM64])
def test_what_is_held_is_used_for_its_own_peer(machine: str) -> None:
    known = numbers(machine)
    assert decide(machine, known["sendto"], 3, 4096, 6, 0, 0, 0) == _ALLOWED
    assert decide(machine, known["sendto"], 3, 4096, 6, 0, 8192, 10) == _REFUSED
    assert decide(machine, known["pidfd_send_signal"], 3, 9, 0, 0) == _ALLOWED
    assert decide(machine, known["pidfd_send_signal"], 3, 9, 0, 4) == _REFUSED  # its group
    assert decide(machine, known["getsockopt"], 3, 1, 3) == _ALLOWED
    assert decide(machine, known["getsockopt"], 3, 1, 77) == _REFUSED  # SO_PEERPIDFD


@pytest.mark.parametrize("machine", [X86_64, ARM64])
def test_calls_of_another_architecture_are_refused(machine: str) -> None:
    for number in range(600):
        assert decide(machine, number, architecture=_I386) == _REFUSED


def test_a_machine_without_a_list_has_no_filter() -> None:
    assert make_filter("riscv64") is None


@pytest.mark.parametrize("machine", [X86_64, ARM64])
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    if not _HEADERS[machine].exists():
        pytest.skip(f"needs {_HEADERS[machine]}")
    lines = _HEADERS[machine].read_text()
    kernel = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", lines))
    kernel.setdefault("newfstatat", kernel.get("fstatat", ""))
    for name, number in numbers(machine).items():
        if name in kernel:  # headers of an older kernel do not have all
            assert int(kernel[name]) == number, name
    assert len(numbers(machine).keys() & kernel.keys()) > 40
