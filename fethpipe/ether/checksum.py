"""The checksum of the Internet protocols (RFC 1071)."""

from __future__ import annotations


def ones_sum(data: bytes | bytearray) -> int:
    """Return the ones' complement sum of the 16-bit words (big-endian), padded with a zero byte.

    A number made of 16-bit digits is congruent to their sum, modulo 2**16 - 1, and Python divides
    one long number faster than it adds many short ones.
    """
    number = int.from_bytes(data, "big") << 8 * (len(data) % 2)
    return number % 0xFFFF or (0xFFFF if number else 0)


def checksum(data: bytes | bytearray) -> int:
    """Return the checksum of the data. It is 0 if the data contains its own correct checksum."""
    return 0xFFFF - ones_sum(data)
