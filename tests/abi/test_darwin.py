"""Every number and layout of Darwin against abi.json, and the parser of BPF batches."""

from __future__ import annotations

import json
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fethpipe.abi import darwin
from fethpipe.abi.darwin import BpfBatch, InterfaceFlag, Request, unpack_bpf_batch
from tests.darwin import layouts

_ABI = json.loads((Path(__file__).parents[1] / "darwin" / "abi.json").read_text())
_REQUESTS = {name.split()[0]: int(value, 16) for name, value in _ABI["requests"].items()}
_CONSTANTS = _ABI["constants"]
_SIZES = {name.split()[0]: each["size"] for name, each in _ABI["structs"].items()}
_NAME = "feth10000"


# ---- the numbers ----


def test_requests_and_flags_are_those_of_the_headers() -> None:
    assert {str(each.name): each.value for each in Request}.items() <= _REQUESTS.items()
    assert {str(each.name): each.value for each in InterfaceFlag}.items() <= _CONSTANTS.items()


def test_no_number_of_the_module_goes_unchecked() -> None:
    """A constant that abi.json does not know has its value here, from the prose of kernel.md."""
    told = {
        "IF_MAXUNIT": 32767,
        "ND6_INFINITE_LIFETIME": 0xFFFFFFFF,
        "BPF_MAXDEVICES": 256,
        "BRDGADD": 0,
        "FETH_FRAME_LIMIT": 16384,
        "BPF_STAT_SIZE": _SIZES["bpf_stat"],
    }
    public = {
        name: value
        for name, value in vars(darwin).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int)
    }
    assert {name: public[name] for name in told} == told
    assert {name: public[name] for name in set(public) - set(told)} == {
        name: _CONSTANTS[name] for name in set(public) - set(told)
    }
    assert darwin.FETH_MTU[0] == 72
    assert darwin.FETH_MTU[-1] == _CONSTANTS["net.link.fake.max_mtu maximum"]
    assert darwin.MAX_MTU_SYSCTL == "net.link.fake.max_mtu"


# ---- the layouts, against the tests' own packing ----

_V4, _V6 = "10.9.0.1/24", "fd00:9::1/64"


LAYOUTS = {
    "a name": (darwin.IFREQ.pack(_NAME), layouts.ifreq(_NAME), "ifreq"),
    "MTU": (darwin.IFREQ_NUMBER.pack(_NAME, 9000), layouts.ifreq_number(_NAME, 9000), "ifreq"),
    "flags": (darwin.IFREQ_FLAGS.pack(_NAME, 0x8863), layouts.ifreq_flags(_NAME, 0x8863), "ifreq"),
    "MAC": (
        darwin.pack_mac(_NAME, bytes.fromhex("02005e005301")),
        layouts.ifreq_mac(_NAME, "02:00:5e:00:53:01", family=_CONSTANTS["AF_LINK"]),
        "ifreq",
    ),
    "ifdrv": (
        darwin.IFDRV.pack(_NAME, 1, 160, 0x123456789A),
        layouts.ifdrv(_NAME, 1, 160) + struct.pack("<Q", 0x123456789A),
        "ifdrv",
    ),
    "peer": (
        darwin.IF_FAKE_REQUEST.pack("feth20000"),
        layouts.if_fake_request("feth20000"),
        "if_fake_request",
    ),
    "member of a bridge": (darwin.IFBREQ.pack("feth10000"), layouts.ifbreq("feth10000"), "ifbreq"),
    "no peer": (darwin.IF_FAKE_REQUEST.pack(""), bytes(160), "if_fake_request"),
    "add IPv4": (
        darwin.pack_add_address(_NAME, IPv4Interface(_V4)),
        layouts.in_aliasreq(_NAME, _V4),
        "ifaliasreq",
    ),
    "no broadcast address in a network of two": (
        darwin.pack_add_address(_NAME, IPv4Interface("10.9.0.1/31"))[32:48],
        bytes(16),
        "sockaddr_in",
    ),
    "a route": (
        darwin.pack_route(1, IPv4Network("192.0.2.0/25"), IPv4Address("10.9.0.2"))[:92],
        struct.pack("<HBBHHIIiiiii", 140, 5, 1, 0, 0, 0x803, 7, 0, 0, 0, 0, 0) + bytes(56),
        "rt_msghdr",
    ),
    "remove IPv4": (
        darwin.pack_remove_address(_NAME, IPv4Interface(_V4)),
        layouts.ifreq(_NAME, layouts.sockaddr_in("10.9.0.1")),
        "ifreq",
    ),
    "add IPv6": (
        darwin.pack_add_address6(_NAME, IPv6Interface(_V6)),
        layouts.in6_aliasreq(_NAME, _V6),
        "in6_aliasreq",
    ),
    "remove IPv6": (
        darwin.pack_remove_address6(_NAME, IPv6Interface(_V6)),
        layouts.in6_ifreq(_NAME, layouts.sockaddr_in6("fd00:9::1")),
        "in6_ifreq",
    ),
    "media": (darwin.IFMEDIAREQ.pack(_NAME, 0), layouts.ifreq(_NAME) + bytes(12), "ifmediareq"),
    "NDRV": (darwin.pack_sockaddr_ndrv(_NAME), layouts.sockaddr_ndrv(_NAME), "sockaddr_ndrv"),
}


