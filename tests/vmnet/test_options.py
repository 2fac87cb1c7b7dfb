"""What can be asked of vmnet, and what its refusals say."""

from __future__ import annotations

from typing import Any

import pytest

from fethpipe.errors import DeviceError, NotAllowedError, SystemFailureError, UsageError
from fethpipe.provision.request import VmnetOptions
from fethpipe.vmnet.abi import ReturnCode
from fethpipe.vmnet.options import check_options
from fethpipe.vmnet.refusals import VmnetError, explain

_RANGE: Any = {"start": "192.168.77.1", "end": "192.168.77.254", "mask": "255.255.255.0"}
_UUID = "12345678-9abc-def0-1234-56789abcdef0"


@pytest.mark.parametrize(
    ("options", "mtu"),
    [
        (VmnetOptions(), None),
        (VmnetOptions("host"), 9000),
        (VmnetOptions("host", network=_UUID), None),
        (VmnetOptions("shared", isolated=True, **_RANGE), 1400),
        (VmnetOptions("host", start="10.0.0.1", end="10.255.255.254", mask="255.0.0.0"), None),
        (VmnetOptions("bridged", "en0"), None),
    ],
)
def test_what_can_be_passes(options: VmnetOptions, mtu: int | None) -> None:
    check_options(options, mtu)


@pytest.mark.parametrize(
    ("options", "mtu", "why"),
    [
        (VmnetOptions("magic"), None, "not one of host, shared, bridged"),
        (VmnetOptions("bridged"), None, "--vmnet-interface en0"),
        (VmnetOptions("shared", "en0"), None, "needs --vmnet-mode bridged"),
        (VmnetOptions("bridged", "en0"), 1400, "--mtu does not work with"),
        (VmnetOptions("bridged", "en0", **_RANGE), None, "where macOS gives out addresses"),
        (VmnetOptions("host", network=_UUID, **_RANGE), None, "without --vmnet-network"),
        (VmnetOptions("shared", network=_UUID), None, "needs --vmnet-mode host"),
        (VmnetOptions("host", network="1234"), None, "is not a UUID"),
        (VmnetOptions("host", network=_UUID + "0"), None, "is not a UUID"),
        (VmnetOptions(start="10.0.0.1"), None, "need each other"),
        (VmnetOptions(start="10.0.0.1", end="10.0.0.9"), None, "need each other"),
        (VmnetOptions(**{**_RANGE, "start": "here"}), None, "--vmnet-start 'here' is not an IPv4"),
        (VmnetOptions(**{**_RANGE, "end": "fd00::1"}), None, "is not an IPv4 address"),
        (VmnetOptions(**{**_RANGE, "mask": "255.0.255.0"}), None, "is not a network mask"),
        (VmnetOptions(**{**_RANGE, "end": "192.168.77.1"}), None, "not a range of private"),
        (VmnetOptions(**{**_RANGE, "end": "192.168.78.1"}), None, "not a range of private"),
        (
            VmnetOptions(start="8.8.8.1", end="8.8.8.9", mask="255.255.255.0"),
            None,
            "not a range of private",
        ),
    ],
)
def test_what_cannot_be_is_told(options: VmnetOptions, mtu: int | None, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_options(options, mtu)
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("status", "root", "kind", "words"),
    [
        (1001, False, NotAllowedError, "1001 (VMNET_FAILURE): vmnet needs root; run as root"),
        (1001, True, DeviceError, "--vmnet-start"),
        (1002, True, SystemFailureError, "1002 (VMNET_MEM_FAILURE): out of memory"),
        (1003, True, DeviceError, "refuses these options"),
        (1004, True, DeviceError, "not set up completely"),
        (1005, True, NotAllowedError, "permission denied"),
        (1006, True, DeviceError, "too long"),
        (1007, True, SystemFailureError, "no buffers left"),
        (1008, True, DeviceError, "too many frames"),
        (1009, True, DeviceError, "turn Internet Sharing off"),
        (1010, False, NotAllowedError, "not authorized"),
        (4711, True, DeviceError, "call: 4711: vmnet gives no reason"),
    ],
)
def test_every_code_has_its_message(
    status: int, root: bool, kind: type[Exception], words: str
) -> None:
    error = explain("start", VmnetError("call", status), root=root)
    assert type(error) is kind
    assert str(error).startswith(f"cannot start: call: {status}")
    assert words in str(error)
    assert error.hint


def test_no_code_is_left_out() -> None:
    for status in set(ReturnCode) - {ReturnCode.VMNET_SUCCESS}:
        assert "gives no reason" not in str(
            explain("start", VmnetError("call", status), root=False)
        )
