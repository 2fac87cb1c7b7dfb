"""A row of records of one length, into which payloads are read directly.

The frames of bulk traffic mostly have the same length. A device that returns one frame by each call
can write them into their records, so that nothing is copied, cut or joined.
"""

from __future__ import annotations

LONGEST_READ = 65600
"""More bytes than any that a kernel makes: its header, Ethernet, two VLAN tags, 65535 of IP."""

# The limits of a batch, in frames and bytes. It ends here so that the other direction gets its
# turn, and the frames are still in the processor's cache when they are sent.
BATCH_FRAMES = 128
BATCH_BYTES = 1 << 15


class RecordSlots:
    """A row of records with room for payloads of ``length`` bytes.

    ``prefix`` is the encoded length before each payload. ``skipped`` is the number of bytes that
    the device puts before each payload and that do not belong to the record. ``buffers`` has the
    buffers for readv(2) for each record: one for the skipped bytes, if there are any, one for the
    payload, and one for the rest of a longer payload, which all records share.
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
        """Return the first ``count`` records. The next payloads will overwrite them."""
        return self._records[: count * self._stride]

    def skipped_bytes(self, count: int) -> bytes:
        """Return the skipped bytes before each of the first payloads, one behind the other."""
        return bytes(self._skipped[: count * self.skipped])

    def packet(self, index: int, size: int) -> bytes:
        """Return the ``size`` bytes that were read there, what is skipped included.

        What is beyond the payload's length is that of the last one that was read.
        """
        *near, beyond = self.buffers[index]
        return b"".join((*near, beyond[: max(0, size - self.skipped - self.length)]))[:size]
