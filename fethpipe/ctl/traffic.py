"""The verbs that move frames: show them, answer them, send them."""

from __future__ import annotations

import argparse
import logging
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timezone
from itertools import chain

from ..device.capture import Capture
from ..errors import DeviceError, UsageError, reason
from ..ether.describe import describe_frame
from ..ether.frame import HEADER_LENGTH
from ..ether.match import Match
from ..ether.pcap import FILE_HEADER, PcapDecoder, pack_records
from ..ether.responder import Responder, format_answer
from ..library.device import EthernetDevice
from ..library.opening import open_far_end, open_interface
from ..system.confinement import confine, empty_bounding_set
from ..system.descriptors import write_all
from ..system.parting import leave_terminal
from ..system.privileges import (
    acting_as,
    can_become,
    drop_privileges,
    nobody_account,
    person_behind_sudo,
)
from ..system.signals import STOPPING, SignalPipe

log = logging.getLogger("fethpipe")

_STDIN, _STDOUT = 0, 1
_CHUNK = 1 << 18
_LAST_SECONDS = 0.5
"""The longest time, in seconds, that the end of a capture goes on to write frames that the kernel
holds."""


def capture(options: argparse.Namespace) -> None:
    """Show or write the frames that pass through an interface, until a signal comes, or so many
    were shown.
    """
    match = Match(options.type, options.host, options.port)
    left = options.count
    with ExitStack() as stack:
        stop = _Stop(stack)
        device = stack.enter_context(open_interface(options.name, see_sent=True))
        show = _open_output(options.file, stack)
        log.info("listening on %s", device.name)
        for frames in chain(_batches(device, stop), _last_batches(device)):
            fitting = [frame for frame in frames if match.fits(frame)][:left]
            if fitting:
                show(fitting)
            if left is not None and not (left := left - len(fitting)):
                break
        passed, dropped = device.counters.frames_received, device.kernel_drops()
        log.info("%d frames, %d dropped by the kernel", passed, dropped)


def icmp(options: argparse.Namespace) -> None:
    """Answer requests for an address, until a signal comes."""
    responder = Responder(options.address, options.mac)
    with ExitStack() as stack:
        stop = _Stop(stack)
        device = stack.enter_context(open_far_end(options.name))
        _give_up_rights()
        print(
            f"listening on {device.name} as {responder.address} ({responder.mac.hex(':')})",
            flush=True,
        )
        for frames in _batches(device, stop):
            answers = [answer for answer in map(responder.answer, frames) if answer]
            device.send_batch([answer.frame for answer in answers])
            if answers and not options.quiet:
                print("\n".join(format_answer(each, responder) for each in answers), flush=True)


def inject(options: argparse.Namespace) -> None:
    """Send the frames of a pcap file."""
    sent = refused = skipped = 0
    with ExitStack() as stack:
        file = _open_input(options.file, stack)
        stop = _Stop(stack)
        device = stack.enter_context(open_far_end(options.name))
        _give_up_rights()
        decoder = PcapDecoder()
        try:
            while stop.wait_for(file) and (chunk := os.read(file, _CHUNK)):
                records = decoder.feed(chunk)
                frames = [each.frame for each in records if len(each.frame) >= each.length]
                frames = [frame for frame in frames if len(frame) >= HEADER_LENGTH]
                skipped += len(records) - len(frames)
                taken = device.send_batch(frames)
                sent += taken
                refused += len(frames) - taken
            if not stop.stopped:
                decoder.feed_eof()
        except ValueError as error:
            raise UsageError(f"cannot read {options.file}: {error}") from error
        except OSError as error:
            raise UsageError(f"cannot read {options.file}: {reason(error)}") from error
        why = ", ".join(f"{count} {text}" for text, count in device.counters.drops.items())
    print(f"sent {sent} frames" + (f", refused {refused}: {why}" if refused else ""))
    if skipped:
        log.warning("%d frames were not sent: they are incomplete in the file", skipped)


class _Stop:
    """Leave a terminal of somebody else's, and tell when it is time to stop: a signal has come, or
    the terminal has gone.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.stopped = False
        person = nobody_account()
        self._link = leave_terminal(person.uid, STOPPING) if can_become(person) else None
        self._signals = stack.enter_context(SignalPipe(STOPPING))
        self._watched = [self._signals.fileno()]
        if self._link:
            self._link.leave_session()
            self._watched.append(self._link.fileno())

    def wait_for(self, descriptor: int) -> bool:
        """Wait until a descriptor is readable; return False if it is time to stop."""
        while not self.stopped:
            readable, _, _ = select.select([descriptor, *self._watched], [], [])
            if self._link and self._link.fileno() in readable:
                self.stopped = not self._link.attend(self._signals)
            elif self._signals.fileno() in readable:
                self.stopped = True
            else:
                return True
        return False


def _batches(device: EthernetDevice, stop: _Stop) -> Iterator[list[bytes]]:
    """Yield frames in batches until it is time to stop."""
    while stop.wait_for(device.fileno()):
        if frames := device.receive_batch(timeout=0):
            yield frames


def _last_batches(device: EthernetDevice) -> Iterator[list[bytes]]:
    """Yield the frames that the kernel holds; not for ever, as more may come all the time."""
    deadline = time.monotonic() + _LAST_SECONDS
    with suppress(DeviceError):  # the capture ends anyway, because of the signal
        while select.select([device.fileno()], [], [], 0)[0] and time.monotonic() < deadline:
            if frames := device.receive_batch(timeout=0):
                yield frames


def _open_output(file: str | None, stack: ExitStack) -> Callable[[Sequence[bytes]], None]:
    """Return the function that takes captured frames. Afterwards this process is not root."""
    if file is None:
        time.tzset()  # reads a file, which later is not allowed
        _give_up_rights()
        return _print_frames
    if file == "-":
        if os.isatty(_STDOUT):
            raise UsageError(
                "stdout is a terminal, but pcap is binary data", hint="use -w FILE, or a pipe"
            )
        _give_up_rights()
        write_all(_STDOUT, FILE_HEADER)
        return lambda frames: write_all(_STDOUT, pack_records(frames, time.time_ns()))
    owner = person_behind_sudo(os.environ)
    with acting_as(owner if owner and can_become(owner) else None):
        target = stack.enter_context(closing(Capture(file, option="-w")))
    _give_up_rights()
    return target.record


def _print_frames(frames: Sequence[bytes]) -> None:
    now = datetime.now(timezone.utc).astimezone().strftime("%H:%M:%S.%f")
    print("\n".join(f"{now} {describe_frame(frame)}" for frame in frames), flush=True)


def _open_input(file: str, stack: ExitStack) -> int:
    if file == "-":
        return _STDIN
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {reason(error)}") from error
    stack.callback(os.close, descriptor)
    return descriptor


def _give_up_rights() -> None:
    """Keep nothing but what is open: what comes next handles bytes from other people."""
    person = nobody_account()
    if can_become(person):
        empty_bounding_set()
        drop_privileges(person)
    confine()
