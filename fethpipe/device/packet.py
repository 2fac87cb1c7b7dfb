"""AF_PACKET: use any Ethernet interface of Linux, beside its own IP stack (packet(7)).

It receives what comes in from the wire, which the IP stack receives too, and sends to the wire. The
kernel takes the VLAN tag out of a frame and passes it separately; here it is put back.
"""

from __future__ import annotations

import errno
import fcntl
import socket

from ..abi import linux
from ..errors import DeviceError
from ..ether.frame import MAX_FRAME
from ..stats import Counters
from ..wire.slots import LONGEST_READ
from .writer import FrameWriter, gone

_BATCH_FRAMES = 64
_RECEIVE_BUFFER = 4 << 20  # bytes, if the kernel allows so many
_ANCILLARY_SIZE = socket.CMSG_SPACE(linux.AUXDATA_SIZE)
_TAG_OFFSET = 12


def open_packet(interface: str) -> int:
    """Return the descriptor of a packet socket that is bound to an interface. Needs root.

    Raises OSError, or DeviceError if it is not an Ethernet interface.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        packets.setblocking(False)
        packets.setsockopt(linux.SOL_PACKET, linux.PACKET_AUXDATA, 1)
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        packets.bind((interface, linux.ETH_P_ALL))
        hardware = packets.getsockname()[3]
        if hardware != linux.ARPHRD_ETHER:  # loopback has such headers, but no other end
            raise DeviceError(f"cannot use {interface}: it is not an Ethernet interface")
        promiscuous = linux.pack_promiscuous(socket.if_nametoindex(interface))
        packets.setsockopt(linux.SOL_PACKET, linux.PACKET_ADD_MEMBERSHIP, promiscuous)
        return packets.detach()


class PacketDevice:
    """An interface, from a descriptor of :func:`open_packet`.

    With ``see_sent``, it also receives what this machine sends there, but not what we send.
    """

    def __init__(self, descriptor: int, name: str, *, see_sent: bool = False) -> None:
        self.name = name
        self.counters = Counters()
        self.frame_limit = MAX_FRAME
        self.offload = None
        self._socket = socket.socket(fileno=descriptor)
        self._index = socket.if_nametoindex(name)
        self._see_sent = see_sent
        self._kernel_drops = 0
        writer = FrameWriter(descriptor, name, self.counters, kind="AF_PACKET")
        self.write_frames = writer.write_frames
        self.write_vectored = writer.write_vectored

    def fileno(self) -> int:
        return self._socket.fileno()

    def read_frames(self) -> list[bytes]:
        frames: list[bytes] = []
        receive = self._socket.recvmsg
        try:
            for _ in range(_BATCH_FRAMES):
                frame, ancillary, _, address = receive(LONGEST_READ, _ANCILLARY_SIZE)
                if address[2] == linux.PACKET_OUTGOING and not self._see_sent:
                    continue
                tag = linux.unpack_vlan_tag(ancillary[0][2]) if ancillary else b""
                if tag:
                    frame = frame[:_TAG_OFFSET] + tag + frame[_TAG_OFFSET:]
                frames.append(frame)
        except BlockingIOError:
            pass
        except OSError as error:
            self._check(error)
        self.counters.frames_received += len(frames)
        self.counters.bytes_received += sum(map(len, frames))
        return frames

    def kernel_drops(self) -> int:
        """Return the number of frames that the socket had no room for."""
        statistics = self._socket.getsockopt(
            linux.SOL_PACKET, linux.PACKET_STATISTICS, linux.PACKET_STATISTICS_SIZE
        )
        self._kernel_drops += linux.unpack_packet_drops(statistics)  # since the last call
        return self._kernel_drops

    def close(self) -> None:
        self._socket.close()

    def _check(self, error: OSError) -> None:
        """Raise DeviceError, unless the interface exists and is just down: it may come up again."""
        try:
            # Not if_nametoindex(3), which makes a socket: a confined process can make none.
            request = linux.pack_index_request(self._index)
            answer = fcntl.ioctl(self._socket, linux.SIOCGIFNAME, request)
            there = linux.unpack_request_name(answer) == self.name
        except OSError:
            there = False
        if error.errno != errno.ENETDOWN or not there:
            raise gone(self.name, error) from error
