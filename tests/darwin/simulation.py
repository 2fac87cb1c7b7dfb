"""The simulated Darwin kernel, from the tests' side.

The simulation itself is the C library in `kernel/` (start with `kernel/kernel.h`).  Programs run in
it when they are started with `SimulatedDarwin.environment`, inside a network namespace of their
own; this module builds the library, makes the state that those programs share, and reads and bends
that state while they run.  Nothing here makes a namespace: whoever starts the programs does.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.closing import Closing
from tests.darwin.libraries import built_library

_HERE = Path(__file__).parent
_ABI = _HERE / "abi.json"
_SOURCES = _HERE / "kernel"
_COMPILE = (
    "cc -std=c11 -O2 -Wall -Wextra -Werror -U_FORTIFY_SOURCE"
    " -fPIC -shared -fvisibility=hidden -pthread"
)
_IFF_UP, _IFF_RUNNING, _IFF_PROMISC = 0x1, 0x40, 0x100

#: How the simulation can differ from what XNU does, each by a number (1: yes).
DEVIATIONS = {
    "batch_write_missing": "BIOCSBATCHWRITE is refused whatever the release",
    "max_mtu_ignored": "interfaces take an MTU of at most 2048, whatever the sysctl says",
    "one_frame_per_read": "a read of a BPF device returns one record",
    "send_buffer_default": "SO_SNDBUF of a new AF_NDRV socket is this many bytes",
    "send_buffer_limit": "SO_SNDBUF of an AF_NDRV socket is silently cut to this many bytes",
    "bpf_write_limit": "writing more than this many bytes to a BPF device is EMSGSIZE",
    "buffer_length_limit": "BIOCSBLEN is cut to this many bytes",
    "see_sent_always": "BIOCSSEESENT 0 has no effect",
    "bpf_header_length": "bh_hdrlen is this many bytes (18 or more)",
    "bpf_alignment": "BPF records start on a multiple of this many bytes",
    "padded_frames": "injected frames are padded to 60 bytes",
    "vlan_tags_stripped": "BPF shows tagged frames without their tag",
    "hardware_checksums": "frames leave the IP stack without checksums (set before creating)",
    "mac_ignored": "SIOCSIFLLADDR has no effect",
    "link_never_active": "SIOCGIFMEDIA never says active",
    "injection_lost": "written frames are accepted and lost",
    "reception_lost": "BPF devices never get a frame (set before BIOCSETIF)",
    "frames_reordered": "the first two frames of a read change places if they are equally long",
    "drops_uncounted": "BIOCGSTATS tells of no drops",
    "routes_refused": "adding a route is EINVAL",
    "max_mtu_follows": "the sysctl holds for interfaces that were made before it was set too",
}


@dataclass(frozen=True)
class Call:
    """A call that reached the simulated kernel; successful reads and writes are only counted."""

    name: str  # an ioctl's name, "open", "bpf_write", a sysctl's name ...
    device: str  # "bpf1", "ndrv" or ""
    interface: str
    value: int  # the number that it sets or the length that it writes, else 0
    error: int  # 0: it worked
    process: int
    user: int  # effective user of the caller


@dataclass(frozen=True)
class Interface:
    """An interface as the simulated kernel has it."""

    name: str
    peer: str  # "" when there is none
    bridge: str  # that it is a member of, "" when there is none
    mac: str
    flags: int  # Darwin's IFF_ bits
    mtu: int
    max_mtu: int
    metric: int
    addresses: tuple[str, ...]  # with prefix length, IPv4 first

    @property
    def up(self) -> bool:
        return bool(self.flags & _IFF_UP)

    @property
    def running(self) -> bool:
        return bool(self.flags & _IFF_RUNNING)

    @property
    def promiscuous(self) -> bool:
        return bool(self.flags & _IFF_PROMISC)


def missing_requirement() -> str | None:
    """What this machine lacks to run the simulation, for a test's skip message."""
    if os.uname().sysname != "Linux":
        return "the simulated Darwin kernel needs Linux"
    if os.geteuid() != 0:
        return "the simulated Darwin kernel needs root (a user namespace's will do)"
    if shutil.which("cc") is None:
        return "the simulated Darwin kernel needs a C compiler (cc)"
    return None


