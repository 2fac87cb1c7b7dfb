"""Start a vmnet interface, in a process of its own.

The process is a new program and not a fork: after fork(2), macOS does not allow frameworks before
exec. It gets its code as a remote end does, so it runs the same code as we do, also if that came
over ssh. It ends when the pump closes its end of the cable, and when our channel to it is closed:
by ``release_vmnet`` or by the end of this process.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

from ..device import Device
from ..errors import DeviceError, SystemFailureError, UsageError, reason
from ..provision.kind import Kind
from ..provision.request import (
    Change,
    DeviceRequest,
    MadeHook,
    Provisioned,
    VmnetFacts,
    VmnetOptions,
)
from ..system.bundle import STAGE_ARGUMENTS, pack_program
from ..system.channel import Channel, channel_pair
from ..system.libc_darwin import host_uuid
from .cable import make_cable
from .device import VmnetDevice
from .identifier import Identifier, claim_identifier
from .options import check_options

# In bytes. vmnet has its own limit; this is the most that a record on the cable has room for.
VMNET_MTU = range(68, 65521 + 1)

_PROCESS = "fethpipe.vmnet.process:main"
_NAME = "vmnet"  # vmnet does not tell the kernel's name of the interface
_START_SECONDS = 9.0  # under the 10 that the pump waits for a keeper
_STOP_SECONDS = 8.0
_UNSUPPORTED = {
    "attach": "--attach does not work with vmnet: only the maker of an interface can use it",
    "name": "--name does not work with vmnet: macOS names the interface",
    "addresses": "--address does not work with vmnet: set this Mac's address with --vmnet-start",
    "mac": "--mac does not work with vmnet: macOS chooses the MAC",
    "metric": "--metric does not work with vmnet",
    "inject": "--inject does not work with vmnet",
}


class _Process:
    """The running process of an interface, and our channel to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], channel: Channel, identifier: Identifier | None
    ) -> None:
        self._process = process
        self.channel = channel
        self._identifier = identifier

    def close(self) -> None:
        """End the process, and wait for its end."""
        self.channel.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._identifier:
            self._identifier.close()


_running: list[_Process] = []
"""The processes that were started here and not released yet. As a rule it is one."""


def provision_vmnet(request: DeviceRequest, on_made: MadeHook) -> Provisioned:
    """Start an interface, and return it with the socket that carries its frames.

    ``on_made`` is not called: the interface ends with its process. Raises FethpipeError.
    """
    del on_made
    options = request.vmnet or VmnetOptions()
    for field, why in _UNSUPPORTED.items():
        if getattr(request, field) not in (None, False, ()):
            raise UsageError(why)
    check_options(options, request.mtu)
    with ExitStack() as undo:
        near, far = make_cable()
        undo.callback(near.close)
        with far:
            program = pack_program(_PROCESS)
            identifier = _claim_identifier(options)
            process = _start_process(identifier)
            undo.callback(process.close)
            message = {
                "options": options._asdict(),
                "mtu": request.mtu,
                "identifier": identifier.value.hex() if identifier else None,
            }
            answer, _ = process.channel.ask(
                "the process of the vmnet interface",
                message,
                (far.fileno(),),
                seconds=_START_SECONDS,
                prelude=program,
            )
        undo.pop_all()
    _running.append(process)
    return Provisioned(
        interface=_NAME,
        io_interface=None,
        mac=bytes.fromhex(answer["mac"]),
        mtu=answer["mtu"],
        addresses=(),
        up=True,
        descriptors=(near.detach(),),
        vmnet=VmnetFacts(**answer["facts"]),
    )


def _claim_identifier(options: VmnetOptions) -> Identifier | None:
    try:
        return claim_identifier(host_uuid(), options)
    except OSError:  # this Mac does not tell who it is
        return None


def _start_process(identifier: Identifier | None) -> _Process:
    """Start the process. It then waits for its code, and owns the identifier."""
    near, far = channel_pair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-S", "-B", *STAGE_ARGUMENTS],
            stdin=far.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # keeps Ctrl-C and Ctrl-Z of the terminal from it
        )
    except OSError as error:
        near.close()
        if identifier:
            identifier.close()
        raise SystemFailureError(
            f"cannot start {sys.executable} for vmnet: {reason(error)}"
        ) from error
    finally:
        far.close()
    return _Process(process, near, identifier)


def change_vmnet(_provisioned: Provisioned, _change: Change) -> None:
    """Raise DeviceError: vmnet cannot change a running interface."""
    raise DeviceError("a vmnet interface cannot be changed while it runs")


def destroy_vmnet(_name: str) -> None:
    """Do nothing: an interface of vmnet ends with its process."""


def release_vmnet() -> None:
    """End the interface and its process, even if another process still holds the cable."""
    while _running:
        _running.pop().close()


def open_vmnet_device(provisioned: Provisioned) -> Device:
    """Return the device of a provisioned interface."""
    (descriptor,) = provisioned.descriptors
    facts = provisioned.vmnet
    longest = facts.max_packet if facts else provisioned.mtu
    return VmnetDevice(descriptor, provisioned.interface, max_packet=longest)


KIND = Kind(
    "vmnet",
    "Darwin",
    VMNET_MTU,
    provision_vmnet,
    change_vmnet,
    open_vmnet_device,
    destroy_vmnet,
    release=release_vmnet,
)
