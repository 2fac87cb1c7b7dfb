"""Linux: the requests of /dev/net/tun, packet sockets, and the messages of rtnetlink.

Everything is in host byte order, unless it says otherwise. Sources: include/uapi/linux/if_tun.h,
if.h, if_link.h, if_addr.h, netlink.h, rtnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntFlag
from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

from .address import IPInterface

IFNAMSIZ = 16

# if_tun.h; the numbers of _IOW('T', n, int) are the same on x86, ARM and RISC-V.
TUNSETIFF = 0x400454CA
TUNGETIFF = 0x800454D2
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC
TUNSETCARRIER = 0x400454E2
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

# TUNSETOFFLOAD: the work that the kernel may leave to the reader of the device.
TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20  # from Linux 6.2
TUN_F_USO6 = 0x40

# fcntl.h: from Linux 2.6.35; fcntl has them from Python 3.10.
SIOCGIFNAME = 0x8910  # linux/sockios.h
F_SETPIPE_SZ = 1031
F_GETPIPE_SZ = 1032


class InterfaceFlag(IntFlag):
    """The flags of if.h. Darwin has other bits for some of them."""

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
    IFF_MASTER = 0x400
    IFF_SLAVE = 0x800
    IFF_MULTICAST = 0x1000
    IFF_PORTSEL = 0x2000
    IFF_AUTOMEDIA = 0x4000
    IFF_DYNAMIC = 0x8000
    IFF_LOWER_UP = 0x10000
    IFF_DORMANT = 0x20000
    IFF_ECHO = 0x40000


IFF_UP = InterfaceFlag.IFF_UP.value

# if_packet.h: level, options, packet types, and status bits of the auxiliary data
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_MR_PROMISC = 1
PACKET_OUTGOING = 4
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6
ETH_P_ALL = 3
ETH_P_8021Q = 0x8100
# if_arp.h
ARPHRD_ETHER = 1

# netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_CREATE = 0x400

# rtnetlink.h
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RT_SCOPE_UNIVERSE = 0
RTA_OIF = 4
RTMGRP_IPV4_IFADDR = 0x10
# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
RTMGRP_CHANGES = 0x1 | 0x10 | 0x40 | 0x100 | 0x400

# if_link.h
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_STATS64 = 23
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_TUN_OWNER = 1
IFLA_TUN_PERSIST = 6

# if_addr.h
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_RT_PRIORITY = 9

_AF_INET = 2
_AF_INET6 = 10
_NLA_TYPE_MASK = 0x3FFF

_IFREQ = struct.Struct("=16sH22x")
_NLMSGHDR = struct.Struct("=IHHII")
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG_SIZE = 12
_RTATTR = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
# rtnl_link_stats64 starts: rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors,
# rx_dropped, tx_dropped.
_STATS64_TX_DROPPED = struct.Struct("=56xQ")


# struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_AUXDATA = struct.Struct("=I8xHHHH")
AUXDATA_SIZE = _AUXDATA.size
_TPACKET_STATS = struct.Struct("=II")
PACKET_STATISTICS_SIZE = _TPACKET_STATS.size
_PACKET_MREQ = struct.Struct("=iHH8x")


def unpack_vlan_tag(auxdata: bytes) -> bytes:
    """Return the 4 bytes of the VLAN tag that the kernel took out of a frame, or b""."""
    if len(auxdata) < AUXDATA_SIZE:
        return b""
    status, _mac, _net, control, protocol = _AUXDATA.unpack_from(auxdata)
    if not status & TP_STATUS_VLAN_VALID:
        return b""
    known = status & TP_STATUS_VLAN_TPID_VALID
    return struct.pack("!HH", protocol if known else ETH_P_8021Q, control)


def unpack_packet_drops(statistics: bytes) -> int:
    """Return the number of frames that a socket had no room for since the last request."""
    return int(_TPACKET_STATS.unpack(statistics)[1])


def pack_index_request(index: int) -> bytes:
    """Return the ifreq of SIOCGIFNAME, 40 bytes."""
    return struct.pack("=16si20x", b"", index)


def pack_promiscuous(index: int) -> bytes:
    """Return the packet_mreq that puts an interface into promiscuous mode."""
    return _PACKET_MREQ.pack(index, PACKET_MR_PROMISC, 0)


def pack_tun_request(name: str, flags: int) -> bytes:
    """Return the ifreq of TUNSETIFF, 40 bytes. An empty name or a ``%d`` lets the kernel choose."""
    return _IFREQ.pack(name.encode(), flags)


def unpack_tun_flags(request: bytes) -> int:
    """Return the flags of an ifreq that TUNGETIFF filled in. Raises ValueError for a wrong size."""
    if len(request) != _IFREQ.size:
        raise ValueError(f"ifreq of {len(request)} bytes")
    return int(_IFREQ.unpack(request)[1])


def unpack_request_name(request: bytes) -> str:
    """Return the interface name that the kernel wrote into the ifreq.

    TUNSETIFF writes it over the requested name, which may be longer (an altname). Raises
    ValueError for a wrong size.
    """
    if len(request) != _IFREQ.size:
        raise ValueError(f"ifreq of {len(request)} bytes")
    name: bytes = _IFREQ.unpack(request)[0]
    return name.partition(b"\0")[0].decode()


class Message(NamedTuple):
    """One netlink message without its header."""

    type: int
    sequence: int
    payload: bytes


def pack_message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return a netlink message with its header. The port is 0; the kernel fills it in."""
    return _NLMSGHDR.pack(_NLMSGHDR.size + len(payload), kind, flags, sequence, 0) + payload


