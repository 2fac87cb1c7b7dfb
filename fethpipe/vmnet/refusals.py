"""Turn each return code of vmnet into an error that says what it means and what to do."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import DeviceError, FethpipeError, NotAllowedError, SystemFailureError
from .abi import ReturnCode


class VmnetError(Exception):
    """A call of vmnet failed. ``code`` is its return code."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call}: {name_code(code)}")
        self.call = call
        self.code = code


class _Meaning(NamedTuple):
    kind: type[FethpipeError]
    words: str
    hint: str = ""


_BUG = "please report this with the options that you gave"
_FAILURE_OF_ROOT = _Meaning(
    DeviceError,
    "vmnet gives no reason",
    "use --vmnet-start, --vmnet-end and --vmnet-mask with addresses that no interface of this Mac "
    "has; the system log may say more",
)
_MEANINGS = {
    ReturnCode.VMNET_FAILURE: _Meaning(NotAllowedError, "vmnet needs root", "run as root"),
    ReturnCode.VMNET_MEM_FAILURE: _Meaning(
        SystemFailureError, "out of memory", "end other programs and try again"
    ),
    ReturnCode.VMNET_INVALID_ARGUMENT: _Meaning(
        DeviceError,
        "it refuses these options",
        "try without --mtu, and with other addresses or none",
    ),
    ReturnCode.VMNET_SETUP_INCOMPLETE: _Meaning(
        DeviceError, "the interface was not set up completely", "try again"
    ),
    ReturnCode.VMNET_INVALID_ACCESS: _Meaning(
        NotAllowedError, "permission denied", "run as root, outside of any sandbox"
    ),
    ReturnCode.VMNET_PACKET_TOO_BIG: _Meaning(DeviceError, "a frame is too long", _BUG),
    ReturnCode.VMNET_BUFFER_EXHAUSTED: _Meaning(
        SystemFailureError, "the kernel has no buffers left", "try again"
    ),
    ReturnCode.VMNET_TOO_MANY_PACKETS: _Meaning(DeviceError, "too many frames at once", _BUG),
    ReturnCode.VMNET_SHARING_SERVICE_BUSY: _Meaning(
        DeviceError,
        "the sharing service is busy",
        "turn Internet Sharing off, in System Settings under Sharing",
    ),
    ReturnCode.VMNET_NOT_AUTHORIZED: _Meaning(
        NotAllowedError, "this program is not authorized", "run as root"
    ),
}


def name_code(code: int) -> str:
    """Return a return code as text: its number and, if it has one, its name."""
    try:
        return f"{code} ({ReturnCode(code).name})"
    except ValueError:
        return str(code)


def explain(tried: str, error: VmnetError, *, root: bool) -> FethpipeError:
    """Return the error that tells the user why vmnet refused. ``root``: whether we are root."""
    meaning = _Meaning(DeviceError, "vmnet gives no reason", "a newer macOS may know this code")
    if error.code == ReturnCode.VMNET_FAILURE and root:
        meaning = _FAILURE_OF_ROOT
    elif error.code in _MEANINGS:
        meaning = _MEANINGS[ReturnCode(error.code)]
    return meaning.kind(f"cannot {tried}: {error}: {meaning.words}", hint=meaning.hint)
