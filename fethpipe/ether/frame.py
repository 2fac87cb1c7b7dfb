"""What a frame is: from the destination's MAC to the end of the payload, no check sequence."""

from __future__ import annotations

from typing import Union

HEADER_LENGTH = 14
"""Bytes of an Ethernet header; no frame is shorter."""

MAX_FRAME = 65535
"""The longest frame that 16 bits can announce. Longer ones exist on no device that we know."""

Buffer = Union[bytes, bytearray, memoryview]
"""A part of a frame."""

LONGEST_READ = 65600
"""More bytes than any that a kernel makes: its header, Ethernet, two VLAN tags, 65535 of IP."""
