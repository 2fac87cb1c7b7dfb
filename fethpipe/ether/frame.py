"""What a frame is: the bytes from the destination MAC to the end of the payload, without the frame
check sequence.
"""

from __future__ import annotations

from typing import TypeVar, Union

HEADER_LENGTH = 14
"""The length of an Ethernet header, in bytes. No frame is shorter."""

MAX_FRAME = 65535
"""The longest frame, in bytes: what 16 bits can announce. No known device has longer ones."""

Buffer = Union[bytes, bytearray, memoryview]
"""A frame, or a part of one."""

Frame = TypeVar("Frame", bound=Union[bytes, memoryview])
"""A frame, of a batch that is either all bytes or all views."""


def can_be_sent(length: int, limit: int) -> bool:
    """Return whether a device whose longest frame has ``limit`` bytes may be given a frame of this
    length, in bytes.

    No other frame may reach a kernel: a shorter one panics a Mac, and a longer one stops a feth
    for good before macOS 15.
    """
    return HEADER_LENGTH <= length <= limit
