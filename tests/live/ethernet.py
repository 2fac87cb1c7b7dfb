"""Test frames, and packet sockets that send and receive them."""

from __future__ import annotations

import socket
import struct

from tests.closing import Closing
from tests.live.netns import Namespace, readable

BROADCAST = b"\xff" * 6
SOURCE = bytes.fromhex("02005e0053fe")
TEST_TYPE = 0x88B6
"""EtherType of all test frames: IEEE local experimental 2. What else passes is not looked at."""

_FILLER = bytes(range(256)) * 300  # longer than any frame

_ETH_P_ALL = 3
# <linux/if_packet.h>: the kernel takes VLAN tags out of frames, and returns them as ancillary data
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_OUTGOING = 263, 8, 4
_AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_TP_STATUS_VLAN_VALID, _TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
_LARGEST = 1 << 16


def make_frame(
    number: int, *, size: int = 60, destination: bytes = BROADCAST, tag: bytes = b""
) -> bytes:
    """Return a frame of ``size`` bytes that carries a number; ``tag`` is the 4 bytes of a VLAN."""
    head = destination + SOURCE + tag + struct.pack("!HI", TEST_TYPE, number)
    start = number % 251
    return head + _FILLER[start : start + size - len(head)]


def is_test_frame(frame: bytes) -> bool:
    """Return whether a frame is one that :func:`make_frame` made."""
    return TEST_TYPE.to_bytes(2, "big") in (frame[12:14], frame[16:18])


def frame_number(frame: bytes) -> int:
    """Return the number that a test frame without a tag carries."""
    return int.from_bytes(frame[14:18], "big")


class PacketSocket(Closing):
    """An AF_PACKET socket bound to one interface; it returns only test frames."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((interface, _ETH_P_ALL))

    def send(self, frame: bytes) -> None:
        """Send a frame out of the interface."""
        self._socket.send(frame)

    def receive(self) -> bytes:
        """Return the next test frame that came in, its VLAN tag back in its place."""
        while True:
            data, ancillary, _, address = self._socket.recvmsg(
                _LARGEST, socket.CMSG_SPACE(_AUXDATA.size)
            )
            if address[2] == _PACKET_OUTGOING:
                continue
            frame = _with_tag(data, ancillary[0][2])
            if is_test_frame(frame):
                return frame

    def comes(self, seconds: float) -> bool:
        """Return whether any frame comes in this time."""
        return readable(self._socket, seconds)

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()


def _with_tag(data: bytes, auxdata: bytes) -> bytes:
    status, _, _, _, _, control, protocol = _AUXDATA.unpack(auxdata)
    if not status & _TP_STATUS_VLAN_VALID:
        return data
    assert status & _TP_STATUS_VLAN_TPID_VALID
    return data[:12] + struct.pack("!HH", protocol, control) + data[12:]
