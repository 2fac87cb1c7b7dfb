"""Darwin: interface requests, feth, BPF and AF_NDRV as numbers and layouts.

All layouts are 64-bit and little-endian, like every Mac with a supported macOS. The numbers are
from the headers of XNU, which are named beside them. Functions that pack the name of an interface
raise ValueError if it is too long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from typing import NamedTuple

# net/if.h
IFNAMSIZ = 16
# net/if_var_private.h: IF_MAXUNIT
IF_MAXUNIT = 32767
# net/if_fake_var.h
IF_FAKE_S_CMD_SET_PEER = 1
IF_FAKE_G_CMD_GET_PEER = 1
# net/if_bridgevar.h
BRDGADD = 0
MAX_MTU_SYSCTL = "net.link.fake.max_mtu"
# Read when a feth is made (bsd/net/if_fake.c: feth_clone_create). 0 on a Mac where nobody has set
# them; otherwise a feth leaves checksums out, joins segments, or adds bytes to its frames.
FETH_SETTINGS = tuple(
    f"net.link.fake.{name}"
    for name in ("hwcsum", "tso_support", "lro", "fcs", "trailer_length", "separate_frame_header")
)
# net/if_fake.c: IF_MINMTU, FETH_MAX_MTU_MAX
FETH_MTU = range(72, 16370 + 1)
# The longest frame, in bytes. Before macOS 15 a longer one is never sent, and no frame after it
# (copy_mbuf and feth_start): so with VLANs no MTU above 16366 is safe.
FETH_FRAME_LIMIT = 16384
# sys/socket.h
AF_INET = 2
AF_ROUTE = 17
AF_LINK = 18
AF_NDRV = 27
AF_INET6 = 30
# net/route.h
RTM_VERSION = 5
RTM_ADD = 1
RTM_DELETE = 2
RTF_UP = 0x1
RTF_GATEWAY = 0x2
RTF_STATIC = 0x800
RTA_DST = 0x1
RTA_GATEWAY = 0x2
RTA_NETMASK = 0x4
# netinet6/nd6.h
ND6_INFINITE_LIFETIME = 0xFFFFFFFF
# net/if_media.h
IFM_AVALID = 0x1
IFM_ACTIVE = 0x2
# net/bpf.h: BPF_ALIGNMENT is sizeof(int32_t)
BPF_ALIGNMENT = 4
# net/bpf.c: bpf_maxdevices
BPF_MAXDEVICES = 256


class InterfaceFlag(IntFlag):
    """The flags of net/if.h. Linux has other bits for some of them."""

    IFF_UP = 0x1
    IFF_BROADCAST = 0x2
    IFF_DEBUG = 0x4
    IFF_LOOPBACK = 0x8
    IFF_POINTOPOINT = 0x10
    IFF_NOTRAILERS = 0x20
    IFF_RUNNING = 0x40
    IFF_NOARP = 0x80
    IFF_PROMISC = 0x100
    IFF_ALLMULTI = 0x200
    IFF_OACTIVE = 0x400
    IFF_SIMPLEX = 0x800
    IFF_LINK0 = 0x1000
    IFF_LINK1 = 0x2000
    IFF_LINK2 = 0x4000
    IFF_MULTICAST = 0x8000


class Layout:
    """A struct with the name of an interface, and perhaps numbers and socket addresses behind it.

    What the kernel tells in it is the name, or the first number.
    """

    def __init__(self, layout: str) -> None:
        self._struct = struct.Struct(layout)
        self.size = self._struct.size

    def pack(self, name: str, *values: int | bytes) -> bytes:
        """Return the struct. Raises ValueError if the name is too long."""
        return self._struct.pack(_name(name), *values)

    def name(self, data: bytes) -> str:
        """Return the name, empty if there is none."""
        return _text(self._struct.unpack(data)[0])

    def number(self, data: bytes) -> int:
        """Return the first number."""
        return int(self._struct.unpack(data)[1])


# net/if.h: struct ifreq, by what its union has
IFREQ = Layout("<16s16x")
IFREQ_NUMBER = Layout("<16si12x")  # an MTU or a metric
IFREQ_FLAGS = Layout("<16sH14x")  # all of them
IFREQ_LARGEST_MTU = Layout("<16s8xi4x")  # ifdm_max of SIOCGIFDEVMTU
_IFREQ_ADDRESS = Layout("<16s16s")
# net/if.h: struct ifaliasreq; struct ifdrv: command, length and address of the data; struct
# ifmediareq, packed to 4 bytes: status, no room for a list of media
_IFALIASREQ = Layout("<16s16s16s16s")
IFDRV = Layout("<16sQQQ")
IFMEDIAREQ = Layout("<16s8xi8x8x")
# net/if_fake_var.h: struct if_fake_request: four reserved words, a union of 128 bytes: the peer
IF_FAKE_REQUEST = Layout("<32x16s112x")
# net/if_bridgevar.h: struct ifbreq: a member
IFBREQ = Layout("<16s64x")
# netinet/in.h: struct sockaddr_in; netinet6/in6.h: struct sockaddr_in6
_SOCKADDR_IN = struct.Struct("<BBH4s8x")
_SOCKADDR_IN6 = struct.Struct("<BBHI16sI")
# netinet6/in6_var.h: struct in6_aliasreq (flags and times at its end), struct in6_ifreq
_IN6_ALIASREQ = Layout("<16s28s28s28siqqII")
_IN6_IFREQ = Layout("<16s28s244x")
# net/route.h: struct rt_msghdr: length, version, type; flags, which addresses; metrics at its end
_RT_MSGHDR = struct.Struct("<HBB4xii76x")
# net/if_dl.h: struct sockaddr_dl before its data
_SOCKADDR_DL = struct.Struct("<BBHBBBB")
# net/ndrv.h: struct sockaddr_ndrv
_SOCKADDR_NDRV = struct.Struct("<BB16s")
# net/bpf.h: struct bpf_hdr without the padding at its end; struct bpf_stat
_BPF_HDR = struct.Struct("<8xIIH")
_BPF_STAT = struct.Struct("<II")
_U32 = struct.Struct("<I")

# sys/ioccom.h
_IOC_VOID = 0x20000000
_IOC_OUT = 0x40000000
_IOC_IN = 0x80000000


def _io(group: str, number: int) -> int:
    return _IOC_VOID | ord(group) << 8 | number


def _ior(group: str, number: int, argument: struct.Struct | Layout) -> int:
    return _IOC_OUT | argument.size << 16 | ord(group) << 8 | number


def _iow(group: str, number: int, argument: struct.Struct | Layout) -> int:
    return _IOC_IN | argument.size << 16 | ord(group) << 8 | number


def _iowr(group: str, number: int, argument: struct.Struct | Layout) -> int:
    return _ior(group, number, argument) | _iow(group, number, argument)


class Request(IntEnum):
    """The requests of ioctl(2). Each number contains the size of its argument."""

    # sys/sockio.h
    SIOCSIFFLAGS = _iow("i", 16, IFREQ)
    SIOCGIFFLAGS = _iowr("i", 17, IFREQ)
    SIOCGIFMETRIC = _iowr("i", 23, IFREQ)
    SIOCSIFMETRIC = _iow("i", 24, IFREQ)
    SIOCDIFADDR = _iow("i", 25, IFREQ)
    SIOCAIFADDR = _iow("i", 26, _IFALIASREQ)
    SIOCGIFMTU = _iowr("i", 51, IFREQ)
    SIOCSIFMTU = _iow("i", 52, IFREQ)
    SIOCGIFMEDIA = _iowr("i", 56, IFMEDIAREQ)
    SIOCSIFLLADDR = _iow("i", 60, IFREQ)
    SIOCGIFDEVMTU = _iowr("i", 68, IFREQ)
    SIOCIFDESTROY = _iow("i", 121, IFREQ)
    SIOCIFCREATE2 = _iowr("i", 122, IFREQ)
    SIOCSDRVSPEC = _iow("i", 123, IFDRV)
    SIOCGDRVSPEC = _iowr("i", 123, IFDRV)
    # netinet6/in6_var.h
    SIOCDIFADDR_IN6 = _iow("i", 25, _IN6_IFREQ)
    SIOCAIFADDR_IN6 = _iow("i", 26, _IN6_ALIASREQ)
    # net/bpf.h
    BIOCGBLEN = _ior("B", 102, _U32)
    BIOCSBLEN = _iowr("B", 102, _U32)
    BIOCPROMISC = _io("B", 105)
    BIOCSETIF = _iow("B", 108, IFREQ)
    BIOCGSTATS = _ior("B", 111, _BPF_STAT)
    BIOCIMMEDIATE = _iow("B", 112, _U32)
    BIOCSHDRCMPLT = _iow("B", 117, _U32)
    BIOCSSEESENT = _iow("B", 119, _U32)
    # net/bpf_private.h, from macOS 14.1
    BIOCSBATCHWRITE = _iow("B", 143, _U32)


# ---- addresses ----


def pack_mac(name: str, mac: bytes) -> bytes:
    """Return the ifreq of SIOCSIFLLADDR: a sockaddr whose sa_len is the length of the MAC only."""
    return _IFREQ_ADDRESS.pack(name, bytes((len(mac), AF_LINK)) + mac)


def pack_add_address(name: str, address: IPv4Interface) -> bytes:
    """Return the ifaliasreq of SIOCAIFADDR.

    A network that is too small for a broadcast address (/31, /32) gets none.
    """
    network = address.network
    broadcast = bytes(_SOCKADDR_IN.size)
    if network.prefixlen < 31:
        broadcast = _sockaddr_in(network.broadcast_address.packed)
    netmask = _sockaddr_in(network.netmask.packed)
    return _IFALIASREQ.pack(name, _sockaddr_in(address.ip.packed), broadcast, netmask)


def pack_remove_address(name: str, address: IPv4Interface) -> bytes:
    """Return the ifreq of SIOCDIFADDR."""
    return _IFREQ_ADDRESS.pack(name, _sockaddr_in(address.ip.packed))


def pack_add_address6(name: str, address: IPv6Interface) -> bytes:
    """Return the in6_aliasreq of SIOCAIFADDR_IN6, for an address that never expires.

    The kernel refuses any family in the destination address, so that stays empty.
    """
    return _IN6_ALIASREQ.pack(
        name,
        _sockaddr_in6(address.ip.packed),
        bytes(_SOCKADDR_IN6.size),
        _sockaddr_in6(address.network.netmask.packed),
        0,
        0,
        0,
        ND6_INFINITE_LIFETIME,
        ND6_INFINITE_LIFETIME,
    )


def pack_route(kind: int, network: IPv4Network, gateway: IPv4Address) -> bytes:
    """Return the message of RTM_ADD or RTM_DELETE for a routing socket."""
    addresses = (network.network_address, gateway, network.netmask)
    packed = b"".join(_sockaddr_in(address.packed) for address in addresses)
    length = _RT_MSGHDR.size + len(packed)
    flags = RTF_UP | RTF_GATEWAY | RTF_STATIC
    which = RTA_DST | RTA_GATEWAY | RTA_NETMASK
    return _RT_MSGHDR.pack(length, RTM_VERSION, kind, flags, which) + packed


def pack_remove_address6(name: str, address: IPv6Interface) -> bytes:
    """Return the in6_ifreq of SIOCDIFADDR_IN6."""
    return _IN6_IFREQ.pack(name, _sockaddr_in6(address.ip.packed))


def address_family(sockaddr: bytes) -> int:
    """Return the family of a socket address, 0 if it is too short to have one."""
    return sockaddr[1] if len(sockaddr) > 1 else 0


def unpack_mac(sockaddr_dl: bytes) -> bytes:
    """Return the MAC of an AF_LINK socket address, empty if there is none."""
    head = sockaddr_dl[: _SOCKADDR_DL.size].ljust(_SOCKADDR_DL.size, b"\0")
    _length, _family, _index, _type, name_length, mac_length, _selector = _SOCKADDR_DL.unpack(head)
    start = _SOCKADDR_DL.size + name_length
    return sockaddr_dl[start : start + mac_length]


def unpack_address(sockaddr: bytes, netmask: bytes) -> IPv4Interface:
    """Return an AF_INET address. The kernel omits the zeros at the end of a netmask."""
    address = _SOCKADDR_IN.unpack(sockaddr.ljust(_SOCKADDR_IN.size, b"\0"))[3]
    mask = _SOCKADDR_IN.unpack(netmask.ljust(_SOCKADDR_IN.size, b"\0"))[3]
    return IPv4Interface((address, _prefix_length(mask)))


def unpack_address6(sockaddr: bytes, netmask: bytes) -> IPv6Interface:
    """Return an AF_INET6 address. The kernel omits the zeros at the end of a netmask.

    A link-local address may contain the index of its interface in bytes 2 and 3, as the kernel
    stores it. They are set to zero, as in6_fillscopeid of ifconfig(8) does.
    """
    address = _SOCKADDR_IN6.unpack(sockaddr.ljust(_SOCKADDR_IN6.size, b"\0"))[4]
    if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
        address = address[:2] + bytes(2) + address[4:]
    mask = _SOCKADDR_IN6.unpack(netmask.ljust(_SOCKADDR_IN6.size, b"\0"))[4]
    return IPv6Interface((address, _prefix_length(mask)))


# ---- AF_NDRV ----


def pack_sockaddr_ndrv(name: str) -> bytes:
    """Return the address for both bind(2) and connect(2) of an AF_NDRV socket."""
    return _SOCKADDR_NDRV.pack(_SOCKADDR_NDRV.size, AF_NDRV, _name(name))


# ---- BPF ----


def pack_u32(number: int) -> bytes:
    """Return the argument of a request that takes a u_int (4 bytes, little-endian)."""
    return _U32.pack(number)


def unpack_u32(argument: bytes) -> int:
    """Return the u_int that a request returned."""
    return int(_U32.unpack(argument)[0])


def unpack_bpf_drops(stat: bytes) -> int:
    """Return bs_drop of a bpf_stat: frames that found both buffers full."""
    return int(_BPF_STAT.unpack(stat)[1])


BPF_STAT_SIZE = _BPF_STAT.size


class BpfBatch(NamedTuple):
    """The frames of one read, and the number of records without a whole frame: cut, or damaged."""

    frames: list[bytes]
    damaged: int


def unpack_bpf_batch(batch: bytes) -> BpfBatch:
    """Return the frames of the bytes that one read of a BPF device returned.

    No number in them is trusted: with any bytes, each step moves forward and stays inside of them.
    After a header that cannot be right, nothing says where the next one starts, so the rest counts
    as one damaged record.
    """
    frames: list[bytes] = []
    append = frames.append
    unpack = _BPF_HDR.unpack_from
    header_size = _BPF_HDR.size
    damaged = 0
    start = 0
    end = len(batch)
    last_start = end - header_size
    while start <= last_start:
        captured, length, header = unpack(batch, start)
        payload = start + header
        stop = payload + captured
        if stop > end or header < header_size:
            return BpfBatch(frames, damaged + 1)
        if captured == length:
            if captured:
                append(batch[payload:stop])
        elif captured:
            damaged += 1
        start = (stop + 3) & -BPF_ALIGNMENT
    if start < end:
        damaged += 1
    return BpfBatch(frames, damaged)


def pack_bpf_batch(frames: Sequence[bytes]) -> bytes:
    """Return BPF records of these frames. With BIOCSBATCHWRITE, one write sends them all."""
    pack = _BPF_HDR.pack
    header_size = _BPF_HDR.size
    parts: list[bytes] = []
    for frame in frames:
        length = len(frame)
        parts += (
            pack(length, length, header_size),
            frame,
            _BPF_PADDING[(header_size + length) % BPF_ALIGNMENT],
        )
    return b"".join(parts)


# net/route.h, net/if.h: rt_msghdr, then if_msghdr and ifa_msghdr, as far as they are used here:
# length, version, type, interface, flags; length, version, type, interface.
_ROUTE_CHANGE = struct.Struct("<HBBHxxI")
_LINK_CHANGE = struct.Struct("<HBB8xH")
_RTM_ROUTES = (RTM_ADD, RTM_DELETE, 3)  # and RTM_CHANGE
_RTM_LINKS = (0xC, 0xD, 0xE)  # RTM_NEWADDR, RTM_DELADDR, RTM_IFINFO
_RTF_HOST = 0x4


def unpack_changes(datagram: bytes) -> Iterator[int]:
    """Yield the index of the interface that each message of a routing socket is about, if it tells
    of a change of a link, an address or a route.

    Routes to single hosts are left out: each new neighbour makes one.
    """
    offset = 0
    while len(datagram) - offset >= _LINK_CHANGE.size:
        length, _version, kind, index = _LINK_CHANGE.unpack_from(datagram, offset)
        if length < _LINK_CHANGE.size or length > len(datagram) - offset:
            return
        if kind in _RTM_LINKS:
            yield index
        elif kind in _RTM_ROUTES:
            _, _, _, index, flags = _ROUTE_CHANGE.unpack_from(datagram, offset)
            if not flags & _RTF_HOST:
                yield index
        offset += length


_BPF_PADDING = tuple(bytes(-length % BPF_ALIGNMENT) for length in range(BPF_ALIGNMENT))


def _name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) >= IFNAMSIZ:
        raise ValueError(f"{name!a} is too long for an interface name")
    return encoded


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _sockaddr_in(address: bytes) -> bytes:
    return _SOCKADDR_IN.pack(_SOCKADDR_IN.size, AF_INET, 0, address)


def _sockaddr_in6(address: bytes) -> bytes:
    return _SOCKADDR_IN6.pack(_SOCKADDR_IN6.size, AF_INET6, 0, 0, address, 0)


def _prefix_length(netmask: bytes) -> int:
    return bin(int.from_bytes(netmask, "big")).count("1")
