"""What each of vmnet's return codes means to a person, and whose fault it is."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import DeviceError, FethpipeError, NotAllowedError, SystemFailureError
from .abi import Status


class VmnetError(Exception):
    """A call of vmnet did not succeed."""

    def __init__(self, call: str, status: int) -> None:
        super().__init__(f"{call}: {name_status(status)}")
        self.call = call
        self.status = status


class _Meaning(NamedTuple):
    kind: type[FethpipeError]
    words: str
    hint: str = ""


_BUG = "please report this with the options that you gave"
_FAILURE_OF_ROOT = _Meaning(
    DeviceError,
    "vmnet gives no reason",
    "choose other addresses with --vmnet-start, --vmnet-end and --vmnet-mask, which no interface "
    "of this Mac has; the system's log may say more",
)
_MEANINGS = {
    Status.VMNET_FAILURE: _Meaning(NotAllowedError, "vmnet needs root", "run as root"),
    Status.VMNET_MEM_FAILURE: _Meaning(
        SystemFailureError, "out of memory", "end other programs and try again"
    ),
    Status.VMNET_INVALID_ARGUMENT: _Meaning(
        DeviceError,
        "it does not take these options",
        "try without --mtu, and with other addresses or none",
    ),
    Status.VMNET_SETUP_INCOMPLETE: _Meaning(
        DeviceError, "the interface was not set up completely", "try again"
    ),
    Status.VMNET_INVALID_ACCESS: _Meaning(
        NotAllowedError, "permission denied", "run as root, outside of any sandbox"
    ),
    Status.VMNET_PACKET_TOO_BIG: _Meaning(DeviceError, "the packet is too big", _BUG),
    Status.VMNET_BUFFER_EXHAUSTED: _Meaning(
        SystemFailureError, "the kernel has no buffers left", "try again"
    ),
    Status.VMNET_TOO_MANY_PACKETS: _Meaning(DeviceError, "too many packets at once", _BUG),
    Status.VMNET_SHARING_SERVICE_BUSY: _Meaning(
        DeviceError,
        "the sharing service is busy",
        "turn Internet Sharing off, in System Settings under Sharing",
    ),
    Status.VMNET_NOT_AUTHORIZED: _Meaning(
        NotAllowedError, "this program is not authorized", "run as root"
    ),
}


def name_status(status: int) -> str:
    """Return a return code by number and, if it has one, its name."""
    try:
        return f"{status} ({Status(status).name})"
    except ValueError:
        return str(status)


def explain(tried: str, error: VmnetError, *, root: bool) -> FethpipeError:
    """Return the error that tells a person why vmnet refused; ``root``: we are."""
    meaning = _Meaning(DeviceError, "vmnet gives no reason", "a newer macOS may know this code")
    if error.status == Status.VMNET_FAILURE and root:
        meaning = _FAILURE_OF_ROOT
    elif error.status in _MEANINGS:
        meaning = _MEANINGS[Status(error.status)]
    return meaning.kind(f"cannot {tried}: {error}: {meaning.words}", hint=meaning.hint)