def unpack_messages(datagram: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram. Raises ValueError for an impossible length."""
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _NLMSGHDR.size:
            raise ValueError("netlink datagram ends inside a header")
        length, kind, _flags, sequence, _port = _NLMSGHDR.unpack_from(datagram, offset)
        if length < _NLMSGHDR.size or offset + length > len(datagram):
            raise ValueError(f"netlink message of {length} bytes")
        yield Message(kind, sequence, datagram[offset + _NLMSGHDR.size : offset + length])
        offset += _aligned(length)


def unpack_error(payload: bytes) -> int:
    """Return the errno of an NLMSG_ERROR or NLMSG_DONE payload, 0 for an acknowledgement."""
    return -int(_I32.unpack_from(payload)[0]) if len(payload) >= _I32.size else 0


def pack_attributes(attributes: dict[int, bytes]) -> bytes:
    """Return attributes (struct rtattr), each padded to 4 bytes."""
    packed = b""
    for kind, value in attributes.items():
        length = _RTATTR.size + len(value)
        packed += _RTATTR.pack(length, kind) + value + bytes(_aligned(length) - length)
    return packed


def unpack_attributes(data: bytes) -> dict[int, bytes]:
    """Return attributes by type, the last one of each type.

    Raises ValueError for an impossible length.
    """
    attributes: dict[int, bytes] = {}
    offset = 0
    while len(data) - offset >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(data, offset)
        if length < _RTATTR.size or offset + length > len(data):
            raise ValueError(f"netlink attribute of {length} bytes")
        attributes[kind & _NLA_TYPE_MASK] = data[offset + _RTATTR.size : offset + length]
        offset += _aligned(length)
    return attributes


def pack_u32(value: int) -> bytes:
    """Return the value of a u32 attribute."""
    return _U32.pack(value)


def pack_link(
    index: int, attributes: dict[int, bytes] | None = None, *, flags: int = 0, change: int = 0
) -> bytes:
    """Return the payload of a link request: an ifinfomsg, then attributes.

    With index 0, an IFLA_IFNAME attribute names the interface. Only the bits of ``change`` are set
    from ``flags``.
    """
    return _IFINFOMSG.pack(0, 0, index, flags, change) + pack_attributes(attributes or {})


def pack_any_address() -> bytes:
    """Return the payload of a request for the addresses of all families and interfaces."""
    return _IFADDRMSG.pack(0, 0, 0, 0, 0)


def pack_string(value: str) -> bytes:
    """Return the value of a string attribute, with a zero byte at the end."""
    return value.encode() + b"\0"


def pack_address(index: int, address: IPInterface, *, metric: int | None = None) -> bytes:
    """Return the payload of an address request.

    ``metric`` is the metric (IFA_RT_PRIORITY) of the route that comes with the address. An IPv4
    address gets the broadcast address of its network, which /31 and /32 do not have.
    """
    host = address.ip.packed
    attributes = {IFA_LOCAL: host, IFA_ADDRESS: host}
    if address.version == 4 and address.network.prefixlen < 31:
        attributes[IFA_BROADCAST] = address.network.broadcast_address.packed
    if metric is not None:
        attributes[IFA_RT_PRIORITY] = pack_u32(metric)
    family = _AF_INET if address.version == 4 else _AF_INET6
    prefix = address.network.prefixlen
    header = _IFADDRMSG.pack(family, prefix, 0, RT_SCOPE_UNIVERSE, index)
    return header + pack_attributes(attributes)


class LinkMessage(NamedTuple):
    """What RTM_NEWLINK says about an interface.

    ``mtu`` is in bytes, ``mac`` is 6 bytes or empty, ``kind`` is empty for hardware. ``tx_dropped``
    counts frames. ``tun_owner`` is a uid, None without an owner.
    """

    ifindex: int
    flags: int
    name: str
    mtu: int
    mac: bytes
    kind: str
    tx_dropped: int
    tun_persistent: bool
    tun_owner: int | None


def unpack_link(payload: bytes) -> LinkMessage:
    """Return the facts of an RTM_NEWLINK payload. Raises ValueError for an invalid one."""
    if len(payload) < _IFINFOMSG.size:
        raise ValueError("netlink link message is too short")
    _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(payload)
    attributes = unpack_attributes(payload[_IFINFOMSG.size :])
    info = unpack_attributes(attributes.get(IFLA_LINKINFO, b""))
    kind = _string(info.get(IFLA_INFO_KIND, b""))
    tun = unpack_attributes(info.get(IFLA_INFO_DATA, b"")) if kind == "tun" else {}
    stats = attributes.get(IFLA_STATS64, b"").ljust(_STATS64_TX_DROPPED.size, b"\0")
    return LinkMessage(
        ifindex=index,
        flags=flags,
        name=_string(attributes.get(IFLA_IFNAME, b"")),
        mtu=_unpack_u32(attributes.get(IFLA_MTU, bytes(4))),
        mac=attributes.get(IFLA_ADDRESS, b""),
        kind=kind,
        tx_dropped=_STATS64_TX_DROPPED.unpack_from(stats)[0],
        tun_persistent=tun.get(IFLA_TUN_PERSIST, b"\0") != b"\0",
        tun_owner=_unpack_u32(tun[IFLA_TUN_OWNER]) if IFLA_TUN_OWNER in tun else None,
    )


class AddressMessage(NamedTuple):
    """What RTM_NEWADDR says about an address."""

    ifindex: int
    prefix: int
    address: bytes

    @property
    def interface(self) -> IPInterface:
        kind = IPv4Interface if len(self.address) == 4 else IPv6Interface
        return kind((self.address, self.prefix))


def unpack_address(payload: bytes) -> AddressMessage:
    """Return the facts of an RTM_NEWADDR payload. Raises ValueError for an invalid one."""
    if len(payload) < _IFADDRMSG.size:
        raise ValueError("netlink address message is too short")
    _family, prefix, _flags, _scope, index = _IFADDRMSG.unpack_from(payload)
    attributes = unpack_attributes(payload[_IFADDRMSG.size :])
    # IFA_ADDRESS is the far end on a point-to-point link; IFA_LOCAL is absent for IPv6.
    address = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS, b""))
    return AddressMessage(index, prefix, address)


def unpack_changes(datagram: bytes) -> Iterator[int]:
    """Yield the index of the interface that each message of RTMGRP_CHANGES is about, 0 for none.

    Raises ValueError for an invalid message.
    """
    for message in unpack_messages(datagram):
        if message.type in (RTM_NEWROUTE, RTM_DELROUTE):
            attributes = unpack_attributes(message.payload[_RTMSG_SIZE:])
            yield _unpack_u32(attributes.get(RTA_OIF, bytes(4)))
        elif message.type in (RTM_NEWADDR, RTM_DELADDR):
            yield unpack_address(message.payload).ifindex
        else:
            yield unpack_link(message.payload).ifindex


def unpack_new_addresses(datagram: bytes, ifindex: int) -> Iterator[IPInterface]:
    """Yield the addresses that messages of RTMGRP_IPV4_IFADDR add to an interface.

    Raises ValueError for an invalid message.
    """
    for message in unpack_messages(datagram):
        if message.type == RTM_NEWADDR:
            address = unpack_address(message.payload)
            if address.ifindex == ifindex:
                yield address.interface


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _unpack_u32(value: bytes) -> int:
    if len(value) != _U32.size:
        raise ValueError(f"netlink u32 of {len(value)} bytes")
    return int(_U32.unpack(value)[0])


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
