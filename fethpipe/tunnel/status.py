"""The status line: the progress of a tunnel, as one line that fits into the terminal.

Rates are averages since the last call, ``out`` towards the peer and ``in`` towards the device. Of a
few forms, the longest one that fits is used, so a narrow terminal shows less, and never a wrapped
line.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from ..device import Device
from ..stats import Counters
from ..system.stderr import terminal

_WAITING = "waiting for the peer"

_FORMS = (
    "{name}: {peer} | out {out_bits}bit/s, {out_frames}frames/s"
    " | in {in_bits}bit/s, {in_frames}frames/s | {drops} dropped",
    "{name}: {peer} | out {out_bits}bit/s | in {in_bits}bit/s | {drops} dropped",
    "{name} {peer_in_short} {out_short}/{in_short} drop {drops}",
    "{name} {out_short}/{in_short} drop {drops}",
    "{out_short}/{in_short}",
)
_PREFIXES = ("", "k", "M", "G", "T")


class _Sample(NamedTuple):
    time: float
    frames_out: int
    bytes_out: int
    frames_in: int
    bytes_in: int


class Progress:
    """The progress of one tunnel: ``peer`` says in words what it is connected to, once it is."""

    def __init__(self, name: str, counters: Counters, now: float, peer: str = "") -> None:
        self.connected = False
        self._peer = f"connected {peer}".rstrip()
        self._name = name
        self._counters = counters
        self._last = self._sample(now)

    def format(self, now: float, *, kernel_drops: int, width: int) -> str:
        """Return the line, shorter than ``width`` columns; ``now`` in seconds of any clock."""
        last, self._last = self._last, self._sample(now)
        seconds = max(now - last.time, 1e-3)
        out_bits = scale(8 * (self._last.bytes_out - last.bytes_out) / seconds)
        in_bits = scale(8 * (self._last.bytes_in - last.bytes_in) / seconds)
        fields = {
            "name": self._name,
            "peer": self._peer if self.connected else _WAITING,
            "peer_in_short": "connected" if self.connected else "waiting",
            "out_bits": out_bits,
            "out_short": out_bits.replace(" ", ""),
            "out_frames": scale((self._last.frames_out - last.frames_out) / seconds),
            "in_bits": in_bits,
            "in_short": in_bits.replace(" ", ""),
            "in_frames": scale((self._last.frames_in - last.frames_in) / seconds),
            "drops": sum(self._counters.drops.values()) + kernel_drops,
        }
        lines = [form.format(**fields) for form in _FORMS]
        known = self._counters.describe_line()
        # The fewer words there are for the line, the shorter is the rest.
        lines = [
            f"{rest} | {words}"
            for index, words in enumerate(known)
            for rest in lines[index : index + 2]
        ] + lines
        # The last column stays empty: some terminals wrap as soon as it is written.
        return next((line for line in lines if len(line) < width), lines[-1][: max(0, width - 1)])

    def _sample(self, now: float) -> _Sample:
        counters = self._counters
        return _Sample(
            now,
            counters.frames_received,
            counters.bytes_received,
            counters.frames_sent,
            counters.bytes_sent,
        )


def scale(number: float) -> str:
    """Return a number with three digits and the metric prefix of its unit: ``1.23 M``."""
    prefix = ""
    for prefix in _PREFIXES:  # noqa: B007 - the one that it ends with
        if number < 999.5:
            break
        number /= 1000
    else:
        number *= 1000
    digits = 0 if not prefix or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {prefix}"


class StatusLine:
    """The status line of one tunnel, on the terminal."""

    def __init__(self, device: Device, peer: str) -> None:
        self._device = device
        self.progress = Progress(device.name, device.counters, time.monotonic(), peer)

    def redraw(self) -> None:
        """Draw the line, if the terminal can show it now."""
        width = terminal.width()
        if width:
            drops = self._device.kernel_drops()
            terminal.show(self.progress.format(time.monotonic(), kernel_drops=drops, width=width))

    def count_down(self, seconds: float) -> None:
        """Draw in how many seconds COMMAND or ssh is started again; erase the line at 0."""
        if seconds <= 0:
            self.erase()
        width = terminal.width()
        if width and seconds > 0:
            line = f"{self._device.name}: waiting, starting again in {seconds:.0f} s"
            terminal.show(line[: width - 1])

    def erase(self) -> None:
        terminal.erase()
