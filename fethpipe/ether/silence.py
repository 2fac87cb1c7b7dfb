"""Notice that a network does not answer a station of another MAC that was put into it.

A Wi-Fi station may use its own MAC only, and so may most machines in clouds. A bridge over such an
interface sends the frames of others out, and no answer comes back. So whoever asks for an address
or for a MAC asks again and again.
"""

from __future__ import annotations

from collections.abc import Sequence

from .describe import find_payload

SECONDS = 10.0
"""How long an answer may take."""
ASKED = 3
"""Times that one question is asked. What is answered somewhere else is not asked so often."""
FIRST_FRAMES = 1000
"""In both directions. What comes later is not looked at, whatever it is."""

_LOCAL_BIT = 0x02
"""IEEE 802: of a MAC that no manufacturer gave, as fethpipe's devices have by default."""
_ARP, _IPV4 = 0x0806, 0x0800
_ARP_REQUEST = bytes.fromhex("0001080006040001")  # RFC 826
_UDP = 17
_TO_SERVER, _TO_CLIENT = bytes.fromhex("00440043"), bytes.fromhex("00430044")  # RFC 2131: ports
_LONGEST_HEADERS = 200  # with tags and options, and the MAC of the client
_CLIENT_MAC = slice(8 + 28, 8 + 28 + 6)


class SilenceWatch:
    """Decides whether the network of a device answers the station at the other end of a tunnel.

    Whoever calls it stops when ``looking`` is False. In all calls, ``skip`` is the length of the
    header in front of each frame, and times are in seconds.
    """

    def __init__(self, *, looking: bool) -> None:
        self.looking = looking
        self.station = b""
        """The MAC of the station, empty before its first frame."""
        self._asked: dict[bytes, int] = {}
        self._since: float | None = None
        self._left = FIRST_FRAMES

    def tick(self, now: float) -> bool:
        """Return whether there is no answer: once, and then it no longer looks."""
        if not self.looking or not self._asked:
            return False
        if self._since is None:
            self._since = now
        if now - self._since < SECONDS or max(self._asked.values()) < ASKED:
            return False
        self.looking = False
        return True

    def to_device(self, frames: Sequence[bytes | memoryview], skip: int) -> None:
        """Look at frames for questions."""
        self._count(len(frames))
        for each in frames:
            frame = bytes(each[skip : skip + _LONGEST_HEADERS])
            self.station = self.station or frame[6:12]
            # Several stations, or one of a network card, are a network, in which others may answer.
            if frame[6:12] != self.station or not frame[6] & _LOCAL_BIT:
                self.looking = False
            question = _question(frame)
            if question:
                self._asked[question] = self._asked.get(question, 0) + 1

    def from_device(self, frames: Sequence[bytes], skip: int) -> None:
        """Look at frames for answers."""
        self._count(len(frames))
        if self._asked and any(self._is_answer(frame[skip:]) for frame in frames):
            self.looking = False

    def _is_answer(self, frame: bytes) -> bool:
        if frame[:6] == self.station:
            return True
        return _dhcp(frame, _TO_CLIENT)[_CLIENT_MAC] == self.station  # by broadcast

    def _count(self, frames: int) -> None:
        self._left -= frames
        if self._left < 0:
            self.looking = False


def _question(frame: bytes) -> bytes:
    """Return what tells a request for an address or a MAC from others, empty if it is none.

    Whoever asks whether anybody else has his own address hopes for no answer (RFC 5227).
    """
    kind, start, _ = find_payload(frame)
    if kind == _ARP and frame.startswith(_ARP_REQUEST, start):
        sender, target = frame[start + 14 : start + 18], frame[start + 24 : start + 28]
        return target if any(sender) and sender != target else b""
    return _dhcp(frame, _TO_SERVER) and b"DHCP"


def _dhcp(frame: bytes, ports: bytes) -> bytes:
    """Return the UDP datagram of a frame, empty if it has none with these ports."""
    kind, start, _ = find_payload(frame)
    packet = frame[start:]
    if kind != _IPV4 or packet[9:10] != bytes((_UDP,)):
        return b""
    datagram = packet[4 * (packet[0] & 0xF) :]
    return datagram if datagram.startswith(ports) else b""
