"""Who gets an address for a device: a service that manages it already, or a client."""

from __future__ import annotations

from pathlib import Path

import pytest

from fethpipe.errors import DeviceError
from fethpipe.keeper import dhcp
from fethpipe.keeper.dhcp import find_manager

_INDEX = 7


@pytest.mark.parametrize(
    ("file", "text", "manager"),
    [
        (
            "systemd/netif/links/7",
            "ADMIN_STATE=configuring\nNETWORK_FILE=/etc/systemd/network/fp.network\n",
            "systemd-networkd",
        ),
        ("systemd/netif/links/7", "ADMIN_STATE=unmanaged\n", ""),
        ("systemd/netif/links/8", "NETWORK_FILE=/etc/systemd/network/fp.network\n", ""),
        (
            "NetworkManager/devices/7",
            "[device]\nmanaged=true\nconnection-uuid=0b1c\n",
            "NetworkManager",
        ),
        ("NetworkManager/devices/7", "[device]\nmanaged=true\n", ""),
        ("NetworkManager/devices/7", "[device]\nmanaged=false\nconnection-uuid=0b1c\n", ""),
    ],
)
def test_a_service_with_settings_for_the_device(
    tmp_path: Path, file: str, text: str, manager: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert find_manager(_INDEX, tmp_path) == manager


def test_a_client_that_apparmor_keeps_from_our_script_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dhclient", "dhcpcd"):
        (tmp_path / name).touch(0o755)
    profiles = tmp_path / "profiles"
    monkeypatch.setattr(dhcp, "SEARCH_PATH", str(tmp_path))
    monkeypatch.setattr(dhcp, "_APPARMOR", profiles)
    assert dhcp.require_client()[0].name == "dhclient"
    profiles.write_text("/usr/bin/man (enforce)\n/{,usr/}sbin/dhclient (enforce)\n")
    assert dhcp.require_client()[0].name == "dhcpcd"
    (tmp_path / "dhcpcd").unlink()
    with pytest.raises(DeviceError, match="AppArmor"):
        dhcp.require_client()
