"""Records of one length in a row, for payloads that are read right into their places.

The frames of bulk traffic are mostly as long as each other. A device that gives one with each call
can put them where their records have room for them, and nothing is copied, cut or joined any more.
"""

from __future__ import annotations

LONGEST_READ = 65600
"""More bytes than any that a kernel makes: its header, Ethernet, two VLAN tags, 65535 of IP."""

# A batch ends here so that the other direction gets its turn, and its frames are still in the
# processor's cache when they are sent.
BATCH_FRAMES = 128
BATCH_BYTES = 1 << 15


class RecordSlots:
    """A row of records whose payloads are ``length`` bytes, all of them to be filled in.

    ``prefix`` is what goes before each payload, its encoded length.
    ``skipped`` is how many bytes come before each payload that belong to no record.
    ``buffers`` holds, for each record, what readv(2) is to fill: room for what is skipped, if
    anything is, the payload, and room for what a longer one has beyond it, shared by all.
    """

    def __init__(self, prefix: bytes, length: int, *, skipped: int = 0) -> None:
        count = max(2, min(BATCH_FRAMES, BATCH_BYTES // length))
        self.length = length
        self.skipped = skipped
        self._stride = len(prefix) + length
        self._records = memoryview(bytearray((prefix + bytes(length)) * count))
        self._skipped = bytearray(skipped * count)
        self._beyond = bytearray(LONGEST_READ)
        heads = memoryview(self._skipped)
        self.buffers: list[list[bytearray | memoryview]] = []
        for index in range(count):
            stop = (index + 1) * self._stride
            payload = self._records[stop - length : stop]
            head = [heads[index * skipped : (index + 1) * skipped]] if skipped else []
            self.buffers.append([*head, payload, self._beyond])

    def records(self, count: int) -> memoryview:
        """Return the first records, which the next payloads will overwrite."""
        return self._records[: count * self._stride]

    def skipped_bytes(self, count: int) -> bytes:
        """Return what was skipped before each of the first payloads, in a row."""
        return bytes(self._skipped[: count * self.skipped])

    def packet(self, index: int, size: int) -> bytes:
        """Return the ``size`` bytes that were read there, what is skipped included.

        What is beyond the payload's length is that of the last one that was read.
        """
        *near, beyond = self.buffers[index]
        return b"".join((*near, beyond[: max(0, size - self.skipped - self.length)]))[:size]

    def payload(self, index: int) -> bytes:
        """Return a payload that was filled in."""
        stop = (index + 1) * self._stride
        return bytes(self._records[stop - self.length : stop])
