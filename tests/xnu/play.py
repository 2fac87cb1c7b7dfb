"""What is played on Apple's code and on the simulation alike: steps, and what each answered.

A step is a verb, the name of a method of `Player`, and its arguments, all plain values. What it
answers is a plain value too, or the name of an error.
"""

from __future__ import annotations

import errno
import pickle
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from tests.darwin.client import Calls, parse_batch
from tests.darwin.layouts import (
    ABI,
    AF_NDRV,
    IFF_UP,
    REQUEST,
    bpf_record,
    from_u32,
    ifreq,
    ifreq_mac,
    ifreq_number,
    number,
    sockaddr_ndrv,
    u32,
)
from tests.darwin.rig import Requests

if TYPE_CHECKING:
    from tests.darwin.client import Program

Step = tuple[Any, ...]

# Darwin's name for it depends on the release, Linux has one number for both.
_NAMES = {errno.EOPNOTSUPP: "EOPNOTSUPP"}
_MEDIA_ACTIVE = 2
_TOUCHING = {"open", "close", "attach", "reader", "socket", "bind", "connect", "writer"}
_DEFAULT_MTU, _DEFAULT_MAX_MTU = 1500, 2048


def frame(size: int, mark: int = 0x42) -> bytes:
    """A broadcast frame of an experimental kind, of bytes that are all ``mark``."""
    header = b"\xff" * 6 + bytes.fromhex("020000000001 88b5")
    return (header + bytes([mark]) * size)[:size]


def batch(records: Sequence[tuple[int, ...]]) -> bytes:
    """A batch of records with such frames: their lengths, then what their headers say that is not
    so: a header's length, a frame's.
    """
    parts = []
    for size, *unlike in records:
        header, length = (unlike + [18, size][len(unlike) :])[:2]
        parts.append(bpf_record(frame(size), header=header, length=length))
    return b"".join(parts)


