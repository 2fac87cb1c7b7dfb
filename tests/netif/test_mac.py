"""MACs as text, and the stable one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.netif.mac import parse_mac, random_mac, stable_mac
from tests.strategies import macs

MAC = bytes.fromhex("02005e00530a")


@pytest.mark.parametrize("text", ["02:00:5e:00:53:0a", "02:00:5E:00:53:0A", "02-00-5e-00-53-0a"])
def test_a_mac_as_people_write_it(text: str) -> None:
    assert parse_mac(text) == MAC


@pytest.mark.parametrize(
    "text",
    [
        *("", "02", "02:00:5e:00:53", "02:00:5e:00:53:0a:01", "02005e00530a"),
        *("2:0:5e:0:53:a", "02:00:5e:00:53:0g", "02:00:5e:00:53:0a "),
        *(" 02:00:5e:00:53:0a", "02:00:5e:00:53:0a\n", "0x:00:5e:00:53:0a"),
        *("\u06602:00:5e:00:53:0a", "\udcff2:00:5e:00:53:0a", "02 00 5e 00 53 0a"),
        *("0200:5e00:530a:::", "02005e00530a-----", ":02:005e:00:530a:"),
    ],
)
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address, like 02:00:5e:00:53:01"):
        parse_mac(text)


@pytest.mark.parametrize("text", ["01:00:5e:00:53:0a", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"])
def test_a_group_address_is_no_stations(text: str) -> None:
    with pytest.raises(ValueError, match="a multicast address: the first byte must be even"):
        parse_mac(text)


def test_zero_is_no_stations_address() -> None:
    with pytest.raises(ValueError, match="cannot be all zeros"):
        parse_mac("00:00:00:00:00:00")


@given(macs())
def test_what_is_formatted_parses(mac: bytes) -> None:
    assert parse_mac(mac.hex(":")) == mac


@given(st.text(max_size=20))
def test_any_text_is_a_mac_or_refused(text: str) -> None:
    try:
        mac = parse_mac(text)
    except ValueError:
        return
    assert mac.hex(":") == text.lower().replace("-", ":")


# ---- the stable one ----


def test_it_stays_the_same_from_version_to_version() -> None:
    assert stable_mac(b"0123456789abcdef0123456789abcdef", "fp0").hex(":") == "3e:47:75:9d:1c:16"


def test_it_differs_by_host_and_by_name() -> None:
    addresses = {stable_mac(host, name) for host in (b"a", b"b") for name in ("fp0", "fp1")}
    assert len(addresses) == 4


def test_host_and_name_are_kept_apart() -> None:
    assert stable_mac(b"ab", "c") != stable_mac(b"a", "bc")


def test_a_host_without_identity_has_one_too() -> None:
    assert len(stable_mac(b"", "fp0")) == 6


@given(st.binary(max_size=100), st.text(max_size=15))
def test_it_is_the_address_of_a_station_and_locally_administered(host: bytes, name: str) -> None:
    mac = stable_mac(host, name)
    assert mac[0] & 0b11 == 0b10
    assert parse_mac(mac.hex(":")) == mac


def test_a_random_mac_is_anothers_to_have_and_nobodys_yet() -> None:
    macs = {random_mac() for _ in range(50)}
    assert len(macs) == 50
    assert all(len(mac) == 6 and mac[0] & 0x03 == 0x02 for mac in macs)
