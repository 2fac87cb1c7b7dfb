"""Notice that two networks are joined in a ring, in which a broadcast frame never ends.

In a ring, a frame that we sent into the network of our device comes out of it again, as it has
gone around; or one that came from there comes back from the other end. Without a ring that never
happens: neither a bridge nor a kernel returns a frame to where it came from. To look for such
frames costs time, so it is done only when many frames pass in both directions, and not for long if
few of them are broadcast or multicast.
"""

from __future__ import annotations

from collections.abc import Sequence

from .frame import Frame

SUSPICIOUS = 200
"""Frames per second, in each direction."""
LIMIT = 50
"""Broadcast and multicast frames per second that are passed on while there is a ring."""
QUIET_SECONDS = 3.0
"""Seconds without a frame that came back, after which the ring is gone."""

_PROOF = 10
"""Frames that came back. A few do when a station moves from one network to the other."""
_UNICAST_BATCHES = 16
_KEY = 64
_MOST_KEYS = 1 << 13
_ETHER_TYPE = bytes.fromhex("88b5")  # IEEE 802: local experimental
_PROBE_LENGTH = 60


class RingWatch:
    """Decides whether there is a ring, and what passes meanwhile. Times are in seconds.

    ``nonce`` (16 bytes) tells our probe from those of others. In all calls, ``skip`` is the length
    of the header in front of each frame.
    """

    def __init__(self, nonce: bytes, mac: bytes) -> None:
        frame = b"\xff" * 6 + mac + _ETHER_TYPE + b"fethpipe ring" + nonce
        self.probe = frame.ljust(_PROBE_LENGTH, b"\0")
        self.looking = False
        self.ring = False
        self._written: dict[bytes, int] = {}  # to the device, and not from it before
        self._read: dict[bytes, int] = {}  # both: the tick before they came last
        self._ticks = 0
        self._returned = 0
        self._unicast = 0
        self._seen_at = 0.0
        self._now = 0.0
        self._tokens = 0.0
        self._passed = (0, 0)

    def tick(self, now: float, received: int, sent: int) -> bool:
        """Decide, about once a second, from the frames that came from the device and went to it
        until now. Return whether a ring has just appeared, or is gone: ``ring`` tells.
        """
        elapsed, self._now = now - self._now, now
        self._ticks += 1
        rate = min(received - self._passed[0], sent - self._passed[1]) / max(elapsed, 0.001)
        self._passed = received, sent
        before = self.ring
        if self._returned >= (1 if before else _PROOF):
            self._seen_at = now
            self.ring = True
        elif before:
            self.ring = now - self._seen_at < QUIET_SECONDS
        self._returned = self._unicast = 0
        self._tokens = LIMIT * min(elapsed, 1.0)
        self.looking = self.ring or rate >= SUSPICIOUS
        if not self.looking or self.ring != before:  # before, both have all that goes around
            self._written.clear()
            self._read.clear()
        return self.ring != before

    def to_device(self, frames: Sequence[Frame], skip: int) -> Sequence[Frame]:
        """Return those frames that go on to the device: while there is a ring, none that came
        from it before. Our own probe never does.
        """
        keys = [bytes(frame[skip : skip + _KEY]) for frame in frames]
        probe = self.probe[:_KEY]
        came_back = [key in self._read or key == probe for key in keys]
        self._returned += sum(came_back)
        if self.ring:
            frames = [frame for frame, back in zip(frames, came_back) if not back]
            keys = [key for key, back in zip(keys, came_back) if not back]
        self._note(keys, self._written)
        return frames

    def from_device(self, frames: Sequence[Frame], skip: int) -> list[Frame]:
        """Return those frames that go on: while there is a ring, none that came back, and few
        broadcast and multicast ones, each of them only once until the next tick.
        """
        keys = [bytes(frame[skip : skip + _KEY]) for frame in frames]
        self._returned += sum(key in self._written for key in keys)
        if not self.ring:
            self._count_unicast(keys)
            self._note(keys, self._read)
            return list(frames)
        passes = [self._passes(key) for key in keys]
        self._note([key for key, each in zip(keys, passes) if each], self._read)
        return [frame for frame, each in zip(frames, passes) if each]

    def _note(self, keys: Sequence[bytes], where: dict[bytes, int]) -> None:
        where.update((key, self._ticks) for key in keys if self.ring or key[0] & 1)
        while len(where) > _MOST_KEYS:
            del where[next(iter(where))]

    def _count_unicast(self, keys: Sequence[bytes]) -> None:
        """Look no further if the traffic is mostly unicast."""
        if 2 * sum(key[0] & 1 for key in keys) < len(keys):
            self._unicast += 1
            self.looking = self._unicast < _UNICAST_BATCHES

    def _passes(self, key: bytes) -> bool:
        if key in self._written:
            return False
        if key[0] & 1:
            if self._read.get(key) == self._ticks:  # it goes around the other way
                return False
            self._tokens -= 1
            return self._tokens >= 0
        return True