@pytest.mark.parametrize(("packed", "expected", "struct_name"), LAYOUTS.values(), ids=list(LAYOUTS))
def test_a_structure_is_laid_out_as_in_the_headers(
    packed: bytes, expected: bytes, struct_name: str
) -> None:
    assert packed == expected
    assert len(packed) == _SIZES[struct_name]


def _at(struct_name: str, field: str, value: bytes) -> bytes:
    """Return a structure of zeros but for one field."""
    (fields,) = [
        each["fields"] for name, each in _ABI["structs"].items() if struct_name in name.split()
    ]
    offset = fields[field][0]
    return (bytes(offset) + value).ljust(_SIZES[struct_name], b"\0")


def test_answers_are_read_from_their_places() -> None:
    word = bytes.fromhex("44332211")
    assert darwin.IFREQ.name(_at("ifreq", "ifr_name", b"feth7")) == "feth7"
    assert darwin.IFREQ_NUMBER.number(_at("ifreq", "ifr_mtu", word)) == 0x11223344
    assert darwin.IFREQ_FLAGS.number(_at("ifreq", "ifr_flags", b"\x63\x88")) == 0x8863
    devmtu = struct.pack("<iii", 1500, 72, 2048)
    largest = darwin.IFREQ_LARGEST_MTU.number(_at("ifreq", "ifr_devmtu {current,min,max}", devmtu))
    assert largest == 2048
    peer = _at("if_fake_request", "iffr_peer_name", b"feth20000")
    assert darwin.IF_FAKE_REQUEST.name(peer) == "feth20000"
    assert darwin.unpack_bpf_drops(_at("bpf_stat", "bs_drop", word)) == 0x11223344
    assert darwin.unpack_u32(word) == 0x11223344
    media = _at("ifmediareq", "current, mask, status, active, count", bytes(8) + word)
    assert darwin.IFMEDIAREQ.number(media) == 0x11223344


def test_a_name_that_leaves_no_room_for_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        darwin.IFREQ.pack("x" * 16)


def test_a_link_address_is_found_behind_the_name() -> None:
    mac = bytes.fromhex("02005e005301")
    header = struct.pack("<BBHBBBB", 8 + 9 + 6, 18, 4, 6, 9, 6, 0)
    assert darwin.unpack_mac(header + b"feth10000" + mac) == mac
    assert darwin.unpack_mac(b"") == b""
    assert darwin.unpack_mac(header[:8]) == b""


@pytest.mark.parametrize("kept", [8, 7, 16])
def test_a_netmask_may_come_without_its_zeros(kept: int) -> None:
    netmask = layouts.sockaddr_in("255.255.255.0")[:kept]
    address = layouts.sockaddr_in("10.9.0.1")
    assert darwin.unpack_address(address, netmask) == IPv4Interface(_V4)


def test_a_link_local_address_sheds_the_number_of_its_interface() -> None:
    netmask = layouts.sockaddr_in6("ffff:ffff:ffff:ffff::")
    address = layouts.sockaddr_in6("fe80:4::1", scope=4)
    assert darwin.unpack_address6(address, netmask[:16]) == IPv6Interface("fe80::1/64")


# ---- BPF batches ----

_HEADER = struct.Struct("<iiIIH")
assert _HEADER.size == 18


class _Record(NamedTuple):
    """What a record holds: ``frame``, of which the wire had ``missing`` more bytes."""

    frame: bytes
    missing: int = 0
    extra_header: int = 0

    def pack(self) -> bytes:
        captured = len(self.frame)
        header = _HEADER.pack(1, 2, captured, captured + self.missing, 18 + self.extra_header)
        return header + b"\xee" * self.extra_header + self.frame


def _batch(records: list[_Record]) -> bytes:
    """Return the batch of these records: each starts at a multiple of 4, the last is not padded."""
    batch = b""
    for record in records:
        batch += b"\xdd" * (-len(batch) % 4) + record.pack()
    return batch


_records = st.lists(
    st.builds(
        _Record,
        frame=st.binary(max_size=80),
        missing=st.sampled_from([0, 0, 0, 1, 1000]),
        extra_header=st.integers(0, 10),
    )
)


