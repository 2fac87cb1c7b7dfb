"""Tell how far the tunnel is: people on stderr, programs in JSON, the service manager.

There are three states: ``device`` (it is up), ``connected`` (the other end says something), and
``waiting`` (to start COMMAND or ssh again).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from select import select
from typing import TYPE_CHECKING, NamedTuple

from ..device import Device
from ..errors import UsageError, reason
from ..provision.request import Provisioned, VmnetFacts
from ..system.output import open_output
from ..system.service import ServiceManager
from ..system.stderr import can_show_status
from .starter import FACTS

if TYPE_CHECKING:  # few tunnels need them
    from .hooks import Hooks
    from .status import StatusLine

log = logging.getLogger("fethpipe")


_LONGEST_REASON = 1000
"""In characters. So a line never takes more than what a pipe that selects as writable has room
for: PIPE_BUF bytes, 512 at least and 4096 on Linux."""


class Output(NamedTuple):
    """Where states go as JSON, a line each: an open descriptor, and the option that named it."""

    descriptor: int
    option: str


def open_outputs(descriptor: int | None, path: str | None, stack: ExitStack) -> list[Output]:
    """Return where ``--ready-fd`` and ``--ready-file`` want states. Raises UsageError."""
    outputs = []
    if descriptor is not None:
        outputs.append(Output(descriptor, f"--ready-fd {descriptor}"))
    if path is not None:
        opened = open_output(path, "--ready-file")
        stack.callback(os.close, opened)
        outputs.append(Output(opened, f"--ready-file {path}"))
    return outputs


class Announcer:
    """Tells each state of one tunnel.

    ``peer`` says in words where the other end is: ``to HOST``, ``through COMMAND``, or nothing. An
    end that runs at somebody else's request (``--ssh``) leaves ``connected`` to the other one.
    """

    def __init__(
        self,
        peer: str,
        outputs: Sequence[Output],
        service: ServiceManager,
        *,
        remote: bool = False,
        hooks: Hooks | None = None,
    ) -> None:
        self.status: StatusLine | None = None
        self._peer = f" {peer}" if peer else ""
        self._outputs = list(outputs)
        self._service = service
        self._remote = remote
        self.hooks = hooks
        self._facts = dict.fromkeys(FACTS, "")
        self._name = ""
        self._make_status: type[StatusLine] | None = None
        if can_show_status() and log.isEnabledFor(logging.INFO):
            from .status import StatusLine  # noqa: PLC0415 - now, as we are still allowed to read it

            self._make_status = StatusLine

    def start(self, provisioned: Provisioned, device: Device) -> None:
        """Tell that the device is up. Raises UsageError where a program cannot be told."""
        self._name = device.name
        self._tell_device(provisioned)
        self._facts.update(
            INTERFACE=provisioned.interface,
            IO_INTERFACE=provisioned.io_interface or "",
            MAC=provisioned.mac.hex(":"),
            MTU=str(provisioned.mtu),
            ADDRESSES=" ".join(map(str, provisioned.addresses)),
        )
        self._run_hook("up", "device")
        if self._make_status:
            self.status = self._make_status(device, self._peer.strip())

    def _tell_device(self, device: Provisioned) -> None:
        addresses = [str(address) for address in device.addresses]
        state = "is up" if device.up else "is down (bring it up to pass frames)"
        going_on = f"connecting{self._peer}" if self._peer else "waiting for the peer"
        log.info(
            "%s %s, %s: MAC %s, MTU %d%s",
            device.interface,
            state,
            going_on,
            device.mac.hex(":"),
            device.mtu,
            "".join(f", {fact}" for fact in (*addresses, *_describe_vmnet(device.vmnet))),
        )
        facts: dict[str, object] = {
            "io_interface": device.io_interface,
            "mac": device.mac.hex(":"),
            "mtu": device.mtu,
            "addresses": addresses,
            "pid": os.getpid(),
        }
        if device.vmnet:
            facts["vmnet"] = device.vmnet._asdict()
        line = self._line("device", facts)
        for output in self._outputs:
            try:
                os.write(output.descriptor, line)
            except OSError as error:
                raise UsageError(f"cannot write to {output.option}: {reason(error)}") from error
        self._service.tell(f"STATUS={device.interface} is up, {going_on}")

    def connected(self) -> None:
        """Tell that the other end has said something."""
        if self.status:
            self.status.progress.connected = True
        level = logging.DEBUG if self._remote else logging.INFO
        log.log(level, "%s: connected%s", self._name, self._peer)
        self._write("connected", {})
        self._run_hook("up", "connected")
        self._service.tell(f"READY=1\nSTATUS={self._name}: connected{self._peer}")

    def got_address(self, address: str) -> None:
        """Tell an address that the device got by DHCP."""
        log.info("%s: got %s by DHCP", self._name, address)
        self._write("address", {"addresses": [address]})
        self._facts["ADDRESSES"] = address
        self._run_hook("up", "address")

    def waiting(self, why: str, seconds: float) -> None:
        """Tell that COMMAND or ssh is started again in so many seconds, and why."""
        log.warning("%s: %s; starting again in %s s", self._name, why, f"{seconds:.3g}")
        self._run_hook("down", "waiting")
        self._write("waiting", {"reason": why[:_LONGEST_REASON], "seconds": seconds})
        self._service.tell(f"STATUS={self._name}: {why}; starting again in {seconds:.3g} s")

    def end(self) -> None:
        """Tell --down that the device goes, and wait for it."""
        if self.hooks:
            self.hooks.end({**self._facts, "REASON": "end"})

    def _run_hook(self, which: str, why: str) -> None:
        if self.hooks:
            self.hooks.run(which, {**self._facts, "REASON": why})

    def count_down(self, seconds: float) -> None:
        """Show in the status line how long it still takes until the next start."""
        if self.status:
            self.status.count_down(seconds)

    def _line(self, state: str, facts: dict[str, object]) -> bytes:
        line = json.dumps({"state": state, "interface": self._name, **facts})
        return line.encode() + b"\n"

    def _write(self, state: str, facts: dict[str, object]) -> None:
        """Write a line wherever there is room for it; nobody has to read on."""
        line = self._line(state, facts)
        for output in list(self._outputs):
            try:
                if select([], [output.descriptor], [], 0)[1]:
                    os.write(output.descriptor, line)
            except OSError:
                self._outputs.remove(output)


def _describe_vmnet(facts: VmnetFacts | None) -> Iterator[str]:
    """Yield the facts of a vmnet interface, besides its MAC and MTU, in words."""
    if facts is None:
        return
    yield f"{facts.mode} mode"
    yield f"longest frame {facts.max_packet}"
    on = f" on {facts.host_interface}" if facts.host_interface else ""
    if facts.start_address:
        yield f"host {facts.start_address}{on}, up to {facts.end_address}, mask {facts.subnet_mask}"
