"""Start a vmnet interface, in a process of its own.

The process is a program of its own, not a fork: fork(2) of macOS allows the child no framework
before it calls exec. It is sent its code like a remote end is, so it runs what we run, wherever
that came from. It ends with the cable, whose other end the pump gets, and with our channel to it,
which lasts until ``release_vmnet`` or the end of this process.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

from ..device import Device
from ..errors import DeviceError, NotAllowedError, SystemFailureError, UsageError, reason
from ..provision.kind import Kind
from ..provision.request import (
    Change,
    DeviceRequest,
    MadeHook,
    Provisioned,
    VmnetFacts,
    VmnetOptions,
)
from ..system.bundle import Program, pack_program, stage_arguments
from ..system.channel import Channel, ChannelClosedError, ChannelError, Message, channel_pair
from .cable import make_cable
from .device import VmnetDevice
from .options import check_options

# vmnet itself knows better; a record of the cable has no room for more.
VMNET_MTU = range(68, 65521 + 1)

_PROCESS = "fethpipe.vmnet.process:main"
_NAME = "vmnet"  # nobody is told what the kernel calls it
_START_SECONDS = 9.0  # under the 10 that the pump waits for a keeper
_STOP_SECONDS = 8.0
_ERRORS = {kind.__name__: kind for kind in (DeviceError, NotAllowedError, UsageError)}
_UNSUPPORTED = {
    "attach": "--attach is not for vmnet: an interface is its maker's alone",
    "name": "--name is not for vmnet, whose interfaces have no names of ours",
    "addresses": "--address is not for vmnet: the host's address is --vmnet-start",
    "mac": "--mac is not for vmnet, which chooses the MAC itself",
    "metric": "--metric is not for vmnet",
    "inject": "--inject is not for vmnet",
}


class _Process:
    """A process that runs, and our channel to it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel

    def start(self, program: Program, message: Message, cable: int) -> Message:
        """Send the program, and have it start the interface; return what it answers.

        Raises FethpipeError.
        """
        self._channel.set_timeout(_START_SECONDS)
        try:
            self._channel.send_bytes(program.block)
            self._channel.send(message, (cable,))
            answer, _ = self._channel.receive()
        except (ChannelError, ChannelClosedError, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else "it has gone"
            raise SystemFailureError(
                f"the process of the vmnet interface does not answer: {why}"
            ) from error
        if "error" in answer:
            kind = _ERRORS.get(answer["error"], SystemFailureError)
            raise kind(answer["message"], hint=answer["hint"])
        return answer

    def close(self) -> None:
        """End the process, and wait for that."""
        self._channel.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_running: list[_Process] = []
"""What was started here and not released yet: one process, where all goes well."""


def provision_vmnet(request: DeviceRequest, on_made: MadeHook) -> Provisioned:
    """Return an interface that runs, with the socket that its frames go through.

    No interface is made that would outlive its process, so ``on_made`` gets to know of none.
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
            process = _start_process(program)
            undo.callback(process.close)
            message = {"options": options._asdict(), "mtu": request.mtu}
            answer = process.start(program, message, far.fileno())
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


def _start_process(program: Program) -> _Process:
    """Start the process, which waits for its code."""
    near, far = channel_pair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-S", "-B", *stage_arguments(program)],
            stdin=far.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C and Ctrl-Z are not for it
        )
    except OSError as error:
        near.close()
        raise SystemFailureError(
            f"cannot start {sys.executable} for vmnet: {reason(error)}"
        ) from error
    finally:
        far.close()
    return _Process(process, near)


def change_vmnet(_provisioned: Provisioned, _change: Change) -> None:
    """Refuse: what a vmnet interface is started with is for life."""
    raise DeviceError("a vmnet interface cannot be changed while it runs")


def destroy_vmnet(_name: str) -> None:
    """Do nothing: no interface of vmnet outlives its process."""


def release_vmnet() -> None:
    """End the interface and its process, whoever may still hold the cable."""
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