def abi_header() -> str:
    """abi.json as the C header that the library includes."""
    abi = json.loads(_ABI.read_text())
    requests = {name.split()[0]: value for name, value in abi["requests"].items()}
    lines = ["#include <stdint.h>"]
    lines += [f"#define DARWIN_{name} UINT32_C({value})" for name, value in requests.items()]
    table = ", ".join(f'{{"{name}", UINT32_C({value})}}' for name, value in requests.items())
    lines.append(f"#define DARWIN_REQUEST_TABLE {table}")
    for names, struct in abi["structs"].items():
        if isinstance(struct["size"], int):
            name = re.split("[ /]", names)[0]
            lines.append(f"#define DARWIN_SIZEOF_{name} {struct['size']}")
    for name, value in abi["constants"].items():
        if isinstance(value, int):
            identifier = re.sub(r"\W+", "_", name).strip("_")
            lines.append(f"#define DARWIN_{identifier} {value}")
    return "\n".join(lines) + "\n"


class SimulatedDarwin(Closing):
    """One simulated Mac: its kernel's state and the environment that puts programs into it.

    `close` removes the state.  The interfaces are Linux's and go with their
    network namespace.
    """

    def __init__(
        self,
        release: str = "23.4.0",
        *,
        machine: str = "arm64",
        host_uuid: str = "564D2E1C-0000-4000-8000-000000000001",
        namespace: str | None = None,
    ) -> None:
        """`release` is Darwin's (22.6.0 is macOS 13.5) and decides what the kernel can do.

        `namespace` is a path such as /proc/PID/ns/net, for `create` and `destroy`; without, they
        look for a simulated program that is still running.
        """
        self.release = release
        self.namespace = namespace
        self._library = _load()
        self._directory = Path(tempfile.mkdtemp(prefix="simulated-darwin-"))
        self._directory.chmod(0o755)  # an ordinary user's programs map the state too
        self.state = self._directory / "state"
        self._kernel: int | None = self._library.simulation_create(
            os.fsencode(self.state),
            release.encode(),
            _product(release).encode(),
            machine.encode(),
            host_uuid.encode(),
        )
        if not self._kernel:
            raise OSError(f"cannot make the simulation's state {self.state}")

    def close(self) -> None:
        """Forget the state; programs that still run keep theirs.  Safe to call twice."""
        if self._kernel:
            self._library.simulation_close(self._kernel)
            self._kernel = None
            shutil.rmtree(self._directory)

    @property
    def environment(self) -> dict[str, str]:
        """What a program's environment needs, on top of its own, to run on this Mac."""
        preload = [str(library_path())]
        if "LD_PRELOAD" in os.environ:
            preload.append(os.environ["LD_PRELOAD"])
        return {"LD_PRELOAD": ":".join(preload), "DARWIN_STATE": str(self.state)}

    # ---- bending it ----

    def fail(
        self, call: str, error: int, *, on: str = "", after: int = 0, times: int | None = 1
    ) -> Rule:
        """Make calls fail with the errno `error`, before the kernel looks at them.

        `call` is an ioctl's name, "open", "read", "write" (or of one kind: "bpf_write",
        "ndrv_write"), "socket", "bind", "connect", "setsockopt", "getsockopt", "getifaddrs",
        "gethostuuid" or the name of a sysctl; `on` an interface or a device ("bpf1", "ndrv").
        The first `after` of them pass, then `times` fail (None: all).
        """
        if not self._library.simulation_knows_call(call.encode()):
            raise ValueError(f"no such call: {call}")
        number = self._library.simulation_fail(
            self._kernel, call.encode(), on.encode(), error, after, -1 if times is None else times
        )
        if number < 0:
            raise RuntimeError("too many rules")
        return Rule(self, number)

    def misanswer(self, call: str, expected: int, error: int, *, on: str = "") -> Rule:
        """Let the kernel answer with `error` (0: as if it worked) where Darwin says `expected`.

        What the call does or leaves undone stays as it is; `call` and `on` are those of `fail`.
        """
        if not self._library.simulation_knows_call(call.encode()):
            raise ValueError(f"no such call: {call}")
        number = self._library.simulation_misanswer(
            self._kernel, call.encode(), on.encode(), expected, error
        )
        if number < 0:
            raise RuntimeError("too many rules")
        return Rule(self, number)

    def deviate(self, name: str, value: int = 1) -> None:
        """Let one fact differ from Darwin's: see DEVIATIONS.  0 makes it right again."""
        if not self._library.simulation_deviate(self._kernel, name.encode(), value):
            raise ValueError(f"no such deviation: {name}")

    @property
    def max_mtu(self) -> int:
        """The sysctl net.link.fake.max_mtu; to set it here is as if it had been so before."""
        return int(self._library.simulation_max_mtu(self._kernel))

    @max_mtu.setter
    def max_mtu(self, value: int) -> None:
        self._library.simulation_set_max_mtu(self._kernel, value)

    def alter_frames(self, which: int) -> None:
        """Somebody has set the sysctl of this number, from 1, of those that alter frames."""
        self._library.simulation_alter_frames(self._kernel, which)

    def occupy(self, *units: int) -> None:
        """Another program holds these /dev/bpfN open."""
        for unit in units:
            self._library.simulation_occupy(self._kernel, unit, True)

    def create(self, name: str) -> None:
        """Another program creates a feth or a bridge, in the programs' network namespace."""
        self._act(True, name)

    def destroy(self, name: str) -> None:
        """Another program destroys a feth or a bridge, in the programs' network namespace."""
        self._act(False, name)

    def _act(self, create: bool, name: str) -> None:
        namespace = (self.namespace or "").encode()
        error = self._library.simulation_act(self._kernel, namespace, create, name.encode())
        if error == errno.ESRCH:
            raise ProcessLookupError("no simulated program runs, so there is no namespace to enter")
        if error != 0:
            raise OSError(error, os.strerror(error), name)

    # ---- looking at it ----

    def interfaces(self) -> dict[str, Interface]:
        """The feth interfaces that exist now."""
        return {
            each["name"]: Interface(**{**each, "addresses": tuple(each["addresses"])})
            for each in self._report()["interfaces"]
            if each["name"].startswith("feth")
        }

    def counters(self) -> dict[str, int]:
        """How often what happened; the names are in `kernel/kernel.h`, COUNTERS."""
        return {str(name): int(count) for name, count in self._report()["counters"].items()}

    def calls(self, name: str | None = None, *, on: str | None = None) -> list[Call]:
        """The last 8192 calls, oldest first; only those of a name, or on an interface or device."""
        return [
            call
            for call in (Call(**each) for each in self._report()["calls"])
            if name in (None, call.name) and on in (None, call.device, call.interface)
        ]

    def violations(self, *, forget: bool = False) -> list[str]:
        """What no correct program does, or what is not simulated.  A test wants none of it."""
        found = [str(each["text"]) for each in self._report()["violations"]]
        if forget:
            self._library.simulation_forget_violations(self._kernel)
        return found

    def _report(self) -> Any:
        text = self._library.simulation_report(self._kernel)
        try:
            return json.loads(ctypes.string_at(text))
        finally:
            self._library.simulation_free_report(text)


