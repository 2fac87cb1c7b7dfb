"""The form of a super-frame: a frame behind ``struct virtio_net_hdr``, little-endian, 10 bytes.

Source: Virtual I/O Device 1.2, section 5.1.6.
"""

from __future__ import annotations

import struct
from typing import Union

VNET = struct.Struct("<BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset"""

VNET_LENGTH = VNET.size

PLAIN = bytes(VNET_LENGTH)
"""The header of a frame with which nothing is left to do."""

NEEDS_CHECKSUM = 1
DATA_VALID = 2
TCP_IPV4, TCP_IPV6, UDP_SEGMENTS = 1, 4, 5
ECN = 0x80

SuperFrame = Union[bytes, memoryview]
"""A virtio header and a frame; a view where copying would cost."""

LONG = 1 << 12
"""From here on, to copy a super-frame costs more than what saves the copy."""
