"""A running vmnet interface, with a descriptor that is readable while frames wait.

vmnet calls back on threads of its own. A callback only stores a value, or writes a byte into a
pipe. Rules:

1. vmnet may announce many frames by one event, and send no other event before all of them were
   read. So the pipe stays readable until a read returned no frame.
2. No thread of vmnet may be about to enter Python when the interpreter ends: Python would end that
   thread in a way that makes Darwin abort the process. So ``close`` stops the events, then the
   interface, then waits until nothing on the queue runs, by a call that does not need Python
   (dispatch_sync_f of free). It closes the pipe last: a late event must not write to a descriptor
   that got the same number.
3. Blocks are never freed. So a process has one set of them, and one interface at a time.
4. Start and use an interface in the same process: after fork(2), macOS allows nothing but exec.
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
from ipaddress import IPv4Address
from itertools import accumulate
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ..errors import DeviceError, SystemFailureError
from ..ether.frame import HEADER_LENGTH
from ..netif.darwin import interface_with
from ..provision.request import VmnetFacts, VmnetOptions
from .abi import (
    IOVEC,
    MOST_BYTES,
    MOST_FRAMES,
    SIGNATURE_OF_EVENT,
    SIGNATURE_OF_START,
    SIGNATURE_OF_STOP,
    VMNET_INTERFACE_PACKETS_AVAILABLE,
    VMPKTDESC,
    ReturnCode,
)
from .blocks import make_block
from .library import Library, load_library
from .options import MODES
from .refusals import VmnetError, explain

_START_SECONDS = 7.0  # less than vmnet.provision waits for this process
_NO_REFERENCE_SECONDS = 1.0  # a start that returned no reference has failed; the handler tells why
_STOP_SECONDS = 5.0
# VMNET_BUFFER_EXHAUSTED passes when the kernel has caught up. These are 1 ms in all for a batch.
_PAUSES_SECONDS = (0.00005,) * 20
# After these the interface is of no more use. Any other error is about some frame.
_FATAL = (
    ReturnCode.VMNET_FAILURE,
    ReturnCode.VMNET_SETUP_INCOMPLETE,
    ReturnCode.VMNET_INVALID_ACCESS,
)
_CHUNK = 1 << 12
_ADDRESS_SECONDS = 1.0  # the address may come a moment after the start
_ADDRESS_PAUSE_SECONDS = 0.02


class _Parameters(NamedTuple):
    """The parameters of a started interface. What this macOS does not tell is "" or 0."""

    mac_address: str = ""
    start_address: str = ""
    end_address: str = ""
    subnet_mask: str = ""
    mtu: int = 0
    max_packet_size: int = 0
    read_max_packets: int = 0
    write_max_packets: int = 0


class _Callbacks:
    """The blocks of this process, and their results."""

    def __init__(self, library: Library) -> None:
        self.started: SimpleQueue[tuple[int, _Parameters]] = SimpleQueue()
        self.stopped = threading.Event()
        self.wakeup = -1
        self._library = library
        word, pointer = ctypes.c_uint32, ctypes.c_void_p
        system = library.system
        self.start = make_block(system, self._on_start, SIGNATURE_OF_START, word, pointer)
        self.event = make_block(
            system, lambda _, __: self.wake(), SIGNATURE_OF_EVENT, word, pointer
        )
        self.stop = make_block(system, lambda _: self.stopped.set(), SIGNATURE_OF_STOP, word)

    def _on_start(self, code: int, dictionary: int | None) -> None:
        # The dictionary is valid during this call only.
        told = _read(self._library, dictionary) if dictionary else _Parameters()
        self.started.put((code, told))

    def wake(self) -> None:
        """Make the descriptor readable. If the pipe is full, it is readable already."""
        with suppress(OSError):
            os.write(self.wakeup, b"\0")


@lru_cache(maxsize=1)
def _callbacks() -> _Callbacks:
    return _Callbacks(load_library())


def start_interface(
    options: VmnetOptions, mtu: int | None, identifier: bytes | None = None
) -> VmnetInterface:
    """Start an interface. ``mtu`` is in bytes, None lets vmnet choose.

    ``identifier``, 16 bytes, decides the MAC; None lets vmnet choose that, too.

    The caller has checked the options, with :func:`check_options`. Raises FethpipeError.
    """
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
            if identifier:
                key = _key(library, "interface_id")
                system.xpc_dictionary_set_uuid(description, key, identifier)
            callbacks.started = SimpleQueue()  # without a late answer to an earlier start
            reference = library.vmnet.vmnet_start_interface(description, queue, callbacks.start)
        try:
            seconds = _START_SECONDS if reference else _NO_REFERENCE_SECONDS
            code, started = callbacks.started.get(timeout=seconds)
        except Empty:
            if reference:
                raise SystemFailureError(
                    f"vmnet did not answer in {_START_SECONDS:.0f} s", hint="try again"
                ) from None
            code, started = ReturnCode.VMNET_FAILURE, _Parameters()
        if code != ReturnCode.VMNET_SUCCESS or not reference:
            refusal = VmnetError("vmnet_start_interface", code)
            tried = f"start a vmnet interface in {options.mode} mode"
            raise explain(tried, refusal, root=os.geteuid() == 0)
        interface = VmnetInterface(
            library, callbacks, reference, queue, options=options, started=started
        )
        undo.pop_all()
    return interface


def _check_bridge(library: Library, interface: str) -> None:
    names = library.shared_interfaces()
    if names and interface not in names:
        raise DeviceError(
            f"vmnet cannot bridge to {interface}", hint=f"it offers {', '.join(names)}"
        )


def _describe(library: Library, description: int, options: VmnetOptions, mtu: int | None) -> None:
    """Fill the dictionary with the options of the interface."""
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
        raise DeviceError(f"this macOS has no vmnet_{name}_key", hint="leave that option out")
    return key


def _read(library: Library, dictionary: int) -> _Parameters:
    """Copy the parameters of the started interface."""
    get_text = library.system.xpc_dictionary_get_string
    get_number = library.system.xpc_dictionary_get_uint64

    values: dict[str, Any] = {}
    for name, absent in _Parameters._field_defaults.items():
        key = library.key(name)
        if key and isinstance(absent, str):
            values[name] = (get_text(dictionary, key) or b"").decode("ascii", "replace")
        elif key:
            values[name] = int(get_number(dictionary, key))
    return _Parameters()._replace(**values)


def _host_interface(address: str) -> str | None:
    """Return the interface of this Mac that has the address. vmnet does not tell, nor when."""
    deadline = time.monotonic() + _ADDRESS_SECONDS
    with suppress(OSError):
        while address:
            found = interface_with(IPv4Address(address))
            if found or time.monotonic() > deadline:
                return found
            time.sleep(_ADDRESS_PAUSE_SECONDS)
    return None


def _drain(library: Library, queue: int) -> None:
    """Release a queue when nothing on it runs any more, not even the return from Python."""
    nothing = ctypes.cast(library.system.free, ctypes.c_void_p)
    library.system.dispatch_sync_f(queue, None, nothing)
    library.system.dispatch_release(queue)


class VmnetInterface:
    """A running interface, which :func:`start_interface` made.

    ``mac`` is 6 bytes, ``mtu`` in bytes. Close it in the process that started it.
    """

    def __init__(
        self,
        library: Library,
        callbacks: _Callbacks,
        reference: int,
        queue: int,
        *,
        options: VmnetOptions,
        started: _Parameters,
    ) -> None:
        self.mac = _parse_mac(started.mac_address)
        self.mtu = started.mtu or started.max_packet_size - HEADER_LENGTH
        self.facts = VmnetFacts(
            mode=options.mode,
            max_packet=started.max_packet_size or started.mtu + HEADER_LENGTH,
            start_address=started.start_address or None,
            end_address=started.end_address or None,
            subnet_mask=started.subnet_mask or None,
            host_interface=options.interface or _host_interface(started.start_address),
        )
        self._library = library
        self._callbacks = callbacks
        self._reference = reference
        self._queue = queue
        self._longest = self.facts.max_packet
        self._read = _Batch(_limit(started.read_max_packets, self._longest), self._longest)
        self._write = _Batch(_limit(started.write_max_packets), size=MOST_BYTES)
        self._wakeup, callbacks.wakeup = os.pipe()
        for descriptor in (self._wakeup, callbacks.wakeup):
            os.set_blocking(descriptor, False)
        library.vmnet.vmnet_interface_set_event_callback(
            reference, VMNET_INTERFACE_PACKETS_AVAILABLE, queue, callbacks.event
        )
        callbacks.wake()  # frames may have come before the callback was set

    def fileno(self) -> int:
        """Return the descriptor, which is readable while frames may wait."""
        return self._wakeup

    def read_frames(self) -> list[memoryview]:
        """Return the frames of one batch, [] if there are none. The next read overwrites them.

        Raises VmnetError if the interface is of no more use.
        """
        with suppress(BlockingIOError):
            while len(os.read(self._wakeup, _CHUNK)) == _CHUNK:
                pass
        batch = self._read
        batch.renew()
        count = ctypes.c_int(batch.most)
        code = self._library.vmnet.vmnet_read(self._reference, batch.address, ctypes.byref(count))
        if code in _FATAL:
            raise VmnetError("vmnet_read", code)
        if code != ReturnCode.VMNET_SUCCESS or not count.value:
            return []
        self._callbacks.wake()
        return batch.frames(count.value)

    def write_frames(self, frames: Sequence[bytes]) -> int:
        """Send frames in order, and return the number of frames that vmnet refused.

        Raises VmnetError if the interface is of no more use.
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
        """Stop the interface, in the only order that is safe. Safe to call twice.

        Raises SystemFailureError if vmnet does not stop. Then its threads may still run, so the
        process must end by os._exit, without ending the interpreter.
        """
        reference, self._reference = self._reference, 0
        if not reference:
            return
        vmnet, callbacks = self._library.vmnet, self._callbacks
        vmnet.vmnet_interface_set_event_callback(
            reference, VMNET_INTERFACE_PACKETS_AVAILABLE, None, None
        )
        callbacks.stopped.clear()
        code = vmnet.vmnet_stop_interface(reference, self._queue, callbacks.stop)
        if code != ReturnCode.VMNET_SUCCESS or not callbacks.stopped.wait(_STOP_SECONDS):
            raise SystemFailureError(
                f"vmnet does not stop: {VmnetError('vmnet_stop_interface', code)}"
            )
        _drain(self._library, self._queue)
        os.close(self._wakeup)
        os.close(callbacks.wakeup)
        self._wakeup = callbacks.wakeup = -1

    def _write_batch(self, batch: Sequence[bytes]) -> int:
        """Send frames that fit into one call, and return the number of frames sent."""
        self._write.fill(batch)
        sent = 0
        for pause in (*_PAUSES_SECONDS, None):
            count = ctypes.c_int(len(batch) - sent)
            start = self._write.address + sent * VMPKTDESC.size
            code = self._library.vmnet.vmnet_write(self._reference, start, ctypes.byref(count))
            if code in _FATAL:
                raise VmnetError("vmnet_write", code)
            if code == ReturnCode.VMNET_SUCCESS:
                sent += count.value
            elif code != ReturnCode.VMNET_BUFFER_EXHAUSTED:
                break
            if sent == len(batch) or pause is None:
                break
            time.sleep(pause)
        return sent


def _parse_mac(text: str) -> bytes:
    """Return a MAC of text whose bytes may have one digit only, like that of ether_ntoa(3)."""
    return bytes(int(byte, 16) for byte in text.split(":") if byte)


def _limit(told: int, size: int = 1) -> int:
    """Return the number of frames of this size that one call can move.

    ``told`` is the limit that vmnet tells, or 0.
    """
    most = max(1, min(MOST_FRAMES, MOST_BYTES // size))
    return min(most, told) if told else most


class _Batch:
    """The struct vmpktdesc of all frames that one call moves, and the memory of the frames."""

    def __init__(self, most: int, longest: int = 0, *, size: int = 0) -> None:
        """Make room for ``size`` bytes of frames, or for ``most`` of the longest frames."""
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
        """Set the size in every struct vmpktdesc back to the room for its frame."""
        self._descriptors[:] = self._fresh

    def frames(self, count: int) -> list[memoryview]:
        """Return the frames that a read put into the first ``count`` places."""
        view = self._view
        sizes = self._words[: 3 * count : 3].tolist()
        return [view[start : start + size] for start, size in zip(self._starts, sizes)]

    def fill(self, frames: Sequence[bytes]) -> None:
        """Put these frames into the memory, one behind the other."""
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