class Rule:
    """A rule made by `SimulatedDarwin.fail`."""

    def __init__(self, darwin: SimulatedDarwin, number: int) -> None:
        self._darwin = darwin
        self._number = number

    @property
    def hits(self) -> int:
        """How many calls it has failed."""
        library = self._darwin._library
        return int(library.simulation_rule_hits(self._darwin._kernel, self._number))

    def clear(self) -> None:
        """From now on the calls work again."""
        self._darwin._library.simulation_drop_rule(self._darwin._kernel, self._number)


def _product(release: str) -> str:
    """The macOS version of a Darwin release: 17.7.0 is 10.13, 20 is 11, 23.4.0 is 14.4."""
    major, minor = (int(part) for part in (release + ".0").split(".")[:2])
    return f"10.{major - 4}" if major < 20 else f"{major - 9}.{minor}"


# ---- the library ----


@functools.cache
def library_path() -> Path:
    """The built library."""
    return built_library(
        "darwin",
        "the simulated Darwin kernel",
        _SOURCES,
        _COMPILE.split(),
        headers={"darwin_abi.h": abi_header()},
    )


@functools.cache
def _load() -> ctypes.PyDLL:
    """PyDLL keeps Python's lock, which harness.c counts on."""
    library = ctypes.PyDLL(str(library_path()))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    long, unsigned = ctypes.c_int64, ctypes.c_uint32
    for name, result, arguments in (
        ("create", pointer, [text, text, text, text, text]),
        ("close", None, [pointer]),
        ("fail", number, [pointer, text, text, number, long, long]),
        ("misanswer", number, [pointer, text, text, number, number]),
        ("rule_hits", ctypes.c_uint64, [pointer, number]),
        ("drop_rule", None, [pointer, number]),
        ("deviate", ctypes.c_bool, [pointer, text, long]),
        ("knows_call", ctypes.c_bool, [text]),
        ("forget_violations", None, [pointer]),
        ("max_mtu", unsigned, [pointer]),
        ("set_max_mtu", None, [pointer, unsigned]),
        ("alter_frames", None, [pointer, unsigned]),
        ("occupy", None, [pointer, number, ctypes.c_bool]),
        ("act", number, [pointer, text, ctypes.c_bool, text]),
        ("report", pointer, [pointer]),
        ("free_report", None, [pointer]),
    ):
        function = getattr(library, f"simulation_{name}")
        function.restype = result
        function.argtypes = arguments
    return library
