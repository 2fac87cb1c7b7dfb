"""One running vmnet interface, with a descriptor that selects as readable while frames wait.

vmnet calls back on threads of its own; a callback does no more than leave a value, or a byte in a
pipe. Rules:

1. The event that announces frames may come once for many of them, and not again before all of them
   were read. So the pipe stays readable until a read found nothing.
2. Nobody may be on the way into Python when the interpreter ends: such a thread would end in a way
   that Darwin answers with an abort. So ``close`` stops the events, then the interface, and then
   waits for everything on the queue to be over, by a call that needs no Python
   (dispatch_sync_f of free). The pipe goes last: a late event must not write to what took its
   number.
3. Blocks are never freed, so there is one set of them, and one interface at a time in a process.
4. The start and all that follows belong to one process: fork(2) of macOS allows nothing but exec
   after it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from array import array
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from ..errors import DeviceError, SystemFailureError
from ..ether.frame import HEADER_LENGTH
from ..provision.request import VmnetFacts, VmnetOptions
from .abi import (
    IOVEC,
    MOST_BYTES,
    MOST_PACKETS,
    SIGNATURE_OF_EVENT,
    SIGNATURE_OF_START,
    SIGNATURE_OF_STOP,
    VMNET_INTERFACE_PACKETS_AVAILABLE,
    VMPKTDESC,
    Status,
)
from .blocks import make_block
from .library import Library, load_library
from .options import MODES
from .refusals import VmnetError, explain

_START_SECONDS = 7.0  # whoever waits for the process that this is in gives it a little more
_NO_REFERENCE_SECONDS = 1.0  # a start that returned nothing has failed; the handler knows why
_STOP_SECONDS = 5.0
# VMNET_BUFFER_EXHAUSTED passes as soon as the kernel has caught up. For one batch, in all 1 ms.
_PAUSES_SECONDS = (0.00005,) * 20
# The interface itself is of no more use; any other refusal is of some frame.
_FATAL = (Status.VMNET_FAILURE, Status.VMNET_SETUP_INCOMPLETE, Status.VMNET_INVALID_ACCESS)
_CHUNK = 1 << 12


class _Parameters(NamedTuple):
    """What an interface was started with. What a macOS does not tell is "" or 0."""

    mac_address: str = ""
    start_address: str = ""
    end_address: str = ""
    subnet_mask: str = ""
    mtu: int = 0
    max_packet_size: int = 0
    read_max_packets: int = 0
    write_max_packets: int = 0


class _Answer:
    """What a completion handler leaves for whoever waits for it."""

    def __init__(self) -> None:
        self.status = 0
        self.parameters = _Parameters()
        self._came = threading.Event()

    def expect(self) -> None:
        self._came.clear()

    def leave(self, status: int, parameters: _Parameters | None = None) -> None:
        self.status, self.parameters = status, parameters or _Parameters()
        self._came.set()

    def wait(self, seconds: float) -> bool:
        return self._came.wait(seconds)


class _Callbacks:
    """The blocks of this process, and what they leave."""

    def __init__(self, library: Library) -> None:
        self.started = _Answer()
        self.stopped = _Answer()
        self.wakeup = -1
        self._library = library
        word, pointer = ctypes.c_uint32, ctypes.c_void_p
        system = library.system
        self.start = make_block(system, self._on_start, SIGNATURE_OF_START, word, pointer)
        self.event = make_block(system, self._on_event, SIGNATURE_OF_EVENT, word, pointer)
        self.stop = make_block(system, self.stopped.leave, SIGNATURE_OF_STOP, word)

    def _on_start(self, status: int, dictionary: int | None) -> None:
        # It is only lent.
        self.started.leave(status, _read(self._library, dictionary) if dictionary else None)

    def _on_event(self, _event: int, _values: int | None) -> None:
        self.wake()

    def wake(self) -> None:
        """Have the descriptor select as readable; a pipe that is full does so already."""
        with suppress(OSError):
            os.write(self.wakeup, b"\0")


@lru_cache(maxsize=1)
def _callbacks() -> _Callbacks:
    return _Callbacks(load_library())


def start_interface(options: VmnetOptions, mtu: int | None) -> VmnetInterface:
    """Start an interface with options that were checked. Raises FethpipeError."""
    library = load_library()
    if options.interface is not None:
        _check_bridge(library, options.interface)
    callbacks = _callbacks()
    system = library.system
    with ExitStack() as undo:
        queue = system.dispatch_queue_create(b"fethpipe.vmnet", None)
        undo.callback(_drain, library, queue)
        description = system.xpc_dictionary_create(None, None, 0)
        with ExitStack() as described:
            described.callback(system.xpc_release, description)
            _describe(library, description, options, mtu)
            callbacks.started.expect()
            reference = library.vmnet.vmnet_start_interface(description, queue, callbacks.start)
        answer = callbacks.started
        if not answer.wait(_START_SECONDS if reference else _NO_REFERENCE_SECONDS):
            if reference:
                raise SystemFailureError(
                    f"vmnet did not answer in {_START_SECONDS:.0f} s", hint="try again"
                )
            answer.status = Status.VMNET_FAILURE
        if answer.status != Status.VMNET_SUCCESS or not reference:
            refusal = VmnetError("vmnet_start_interface", answer.status)
            tried = f"start a vmnet interface in {options.mode} mode"
            raise explain(tried, refusal, root=os.geteuid() == 0)
        interface = VmnetInterface(library, callbacks, reference, queue, options)
        undo.pop_all()
    return interface


def _check_bridge(library: Library, interface: str) -> None:
    names = library.shared_interfaces()
    if names and interface not in names:
        raise DeviceError(
            f"vmnet cannot bridge to {interface}", hint=f"it offers {', '.join(names)}"
        )


def _describe(library: Library, description: int, options: VmnetOptions, mtu: int | None) -> None:
    """Fill the dictionary that the interface is started with."""
    system = library.system
    put_number, put_text = system.xpc_dictionary_set_uint64, system.xpc_dictionary_set_string
    put_number(description, _key(library, "operation_mode"), MODES[options.mode])
    texts = {
        "shared_interface_name": options.interface,
        "start_address": options.start,
        "end_address": options.end,
        "subnet_mask": options.mask,
    }
    for name, text in texts.items():
        if text is not None:
            put_text(description, _key(library, name), text.encode())
    if mtu is not None:
        put_number(description, _key(library, "mtu"), mtu)
    if options.isolated:
        system.xpc_dictionary_set_bool(description, _key(library, "enable_isolation"), True)
    if options.network is not None:
        identifier = bytes.fromhex(options.network.replace("-", ""))
        system.xpc_dictionary_set_uuid(description, _key(library, "network_identifier"), identifier)


def _key(library: Library, name: str) -> bytes:
    key = library.key(name)
    if key is None:
        raise DeviceError(
            f"vmnet of this macOS has no vmnet_{name}_key", hint="leave that option out"
        )
    return key


def _read(library: Library, dictionary: int) -> _Parameters:
    """Copy what the interface was started with."""
    get_text = library.system.xpc_dictionary_get_string
    get_number = library.system.xpc_dictionary_get_uint64

    def text(name: str) -> str:
        key = library.key(name)
        return (get_text(dictionary, key) or b"").decode("ascii", "replace") if key else ""

    def number(name: str) -> int:
        key = library.key(name)
        return int(get_number(dictionary, key)) if key else 0

    return _Parameters(
        mac_address=text("mac_address"),
        start_address=text("start_address"),
        end_address=text("end_address"),
        subnet_mask=text("subnet_mask"),
        mtu=number("mtu"),
        max_packet_size=number("max_packet_size"),
        read_max_packets=number("read_max_packets"),
        write_max_packets=number("write_max_packets"),
    )


def _drain(library: Library, queue: int) -> None:
    """Let go of a queue when nothing of it runs any more, not even on its way out of Python."""
    nothing = ctypes.cast(library.system.free, ctypes.c_void_p)
    library.system.dispatch_sync_f(queue, None, nothing)
    library.system.dispatch_release(queue)


class VmnetInterface:
    """A running interface; :func:`start_interface` makes it."""

    def __init__(
        self,
        library: Library,
        callbacks: _Callbacks,
        reference: int,
        queue: int,
        options: VmnetOptions,
    ) -> None:
        started = callbacks.started.parameters
        self.mac = _parse_mac(started.mac_address)
        self.mtu = started.mtu or started.max_packet_size - HEADER_LENGTH
        self.facts = VmnetFacts(
            mode=options.mode,
            max_packet=started.max_packet_size or started.mtu + HEADER_LENGTH,
            start_address=started.start_address or None,
            end_address=started.end_address or None,
            subnet_mask=started.subnet_mask or None,
        )
        self._library = library
        self._callbacks = callbacks
        self._reference = reference
        self._queue = queue
        self._longest = self.facts.max_packet
        self._read = _Packets(_limit(started.read_max_packets, self._longest), self._longest)
        self._write = _Packets(_limit(started.write_max_packets), size=MOST_BYTES)
        self._wakeup, callbacks.wakeup = os.pipe()
        for descriptor in (self._wakeup, callbacks.wakeup):
            os.set_blocking(descriptor, False)
        library.vmnet.vmnet_interface_set_event_callback(
            reference, VMNET_INTERFACE_PACKETS_AVAILABLE, queue, callbacks.event
        )
        callbacks.wake()  # frames may have come before the callback

    def fileno(self) -> int:
        """Return the descriptor that selects as readable while frames may wait."""
        return self._wakeup

    def read_frames(self) -> list[memoryview]:
        """Return the frames of one batch, [] when there are none; the next read overwrites them.

        Raises VmnetError when the interface is of no more use.
        """
        with suppress(BlockingIOError):
            while len(os.read(self._wakeup, _CHUNK)) == _CHUNK:
                pass
        packets = self._read
        packets.renew()
        count = ctypes.c_int(packets.most)
        status = self._library.vmnet.vmnet_read(
            self._reference, packets.address, ctypes.byref(count)
        )
        if status in _FATAL:
            raise VmnetError("vmnet_read", status)
        if status != Status.VMNET_SUCCESS or not count.value:
            return []
        self._callbacks.wake()
        return packets.frames(count.value)

    def write_frames(self, frames: Sequence[bytes]) -> int:
        """Send frames in order, and return how many vmnet did not take.

        Raises VmnetError when the interface is of no more use.
        """
        good = [frame for frame in frames if HEADER_LENGTH <= len(frame) <= self._longest]
        refused = len(frames) - len(good)
        while good:
            batch = good[: self._write.most]
            while sum(map(len, batch)) > MOST_BYTES:
                batch = batch[: len(batch) // 2]
            good = good[len(batch) :]
            refused += len(batch) - self._write_batch(batch)
        return refused

    def close(self) -> None:
        """Stop the interface, in the only order that is safe; safe to call twice.

        Raises SystemFailureError when vmnet does not stop. Its threads may still run then, and the
        process must end without ending the interpreter: os._exit.
        """
        reference, self._reference = self._reference, 0
        if not reference:
            return
        vmnet, callbacks = self._library.vmnet, self._callbacks
        vmnet.vmnet_interface_set_event_callback(
            reference, VMNET_INTERFACE_PACKETS_AVAILABLE, None, None
        )
        callbacks.stopped.expect()
        status = vmnet.vmnet_stop_interface(reference, self._queue, callbacks.stop)
        if status != Status.VMNET_SUCCESS or not callbacks.stopped.wait(_STOP_SECONDS):
            raise SystemFailureError(
                f"vmnet does not stop: {VmnetError('vmnet_stop_interface', status)}"
            )
        _drain(self._library, self._queue)
        os.close(self._wakeup)
        os.close(callbacks.wakeup)
        self._wakeup = callbacks.wakeup = -1

    def _write_batch(self, batch: Sequence[bytes]) -> int:
        """Send what fits one call, and return how many of them went."""
        packets = self._write
        packets.fill(batch)
        sent = 0
        for pause in (*_PAUSES_SECONDS, None):
            count = ctypes.c_int(len(batch) - sent)
            start = packets.address + sent * VMPKTDESC.size
            status = self._library.vmnet.vmnet_write(self._reference, start, ctypes.byref(count))
            if status in _FATAL:
                raise VmnetError("vmnet_write", status)
            if status == Status.VMNET_SUCCESS:
                sent += count.value
            elif status != Status.VMNET_BUFFER_EXHAUSTED:
                break
            if sent == len(batch) or pause is None:
                break
            time.sleep(pause)
        return sent


def _parse_mac(text: str) -> bytes:
    """Return a MAC whose bytes may have one digit only, as those of ether_ntoa(3)."""
    return bytes(int(byte, 16) for byte in text.split(":") if byte)


def _limit(told: int, size: int = 1) -> int:
    """Return how many packets of this size one call moves; ``told`` is what vmnet says, or 0."""
    most = max(1, min(MOST_PACKETS, MOST_BYTES // size))
    return min(most, told) if told else most


class _Packets:
    """The struct vmpktdesc of as many packets as one call moves, and the memory they are in."""

    def __init__(self, most: int, longest: int = 0, *, size: int = 0) -> None:
        """Have room for ``size`` bytes of packets, or for ``most`` of the longest."""
        self.most = most
        self._starts = [index * longest for index in range(most)]
        self._memory = bytearray(size or most * longest)
        self._vectors = bytearray(most * IOVEC.size)
        self._descriptors = bytearray(most * VMPKTDESC.size)
        self._base = _address(self._memory)
        self.address = _address(self._descriptors)
        vectors = _address(self._vectors)
        for index, start in enumerate(self._starts):
            vector = index * IOVEC.size
            IOVEC.pack_into(self._vectors, vector, self._base + start, longest)
            VMPKTDESC.pack_into(
                self._descriptors, index * VMPKTDESC.size, longest, vectors + vector, 1, 0
            )
        self._fresh = bytes(self._descriptors)
        self._view = memoryview(self._memory)
        self._words = memoryview(self._descriptors).cast("Q")
        self._vector_words = memoryview(self._vectors).cast("Q")

    def renew(self) -> None:
        """Have every descriptor say again how much room its packet has."""
        self._descriptors[:] = self._fresh

    def frames(self, count: int) -> list[memoryview]:
        """Return what a read left in the first packets."""
        view = self._view
        sizes = self._words[: 3 * count : 3].tolist()
        return [view[start : start + size] for start, size in zip(self._starts, sizes)]

    def fill(self, frames: Sequence[bytes]) -> None:
        """Have the first packets hold these frames, one after the other."""
        data = b"".join(frames)
        self._view[: len(data)] = data
        sizes = array("Q", map(len, frames))
        starts = array("Q", (0, *accumulate(sizes[:-1])))
        count = len(frames)
        self._vector_words[: 2 * count : 2] = array("Q", [self._base + start for start in starts])
        self._vector_words[1 : 2 * count : 2] = sizes
        self._words[: 3 * count : 3] = sizes


def _address(memory: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