def _whole(records: list[_Record]) -> list[bytes]:
    return [record.frame for record in records if record.frame and not record.missing]


def _cut(records: list[_Record]) -> int:
    return sum(bool(record.frame and record.missing) for record in records)


@given(records=_records, padding=st.integers(0, 3))
@example(records=[], padding=0)
def test_exactly_the_whole_frames_come_out_in_order_padded_or_not(
    records: list[_Record], padding: int
) -> None:
    batch = _batch(records)
    padded = batch + bytes(min(padding, -len(batch) % 4))
    assert unpack_bpf_batch(padded) == BpfBatch(_whole(records), _cut(records))


@given(records=_records, data=st.data())
def test_a_batch_that_is_cut_short_gives_the_frames_before_the_cut(
    records: list[_Record], data: st.DataObject
) -> None:
    batch = _batch(records)
    length = data.draw(st.integers(0, len(batch)))
    frames, damaged = unpack_bpf_batch(batch[:length])
    kept = [
        record
        for index, record in enumerate(records)
        if len(_batch(records[: index + 1])) <= length
    ]
    assert frames == _whole(kept)
    whole_batch = _batch(kept)
    inside_a_record = length > len(whole_batch) + -len(whole_batch) % 4
    assert damaged == _cut(kept) + inside_a_record


@given(
    before=_records,
    after=_records,
    captured=st.integers(0, 0xFFFFFFFF),
    length=st.integers(0, 0xFFFFFFFF),
    header=st.integers(0, 0xFFFF),
)
@example(before=[], after=[_Record(b"x" * 60)], captured=0, length=0, header=0)
@example(before=[], after=[_Record(b"x" * 60)], captured=0, length=0, header=17)
@example(before=[], after=[_Record(b"x" * 60)], captured=0xFFFFFFFF, length=0xFFFFFFFF, header=18)
@example(before=[], after=[_Record(b"x" * 60)], captured=60, length=14, header=18)
def test_a_corrupted_header_costs_nothing_of_what_was_before_it(
    before: list[_Record], after: list[_Record], captured: int, length: int, header: int
) -> None:
    start = _batch(before)
    start += bytes(-len(start) % 4)
    rest = _HEADER.pack(0, 0, captured, length, header) + _batch(after)
    frames, damaged = unpack_bpf_batch(start + rest)
    assert frames[: len(_whole(before))] == _whole(before)
    more = frames[len(_whole(before)) :]
    if header < 18 or header + captured > len(rest):
        assert more == []
        assert damaged == _cut(before) + 1
    elif captured == length and captured:
        assert more[0] == rest[header : header + captured]
    elif captured:
        assert damaged > _cut(before)


@given(batch=st.binary(max_size=400))
@example(batch=bytes(400))
@example(batch=b"\xff" * 400)
def test_any_bytes_come_to_an_end(batch: bytes) -> None:
    frames, damaged = unpack_bpf_batch(batch)
    assert 18 * (len(frames) + damaged - 1) + sum(map(len, frames)) <= len(batch)


@given(frames=st.lists(st.binary(min_size=1, max_size=80)))
def test_what_is_packed_for_a_batch_write_is_read_back(frames: list[bytes]) -> None:
    packed = darwin.pack_bpf_batch(frames)
    assert packed == b"".join(map(layouts.bpf_record, frames))
    assert unpack_bpf_batch(packed) == BpfBatch(frames, 0)


# ---- changes of the network, as a routing socket tells them (net/route.h, net/if.h) ----


def _routing_message(kind: int, index: int, flags: int = 0) -> bytes:
    route = kind in (1, 2, 3, 4, 7)
    head = struct.pack("<xBHxxi", kind, index, flags) if route else b""
    head = head or struct.pack("<xBiiH", kind, 0, flags, index)
    body = b"\x05" + head[1:]  # RTM_VERSION
    return struct.pack("<H", 2 + len(body) + 92) + body + bytes(92)


def test_changes_name_their_interface() -> None:
    told = [
        _routing_message(0xE, 4),  # RTM_IFINFO
        _routing_message(0xC, 5),  # RTM_NEWADDR
        _routing_message(0xD, 5),  # RTM_DELADDR
        _routing_message(1, 6),  # RTM_ADD
        _routing_message(2, 6),  # RTM_DELETE
        _routing_message(1, 7, 0x4),  # of a neighbour: RTF_HOST
        _routing_message(4, 8),  # RTM_GET
        _routing_message(7, 8),  # RTM_MISS
    ]
    assert list(darwin.unpack_changes(b"".join(told))) == [4, 5, 5, 6, 6]


@given(st.binary(max_size=200))
def test_what_is_no_change_ends(data: bytes) -> None:
    list(darwin.unpack_changes(data))
