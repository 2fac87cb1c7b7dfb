"""The format of a super-frame: ``struct virtio_net_hdr``, little-endian, 10 bytes, then a frame.

Source: Virtual I/O Device 1.2, section 5.1.6.
"""

from __future__ import annotations

import struct
from typing import Union

VNET = struct.Struct("<BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset"""

VNET_LENGTH = VNET.size

PLAIN = bytes(VNET_LENGTH)
"""The header of a frame that leaves no work to do."""

NEEDS_CHECKSUM = 1
DATA_VALID = 2
TCP_IPV4, TCP_IPV6, UDP_SEGMENTS = 1, 4, 5
ECN = 0x80

SuperFrame = Union[bytes, memoryview]
"""A virtio header and a frame. It is a view where a copy would cost time."""

LONG = 1 << 12
"""From this length on, in bytes, copying a super-frame costs more than avoiding the copy."""