class Player:
    """Does one step after the other."""

    def __init__(self) -> None:
        self._calls = Calls()
        self._requests = Requests(cast("Program", self._calls))
        self._descriptors: dict[str, int] = {}
        self._made: set[str] = set()
        self._untouched: set[str] = set()

    def play(self, steps: Sequence[Step]) -> list[Any]:
        """Return what each step answered."""
        return [self._answer(*step) for step in steps]

    def _answer(self, verb: str, *arguments: Any) -> Any:
        if verb in _TOUCHING:
            self._untouched.discard(arguments[0])
        try:
            return getattr(self, verb)(*arguments)
        except KeyError:
            return "not open"
        except OSError as error:
            number = error.errno or 0
            return _NAMES.get(number, errno.errorcode.get(number, str(number)))

    def reset(self) -> None:
        """Close everything, destroy everything."""
        for descriptor in self._descriptors.values():
            self._calls.close(descriptor)
        self._descriptors.clear()
        self._untouched.clear()
        for name in sorted(self._made):
            self._answer("destroy", name)
        self._made.clear()
        self._answer("set_max_mtu", _DEFAULT_MAX_MTU)

    def start(self, primary: str, io: str) -> None:
        """Have a pair that is joined and up, and on it what the product opens: a reader ``r`` of
        the primary side, a reader ``bpf`` and a writer ``ndrv`` of the other.

        What is as it was stays, for closing a device takes the simulation long.
        """
        for key in set(self._descriptors) - self._untouched:
            self.close(key)
        for name in (primary, io):
            if name not in self._calls.interface_names():
                self.create(name)
                self._untouched.clear()
            self.set_mtu(name, _DEFAULT_MTU)
        if self.peer(primary) != io:
            self.join(primary, io)
        for key, unit, name in (("r", 1, primary), ("bpf", 2, io)):
            if key not in self._untouched:
                self.reader(key, unit, name)
            for request, value in (
                ("BIOCSBATCHWRITE", 0),
                ("BIOCSHDRCMPLT", 1),
                ("BIOCSSEESENT", 0),
            ):
                self._answer("set", key, request, value)
        if "ndrv" not in self._untouched:
            self.writer("ndrv", io)
        for name in (primary, io):
            if not self.flags(name) & IFF_UP:
                self.up(name)
        self._untouched = {"r", "bpf", "ndrv"}
        for key in ("r", "bpf"):
            while self._answer("read", key) != "EAGAIN":
                pass

    # ---- interfaces ----

    def create(self, name: str) -> str:
        self._untouched.clear()
        made = self._requests.create(name)
        self._made.add(made)
        return made

    def destroy(self, name: str) -> None:
        self._untouched.clear()
        self._requests.destroy(name)

    def join(self, name: str, peer: str) -> None:
        self._requests.set_peer(name, peer)

    def __getattr__(self, name: str) -> Any:
        """What is asked as it stands: peer, up, down, flags, mtu."""
        return getattr(self._requests, name)

    def active(self, name: str) -> int:
        answer = self._requests("SIOCGIFMEDIA", ifreq(name).ljust(44, b"\0"))
        return int.from_bytes(answer[16 + 4 * _MEDIA_ACTIVE :][:4], "little")

    def set_mtu(self, name: str, mtu: int) -> int:
        self._requests.set_mtu(name, mtu)
        return self._requests.mtu(name)

    def device_mtu(self, name: str) -> str:
        return self._requests("SIOCGIFDEVMTU", ifreq(name))[16:28].hex()

    def set_mac(self, name: str, mac: str) -> str:
        self._requests("SIOCSIFLLADDR", ifreq_mac(name, mac))
        return self.mac(name)

    def mac(self, name: str) -> str:
        found = [each.address for each in self._calls.getifaddrs() if each.name == name]
        links = [address for address in found if address[1] == ABI["constants"]["AF_LINK"]]
        return links[0][8 + links[0][5] :][:6].hex() if links else ""

    def metric(self, name: str, metric: int) -> int:
        self._requests("SIOCSIFMETRIC", ifreq_number(name, metric))
        return number(self._requests("SIOCGIFMETRIC", ifreq(name)))

    def max_mtu(self) -> int:
        return from_u32(self._calls.sysctl("net.link.fake.max_mtu"))

    def set_max_mtu(self, mtu: int) -> int:
        self._calls.sysctl("net.link.fake.max_mtu", u32(mtu))
        return self.max_mtu()

    # ---- BPF ----

    def open(self, key: str, unit: int) -> None:
        self._answer("close", key)
        self._descriptors[key] = self._calls.open(f"/dev/bpf{unit}")

    def close(self, key: str) -> None:
        self._calls.close(self._descriptors.pop(key))

    def set(self, key: str, request: str, value: int) -> int:
        return from_u32(self._calls.ioctl(self._descriptors[key], REQUEST[request], u32(value)))

    def promiscuous(self, key: str) -> None:
        self._calls.ioctl(self._descriptors[key], REQUEST["BIOCPROMISC"])

    def attach(self, key: str, name: str) -> None:
        self._calls.ioctl(self._descriptors[key], REQUEST["BIOCSETIF"], ifreq(name))

    def drops(self, key: str) -> int:
        answer = self._calls.ioctl(self._descriptors[key], REQUEST["BIOCGSTATS"], bytes(8))
        return from_u32(answer[4:])

    def readable(self, key: str) -> bool:
        return self._calls.select(self._descriptors[key], 0)

    def read(self, key: str, length: int | None = None) -> list[tuple[int, ...]]:
        """Where each record is, how long, and a byte of its frame."""
        if length is None:
            length = self.set(key, "BIOCGBLEN", 0)
        batch = self._calls.read(self._descriptors[key], length)
        return [(*each[:4], each.frame[-1]) for each in parse_batch(batch)]

    def reader(self, key: str, unit: int, name: str, length: int = 1 << 19) -> None:
        """A device as the product opens it."""
        self.open(key, unit)
        for request, value in (
            ("BIOCSBLEN", length),
            ("BIOCIMMEDIATE", 1),
            ("BIOCSSEESENT", 0),
        ):
            self.set(key, request, value)
        self.attach(key, name)
        self.set(key, "BIOCSHDRCMPLT", 1)
        self.promiscuous(key)

    # ---- AF_NDRV ----

    def socket(self, key: str) -> None:
        self._answer("close", key)
        self._descriptors[key] = self._calls.make_socket(AF_NDRV, socket.SOCK_RAW)

    def send_buffer(self, key: str, size: int | None = None) -> int:
        if size is not None:
            self._calls.set_send_buffer(self._descriptors[key], size)
        return self._calls.send_buffer(self._descriptors[key])

    def bind(self, key: str, name: str) -> None:
        self._calls.bind(self._descriptors[key], sockaddr_ndrv(name))

    def connect(self, key: str, name: str) -> None:
        self._calls.connect(self._descriptors[key], sockaddr_ndrv(name))

    def writer(self, key: str, name: str, send_buffer: int = 16384) -> None:
        """A socket as the product opens it."""
        self.socket(key)
        self.send_buffer(key, send_buffer)
        self.bind(key, name)
        self.connect(key, name)

    # ---- both ----

    def write(self, key: str, size: int, mark: int = 0x42) -> int:
        return self._calls.write(self._descriptors[key], frame(size, mark))

    def write_raw(self, key: str, data: bytes) -> int:
        return self._calls.write(self._descriptors[key], data)

    def write_batch(self, key: str, records: Sequence[tuple[int, ...]], rest: int = 0) -> int:
        """Write a batch with ``rest`` bytes more at its end, or fewer if that is negative."""
        data = batch(records)
        data = data[:rest] if rest < 0 else data + bytes(rest)
        return self._calls.write(self._descriptors[key], data)


def serve() -> None:
    """Play what comes on standard input, and answer on standard output."""
    player = Player()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            steps = pickle.load(requests)  # noqa: S301 - from our own parent
        except EOFError:
            return
        pickle.dump(player.play(steps), answers)
        answers.flush()
