"""The process of a vmnet interface, started as a program of its own.

Descriptor 0 is a channel to the process that started it. It gets one request, with the options and
the descriptor of the cable, and answers with the facts of the interface or an error. From then on
it moves frames between the interface and the cable, and does nothing else. As soon as the interface
runs, it becomes ``nobody`` for good, and is confined as far as vmnet allows. When the other end of
the channel or of the cable is closed, the interface and the process end.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from select import select
from typing import NoReturn, cast

from ..errors import FethpipeError, SystemFailureError
from ..provision.request import VmnetOptions
from ..system.channel import Channel, ChannelClosedError, pack_error
from ..system.child import end_with
from ..system.confinement import confine
from ..system.privileges import can_become, drop_privileges, nobody_account
from ..system.stderr import configure_messages, only_write_terminal
from ..wire.framing import RecordDecoder
from .cable import CABLE, NOTE
from .interface import VmnetInterface, start_interface
from .refusals import VmnetError

log = logging.getLogger("fethpipe")

_READ_SIZE = 1 << 17
_BATCHES = 4  # before the other direction gets its turn


def main() -> NoReturn:
    """Run one interface, and end the process by os._exit, without ending the interpreter.

    A thread of vmnet may be about to enter Python. If the interpreter ended then, Darwin would
    abort the process.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    only_write_terminal()
    configure_messages(logging.WARNING)
    end_with("the process of the vmnet interface", lambda: _serve(Channel(socket.socket(fileno=0))))


def _serve(control: Channel) -> None:
    with suppress(ChannelClosedError), ExitStack() as stack:
        message, (descriptor,) = control.receive(descriptors=True)
        cable = stack.enter_context(socket.socket(fileno=descriptor))
        try:
            nobody = nobody_account()
            identifier = message["identifier"]
            interface = start_interface(
                VmnetOptions(**message["options"]),
                message["mtu"],
                bytes.fromhex(identifier) if identifier else None,
            )
            stack.enter_context(closing(interface))
            if can_become(nobody):
                drop_privileges(nobody._replace(groups=(nobody.gid,)))
            confine(framework=True)
        except FethpipeError as error:
            control.send(pack_error(error))
            return
        facts = interface.facts._asdict()
        control.send({"mac": interface.mac.hex(), "mtu": interface.mtu, "facts": facts})
        _Shuttle(interface, cable, control).run()


class _Shuttle:
    """Moves frames from the interface to the cable, and from the cable to the interface.

    While the cable is full, the interface is not read: vmnet drops what it cannot queue, as
    Ethernet does. Frames from the cable are always read at once.
    """

    def __init__(self, interface: VmnetInterface, cable: socket.socket, control: Channel) -> None:
        self._interface = interface
        self._cable = cable
        self._control = control
        self._decoder = RecordDecoder(CABLE)
        self._pending = b""
        self._refused = 0

    def run(self) -> None:
        """Move frames until the cable or the channel is closed."""
        bytes(1 << 22)  # glibc then keeps the memory of a batch for the next one (mallopt(3))
        cable, control, interface = self._cable, self._control, self._interface
        always: list[Channel | socket.socket | VmnetInterface] = [control, cable]
        with_interface = [*always, interface]
        try:
            while True:
                reading = always if self._pending else with_interface
                readable, writable, _ = select(reading, [cable] if self._pending else [], [])
                if control in readable:
                    return
                if writable:
                    self._send(b"")
                if interface in readable:
                    self._forward()
                if cable in readable and not self._receive():
                    return
        except (BrokenPipeError, ConnectionResetError):
            return  # the pump has gone
        except VmnetError as error:
            raise SystemFailureError(f"the vmnet interface failed: {error}") from error

    def _forward(self) -> None:
        for _ in range(_BATCHES):
            frames = self._interface.read_frames()
            if not frames:
                return
            # Views are as good as bytes here, for they are joined.
            self._send(CABLE.encode(cast("list[bytes]", frames)))
            if self._pending:
                return

    def _receive(self) -> bool:
        """Write the frames that the pump has sent. Return whether more can come."""
        data = self._cable.recv(_READ_SIZE)
        frames: Sequence[bytes] = self._decoder.feed(data)
        if frames:
            self._refused += self._interface.write_frames(frames)
        if self._refused and not self._pending:
            note, self._refused = self._refused, 0
            self._send(CABLE.encode_one(NOTE.pack(note)))
        return bool(data)

    def _send(self, data: bytes) -> None:
        """Send pending data and then this. What the cable does not take stays pending."""
        data = self._pending + data
        try:
            self._pending = data[self._cable.send(data) :]
        except BlockingIOError:
            self._pending = data
