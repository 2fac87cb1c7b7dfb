"""What is written to and read from the Linux kernel, byte by byte.

The golden values come from a C program that included the headers, on x86-64: the numbers are the
preprocessor's, the bytes those of the structs that it filled in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fethpipe.abi import linux
from fethpipe.abi.address import IPInterface
from tests.strategies import interfaces

golden = pytest.mark.skipif(
    sys.byteorder != "little", reason="the golden bytes are of a little-endian machine"
)

CONSTANTS = {
    "TUNSETIFF": 0x400454CA,
    "TUNGETIFF": 0x800454D2,
    "TUNSETOFFLOAD": 0x400454D0,
    "TUNSETCARRIER": 0x400454E2,
    "TUNSETVNETHDRSZ": 0x400454D8,
    "TUNSETVNETLE": 0x400454DC,
    "IFF_TAP": 0x2,
    "IFF_NO_PI": 0x1000,
    "IFF_VNET_HDR": 0x4000,
    "IFF_TUN_EXCL": 0x8000,
    "TUN_F_CSUM": 0x1,
    "TUN_F_TSO4": 0x2,
    "TUN_F_TSO6": 0x4,
    "TUN_F_TSO_ECN": 0x8,
    "TUN_F_USO4": 0x20,
    "TUN_F_USO6": 0x40,
    "F_SETPIPE_SZ": 1031,
    "F_GETPIPE_SZ": 1032,
    "IFF_UP": 0x1,
    "SOL_PACKET": 0x107,
    "PACKET_ADD_MEMBERSHIP": 0x1,
    "PACKET_STATISTICS": 0x6,
    "PACKET_AUXDATA": 0x8,
    "PACKET_MR_PROMISC": 0x1,
    "PACKET_OUTGOING": 0x4,
    "TP_STATUS_VLAN_VALID": 0x10,
    "TP_STATUS_VLAN_TPID_VALID": 0x40,
    "ETH_P_ALL": 0x3,
    "ETH_P_8021Q": 0x8100,
    "ARPHRD_ETHER": 0x1,
    "AUXDATA_SIZE": 20,
    "PACKET_STATISTICS_SIZE": 8,
    "SIOCGIFNAME": 0x8910,
    "IFNAMSIZ": 16,
    "NLMSG_ERROR": 2,
    "NLMSG_DONE": 3,
    "NLM_F_REQUEST": 0x1,
    "NLM_F_ACK": 0x4,
    "NLM_F_DUMP": 0x300,
    "NLM_F_REPLACE": 0x100,
    "NLM_F_CREATE": 0x400,
    "RTM_NEWLINK": 16,
    "RTM_DELLINK": 17,
    "RTM_GETLINK": 18,
    "RTM_NEWADDR": 20,
    "RTM_DELADDR": 21,
    "RTM_GETADDR": 22,
    "RT_SCOPE_UNIVERSE": 0,
    "IFLA_ADDRESS": 1,
    "IFLA_IFNAME": 3,
    "IFLA_MTU": 4,
    "IFLA_MASTER": 10,
    "IFLA_LINKINFO": 18,
    "IFLA_STATS64": 23,
    "IFLA_INFO_KIND": 1,
    "IFLA_INFO_DATA": 2,
    "IFLA_TUN_OWNER": 1,
    "IFLA_TUN_PERSIST": 6,
    "IFA_ADDRESS": 1,
    "IFA_LOCAL": 2,
    "IFA_BROADCAST": 4,
    "IFA_RT_PRIORITY": 9,
    "RTM_NEWROUTE": 24,
    "RTM_DELROUTE": 25,
    "RTA_OIF": 4,
    "RTMGRP_CHANGES": 0x551,
    "RTMGRP_IPV4_IFADDR": 0x10,
}

# struct ifinfomsg: ifi_index 3, ifi_flags IFF_UP, ifi_change IFF_UP
IFINFOMSG = "0000 0000 03000000 01000000 01000000"
# struct nlmsghdr: nlmsg_len 20, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, nlmsg_seq 7
NLMSGHDR = "14000000 1000 0500 07000000 00000000"
# An RTM_NEWLINK of a TAP, as far as we read it: tap0, MTU 1500, a persistent one of user 1000.
# Of struct rtnl_link_stats64 (200 bytes), tx_dropped is at 56.
TAP_ATTRIBUTES = (
    "0900 0300 74617030 00 000000"  # IFLA_IFNAME "tap0"
    "0800 0400 dc050000"  # IFLA_MTU 1500
    "0a00 0100 02005e005301 0000"  # IFLA_ADDRESS
    f"cc00 1700 {'00' * 56} 0102000000000000 {'ff' * 136}"  # IFLA_STATS64
    "2000 1200"  # IFLA_LINKINFO
    "  0800 0100 74756e00"  # IFLA_INFO_KIND "tun"
    "  1400 0200"  # IFLA_INFO_DATA
    "    0800 0100 e8030000"  # IFLA_TUN_OWNER 1000
    "    0500 0600 01 000000"  # IFLA_TUN_PERSIST 1
)
TAP = linux.LinkMessage(
    ifindex=3,
    flags=linux.IFF_UP,
    name="tap0",
    mtu=1500,
    mac=bytes.fromhex("02005e005301"),
    kind="tun",
    tx_dropped=0x201,
    tun_persistent=True,
    tun_owner=1000,
)


def link_message(attributes: str) -> bytes:
    return bytes.fromhex(IFINFOMSG + attributes)


# ---- numbers ----


FLAGS = {
    "IFF_UP": 0x1,
    "IFF_BROADCAST": 0x2,
    "IFF_DEBUG": 0x4,
    "IFF_LOOPBACK": 0x8,
    "IFF_POINTOPOINT": 0x10,
    "IFF_NOTRAILERS": 0x20,
    "IFF_RUNNING": 0x40,
    "IFF_NOARP": 0x80,
    "IFF_PROMISC": 0x100,
    "IFF_ALLMULTI": 0x200,
    "IFF_MASTER": 0x400,
    "IFF_SLAVE": 0x800,
    "IFF_MULTICAST": 0x1000,
    "IFF_PORTSEL": 0x2000,
    "IFF_AUTOMEDIA": 0x4000,
    "IFF_DYNAMIC": 0x8000,
    "IFF_LOWER_UP": 0x10000,
    "IFF_DORMANT": 0x20000,
    "IFF_ECHO": 0x40000,
}


def test_every_flag_is_as_in_the_header() -> None:
    assert {flag.name: flag.value for flag in linux.InterfaceFlag} == FLAGS


def test_every_constant_is_as_in_the_headers() -> None:
    found = {name: value for name, value in vars(linux).items() if name.isupper()}
    assert {name: value for name, value in found.items() if name[0] != "_"} == CONSTANTS


# ---- ifreq ----


@golden
def test_tun_request() -> None:
    flags = linux.IFF_TAP | linux.IFF_NO_PI | linux.IFF_TUN_EXCL
    expected = bytes.fromhex("66702564 000000000000000000000000 0290" + "00" * 22)
    assert linux.pack_tun_request("fp%d", flags) == expected


@pytest.mark.parametrize("name", ["fp0", "fifteen-letters"])
def test_tun_name_that_the_kernel_chose(name: str) -> None:
    assert linux.unpack_request_name(linux.pack_tun_request(name, linux.IFF_TAP)) == name


def test_tun_name_over_a_longer_altname() -> None:
    # TUNSETIFF with the altname "attached-by-me" of tap0: the kernel copies tap0 and its NUL over.
    answer = bytearray(linux.pack_tun_request("attached-by-me", linux.IFF_TAP))
    answer[:5] = b"tap0\0"
    assert linux.unpack_request_name(bytes(answer)) == "tap0"


@golden
def test_tun_flags() -> None:
    answer = bytes.fromhex("74617030 000000000000000000000000 0252" + "00" * 22)
    assert linux.unpack_tun_flags(answer) == 0x5202


# ---- netlink messages ----


@golden
def test_message_header() -> None:
    flags = linux.NLM_F_REQUEST | linux.NLM_F_ACK
    message = linux.pack_message(linux.RTM_NEWLINK, flags, 7, b"abcd")
    assert message == bytes.fromhex(NLMSGHDR) + b"abcd"


@golden
def test_messages_of_a_datagram() -> None:
    datagram = bytes.fromhex(
        "11000000 1000 0000 07000000 00000000 61 000000"  # one byte, padded to four
        "10000000 0300 0200 07000000 39300000"
    )
    assert list(linux.unpack_messages(datagram)) == [
        linux.Message(linux.RTM_NEWLINK, 7, b"a"),
        linux.Message(linux.NLMSG_DONE, 7, b""),
    ]


@pytest.mark.parametrize("length", [0, 15, 21, 0xFFFFFFFF])
def test_a_message_of_an_impossible_length(length: int) -> None:
    message = bytearray(linux.pack_message(linux.NLMSG_DONE, 0, 1, b"abcd"))
    message[:4] = length.to_bytes(4, sys.byteorder)
    with pytest.raises(ValueError, match=f"netlink message of {length} bytes"):
        list(linux.unpack_messages(bytes(message)))


def test_a_datagram_that_ends_inside_a_header() -> None:
    message = linux.pack_message(linux.NLMSG_DONE, 0, 1, b"")
    messages = linux.unpack_messages(message + message[:15])
    assert next(messages) == linux.Message(linux.NLMSG_DONE, 1, b"")
    with pytest.raises(ValueError, match="ends inside a header"):
        next(messages)


@golden
@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("edffffff" + NLMSGHDR, 19),  # struct nlmsgerr: -ENODEV
        ("00000000" + NLMSGHDR, 0),  # an acknowledgement
        ("00000000", 0),  # NLMSG_DONE
        ("", 0),
    ],
)
def test_error_of_a_message(payload: str, error: int) -> None:
    assert linux.unpack_error(bytes.fromhex(payload)) == error


# ---- attributes ----

# What struct rtattr and RTA_ALIGN make of attributes.
ATTRIBUTES: dict[str, tuple[dict[int, bytes], str]] = {
    "none": ({}, ""),
    "empty": ({linux.IFLA_IFNAME: b""}, "0400 0300"),
    "padded": ({linux.IFLA_IFNAME: b"tap0\0"}, "0900 0300 7461703000 000000"),
    "two": (
        {linux.IFLA_ADDRESS: bytes(6), linux.IFLA_MTU: linux.pack_u32(1500)},
        "0a00 0100 000000000000 0000  0800 0400 dc050000",
    ),
}


@golden
@pytest.mark.parametrize(("attributes", "packed"), ATTRIBUTES.values(), ids=list(ATTRIBUTES))
def test_attributes(attributes: dict[int, bytes], packed: str) -> None:
    assert linux.pack_attributes(attributes) == bytes.fromhex(packed)
    assert linux.unpack_attributes(bytes.fromhex(packed)) == attributes


@golden
def test_flags_are_no_part_of_an_attributes_type() -> None:
    # NLA_F_NESTED and NLA_F_NET_BYTEORDER
    assert linux.unpack_attributes(bytes.fromhex("0400 12c0")) == {linux.IFLA_LINKINFO: b""}


@golden
def test_the_last_attribute_of_a_type_counts() -> None:
    packed = bytes.fromhex("0500 0100 61 000000 0500 0100 62")
    assert linux.unpack_attributes(packed) == {1: b"b"}


@golden
@pytest.mark.parametrize("packed", ["0000 0100", "0300 0100", "0500 0100", "ffff 0100 61"])
def test_an_attribute_of_an_impossible_length(packed: str) -> None:
    with pytest.raises(ValueError, match="netlink attribute of"):
        linux.unpack_attributes(bytes.fromhex(packed))


# ---- links ----


@golden
def test_link_request() -> None:
    assert linux.pack_link(3, flags=linux.IFF_UP, change=linux.IFF_UP) == bytes.fromhex(IFINFOMSG)


@golden
def test_link_request_by_name() -> None:
    request = linux.pack_link(0, {linux.IFLA_IFNAME: linux.pack_string("tap0")})
    assert request == bytes(16) + bytes.fromhex("0900 0300 7461703000 000000")


@golden
def test_link_of_a_tap() -> None:
    assert linux.unpack_link(link_message(TAP_ATTRIBUTES)) == TAP


@golden
def test_link_without_attributes() -> None:
    assert linux.unpack_link(link_message("")) == linux.LinkMessage(
        ifindex=3,
        flags=linux.IFF_UP,
        name="",
        mtu=0,
        mac=b"",
        kind="",
        tx_dropped=0,
        tun_persistent=False,
        tun_owner=None,
    )


@golden
def test_only_of_tun_devices_the_data_are_read_as_such() -> None:
    message = link_message(TAP_ATTRIBUTES).replace(b"tun\0", b"veth")
    link = linux.unpack_link(message)
    assert (link.kind, link.tun_persistent, link.tun_owner) == ("veth", False, None)


@golden
@pytest.mark.parametrize("attributes", ["0500 0400 dc", "0c00 0400 dc05000000000000"])
def test_link_with_a_number_of_the_wrong_size(attributes: str) -> None:
    with pytest.raises(ValueError, match="netlink u32 of"):
        linux.unpack_link(link_message(attributes))


# ---- addresses ----

# struct ifaddrmsg: ifa_index 3; then IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST, IFA_RT_PRIORITY.
ADDRESSES: dict[str, tuple[str, int | None, str]] = {
    "IPv4": (
        "192.0.2.1/24",
        None,
        "02180000 03000000 0800 0200 c0000201 0800 0100 c0000201 0800 0400 c00002ff",
    ),
    "IPv4 with a metric": (
        "192.0.2.1/24",
        500,
        "02180000 03000000 0800 0200 c0000201 0800 0100 c0000201 0800 0400 c00002ff"
        "0800 0900 f4010000",
    ),
    "IPv4, two addresses: no broadcast": (
        "192.0.2.1/31",
        None,
        "021f0000 03000000 0800 0200 c0000201 0800 0100 c0000201",
    ),
    "IPv4, one address: no broadcast": (
        "192.0.2.1/32",
        None,
        "02200000 03000000 0800 0200 c0000201 0800 0100 c0000201",
    ),
    "IPv6": (
        "2001:db8::1/64",
        None,
        "0a400000 03000000"
        "1400 0200 20010db8000000000000000000000001"
        "1400 0100 20010db8000000000000000000000001",
    ),
}


@golden
@pytest.mark.parametrize(("cidr", "metric", "packed"), ADDRESSES.values(), ids=list(ADDRESSES))
def test_address_request(cidr: str, metric: int | None, packed: str) -> None:
    request = linux.pack_address(3, ip_interface(cidr), metric=metric)
    assert request == bytes.fromhex(packed)


@golden
def test_address_of_a_point_to_point_link_is_the_local_one() -> None:
    message = bytes.fromhex("02200000 03000000 0800 0100 c0000202 0800 0200 c0000201")
    expected = linux.AddressMessage(3, 32, bytes((192, 0, 2, 1)))
    assert linux.unpack_address(message) == expected


@golden
def test_address_without_a_local_one() -> None:
    host = "20010db8000000000000000000000001"
    message = bytes.fromhex(f"0a400000 03000000 1400 0100 {host}")
    assert linux.unpack_address(message) == linux.AddressMessage(3, 64, bytes.fromhex(host))


# ---- anything ----


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=6))
def test_packed_attributes_unpack(attributes: dict[int, bytes]) -> None:
    assert linux.unpack_attributes(linux.pack_attributes(attributes)) == attributes


@given(
    st.lists(
        st.builds(
            linux.Message,
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 10).map(lambda words: bytes(4 * words)),
        ),
        max_size=4,
    )
)
def test_packed_messages_unpack(messages: list[linux.Message]) -> None:
    datagram = b"".join(
        linux.pack_message(message.type, 0, message.sequence, message.payload)
        for message in messages
    )
    assert list(linux.unpack_messages(datagram)) == messages


@given(st.integers(1, 0x7FFFFFFF), interfaces())
def test_packed_addresses_unpack(ifindex: int, address: IPInterface) -> None:
    message = linux.unpack_address(linux.pack_address(ifindex, address))
    assert (message.ifindex, message.interface) == (ifindex, address)


PARSERS: dict[str, Callable[[bytes], object]] = {
    "messages": lambda data: list(linux.unpack_messages(data)),
    "error": linux.unpack_error,
    "attributes": linux.unpack_attributes,
    "link": linux.unpack_link,
    "address": linux.unpack_address,
    "TUN name": linux.unpack_request_name,
    "TUN flags": linux.unpack_tun_flags,
}


@st.composite
def damaged_links(draw: st.DrawFn) -> bytes:
    message = bytearray(link_message(TAP_ATTRIBUTES))
    for position in draw(st.lists(st.integers(0, len(message) - 1), max_size=4)):
        message[position] = draw(st.integers(0, 255))
    return bytes(message[: draw(st.integers(0, len(message)))])


links_of_any_attributes = st.dictionaries(
    st.sampled_from([CONSTANTS[name] for name in CONSTANTS if name.startswith("IFLA")]),
    st.one_of(
        st.binary(max_size=8),
        st.dictionaries(st.integers(1, 6), st.binary(max_size=8)).map(linux.pack_attributes),
    ),
).map(lambda attributes: linux.pack_link(3, attributes))


@pytest.mark.parametrize("parser", PARSERS.values(), ids=list(PARSERS))
@settings(max_examples=300)
@given(
    data=st.one_of(
        st.binary(max_size=100),
        st.binary(min_size=40, max_size=40),
        damaged_links(),
        links_of_any_attributes,
    )
)
def test_any_bytes_are_parsed_or_refused(parser: Callable[[bytes], object], data: bytes) -> None:
    with suppress(ValueError):
        parser(data)


# ---- packet sockets ----


@golden
@pytest.mark.parametrize(
    ("status", "tag"),
    [
        ("51", "88a80005"),
        ("11", "81000005"),  # from a kernel that does not tell which kind of tag
        ("01", ""),
    ],
)
def test_the_tag_that_the_kernel_took_out_is_known(status: str, tag: str) -> None:
    auxdata = bytes.fromhex(status + "0000003c0000003c00000000000e000500a888")
    assert linux.unpack_vlan_tag(auxdata).hex() == tag
    assert linux.unpack_vlan_tag(auxdata[:-1]) == b""


@golden
def test_a_packet_socket_is_asked_and_answers() -> None:
    assert linux.pack_promiscuous(3) == bytes.fromhex("0300000001000000") + bytes(8)
    assert linux.unpack_packet_drops(bytes.fromhex("6400000007000000")) == 7


# ---- changes of the network ----


def test_changes_name_their_interface() -> None:
    link = link_message(TAP_ATTRIBUTES)
    address = bytes.fromhex("02180000 05000000 0800 0200 0a090001")  # of interface 5
    route = bytes.fromhex("02180000 fe020001 00000000 0800 0100 0a090000 0800 0400 07000000")
    blackhole = bytes.fromhex("02180000 fe020006 00000000 0800 0100 0a090000")
    kinds = [
        (linux.RTM_NEWLINK, link),
        (linux.RTM_DELLINK, link),
        (linux.RTM_NEWADDR, address),
        (linux.RTM_DELADDR, address),
        (linux.RTM_NEWROUTE, route),
        (linux.RTM_DELROUTE, route),
        (linux.RTM_NEWROUTE, blackhole),
    ]
    told = b"".join(linux.pack_message(kind, 0, 0, payload) for kind, payload in kinds)
    assert list(linux.unpack_changes(told)) == [3, 3, 5, 5, 7, 7, 0]
