"""Who gets an address for a device: a service that manages it already, or a client."""

from __future__ import annotations

from pathlib import Path

import pytest

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
