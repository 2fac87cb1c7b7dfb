"""The keeper: the one process that stays root, and what the pump asks of it.

The keeper makes the device, hands its descriptors over, then waits. At the end of the channel,
however the pump went, it destroys what it made. Rules:

1. It takes a few typed requests, never a command line, and checks every field: the pump talks to a
   peer that nobody trusts.
2. It makes one device, once, and changes only that one; name and index tell it from others.
3. It never holds or reads the stream, and closes its own copies of the device's descriptors as
   soon as they are handed over.
4. A malformed request costs the request, nothing else.
"""

from __future__ import annotations

import ipaddress
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NoReturn

from ..abi.address import IPInterface
from ..errors import (
    DeviceError,
    FethpipeError,
    NotAllowedError,
    SystemFailureError,
    UsageError,
    reason,
    system_step,
)
from ..netif.mac import MAC_LENGTH
from ..netif.name import interface_index
from ..provision import KINDS, find_kind, provision
from ..provision.kind import Kind
from ..provision.request import Change, DeviceRequest, Provisioned, VmnetFacts, VmnetOptions
from ..system.channel import Channel, ChannelClosedError, ChannelError, Message, channel_pair
from ..system.descriptors import close_all_but
from .ledger import Made, Record, abandoned, open_folder

_ANSWER_SECONDS = 10.0
_STDERR = 2
_MOST_ADDRESSES = 64
_LONGEST_NAME = 15
_UUID_LENGTH = 36
_LARGEST_NUMBER = 2**31 - 1
_INJECT = (None, "ndrv", "bpf")
_ERRORS = {kind.__name__: kind for kind in (DeviceError, NotAllowedError, UsageError)}


# --- the requests and answers as messages -------------------------------------------------------


class RequestError(Exception):
    """A request that is none of the few that the keeper takes."""


def pack_request(kind: str, request: DeviceRequest) -> Message:
    """Return the message that asks for a device."""
    return {
        "do": "provision",
        "kind": kind,
        "name": request.name,
        "attach": request.attach,
        "io_unit": request.io_unit,
        "addresses": [str(address) for address in request.addresses],
        "mac": request.mac.hex() if request.mac else None,
        "mtu": request.mtu,
        "metric": request.metric,
        "inject": request.inject,
        "offload": request.offload,
        "vmnet": request.vmnet._asdict() if request.vmnet else None,
    }


def unpack_request(message: Message) -> tuple[str, DeviceRequest]:
    """Return the kind and the request of a message. Raises RequestError."""
    fields = _Fields(message, {"kind", *DeviceRequest._fields})
    kind = fields.text("kind")
    if kind is None or kind not in KINDS:
        raise RequestError("kind")
    mac = fields.text("mac")
    inject = fields.text("inject")
    if inject not in _INJECT:
        raise RequestError("inject")
    request = DeviceRequest(
        name=fields.text("name"),
        attach=fields.flag("attach"),
        io_unit=fields.number("io_unit"),
        addresses=fields.addresses("addresses"),
        mac=None if mac is None else _unpack_mac(mac),
        mtu=fields.number("mtu"),
        metric=fields.number("metric"),
        inject=inject,
        offload=fields.flag("offload"),
        vmnet=_unpack_vmnet(message["vmnet"]),
    )
    return kind, request


def pack_change(change: Change) -> Message:
    """Return the message that asks for a change."""
    return {
        "do": "change",
        "add": [str(address) for address in change.add],
        "remove": [str(address) for address in change.remove],
        "mtu": change.mtu,
    }


def unpack_change(message: Message) -> Change:
    """Return the change of a message. Raises RequestError."""
    fields = _Fields(message, {"add", "remove", "mtu"})
    return Change(fields.addresses("add"), fields.addresses("remove"), fields.number("mtu"))


def pack_provisioned(device: Provisioned) -> Message:
    """Return the facts of a device, without its descriptors."""
    return {
        "interface": device.interface,
        "io_interface": device.io_interface,
        "mac": device.mac.hex(),
        "mtu": device.mtu,
        "addresses": [str(address) for address in device.addresses],
        "up": device.up,
        "vmnet": device.vmnet._asdict() if device.vmnet else None,
    }


def unpack_provisioned(message: Message, descriptors: list[int]) -> Provisioned:
    """Return a device from its facts and descriptors."""
    return Provisioned(
        interface=message["interface"],
        io_interface=message["io_interface"],
        mac=bytes.fromhex(message["mac"]),
        mtu=message["mtu"],
        addresses=tuple(map(ipaddress.ip_interface, message["addresses"])),
        up=message["up"],
        descriptors=tuple(descriptors),
        vmnet=VmnetFacts(**message["vmnet"]) if message["vmnet"] else None,
    )


class _Fields:
    """The fields of a request, all there, none besides, each of its type."""

    def __init__(self, message: Message, names: set[str]) -> None:
        if set(message) != names | {"do"}:
            raise RequestError("fields")
        self._message = message

    def text(self, name: str, *, longest: int = _LONGEST_NAME) -> str | None:
        value = self._message[name]
        if value is None:
            return None
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise RequestError(name)
        # Names and numbers of interfaces are ASCII; what is not might not even be encodable.
        if not (value.isascii() and value.isprintable()):
            raise RequestError(name)
        return value

    def flag(self, name: str) -> bool:
        value = self._message[name]
        if not isinstance(value, bool):
            raise RequestError(name)
        return value

    def number(self, name: str) -> int | None:
        value = self._message[name]
        if value is not None and not (type(value) is int and 0 <= value <= _LARGEST_NUMBER):
            raise RequestError(name)
        return value

    def addresses(self, name: str) -> tuple[IPInterface, ...]:
        value = self._message[name]
        if not isinstance(value, list) or len(value) > _MOST_ADDRESSES:
            raise RequestError(name)
        try:
            return tuple(_unpack_address(text) for text in value)
        except ValueError:
            raise RequestError(name) from None


def _unpack_address(text: Any) -> IPInterface:
    # ip_interface takes integers and bytes too, and IPv6 zones.
    if not isinstance(text, str) or "%" in text or "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_interface(text)


def _unpack_vmnet(message: Any) -> VmnetOptions | None:
    """Return options by type and length; what they say is checked where they are used."""
    if message is None:
        return None
    if not isinstance(message, dict):
        raise RequestError("vmnet")
    fields = _Fields({**message, "do": "vmnet"}, set(VmnetOptions._fields))
    return VmnetOptions(
        mode=fields.text("mode") or "",
        interface=fields.text("interface"),
        start=fields.text("start"),
        end=fields.text("end"),
        mask=fields.text("mask"),
        isolated=fields.flag("isolated"),
        network=fields.text("network", longest=_UUID_LENGTH),
    )


def _unpack_mac(text: str) -> bytes:
    try:
        mac = bytes.fromhex(text)
    except ValueError:
        mac = b""
    if len(mac) != MAC_LENGTH or mac[0] & 1 or not any(mac):
        raise RequestError("mac")
    return mac


# --- the root side ------------------------------------------------------------------------------


class Keeper:
    """Serve one pump until its end of the channel closes."""

    def __init__(self, channel: Channel, *, open_records: Callable[[], int] = open_folder) -> None:
        self._channel = channel
        self._open_records = open_records
        self._record: Record | None = None
        self._made: list[Made] = []
        self._kind: Kind | None = None
        self._device: Provisioned | None = None
        self._index = 0

    def serve(self) -> None:
        """Answer requests; at the end of the channel destroy what was made."""
        try:
            while True:
                try:
                    message, _ = self._channel.receive()
                    answer, descriptors = self._answer(message)
                except (ChannelError, RequestError) as error:
                    answer, descriptors = {"refused": f"malformed request: {error}"}, ()
                except FethpipeError as error:
                    answer, descriptors = _pack_error(error), ()
                except (OSError, ValueError) as error:  # checked requests should not get here
                    answer, descriptors = {"refused": f"request failed: {error}"}, ()
                self._channel.send(answer, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
        except ChannelClosedError:
            pass
        finally:
            self._destroy()

    def _answer(self, message: Message) -> tuple[Message, tuple[int, ...]]:
        action = message.get("do")
        if action == "provision":
            return self._provision(*unpack_request(message))
        if action == "change":
            self._change(unpack_change(message))
            return {"done": True}, ()
        if action == "destroy" and set(message) == {"do"}:
            self._destroy()
            return {"done": True}, ()
        raise RequestError("do")

    def _provision(self, name: str, request: DeviceRequest) -> tuple[Message, tuple[int, ...]]:
        if self._kind is not None:
            raise RequestError("one device is all there is")
        kind = find_kind(name)
        if kind.lasting:
            self._reap_and_record()
        try:
            device = provision(kind, request, on_made=partial(self._note, kind))
        except BaseException:
            self._destroy()
            raise
        self._kind, self._device = kind, device
        self._index = interface_index(device.interface)
        return {"device": pack_provisioned(device)}, device.descriptors

    def _note(self, kind: Kind, interface: str) -> None:
        """Remember an interface that was made just now, here and on record."""
        mac = kind.mac(interface).hex() if kind.mac else ""
        made = Made(kind.name, interface, interface_index(interface), mac)
        self._made.append(made)
        if self._record is not None:
            with suppress(OSError):
                self._record.add(made)

    def _reap_and_record(self) -> None:
        """Remove what dead keepers left, and start our own record.

        A system without a folder for it (a read-only root) loses that comfort, not the tunnel.
        """
        with suppress(OSError):
            reap(self._open_records)
            self._record = Record(self._open_records())

    def _change(self, change: Change) -> None:
        if self._kind is None or self._device is None:
            raise RequestError("there is no device to change")
        name = self._device.interface
        if interface_index(name) != self._index:
            raise DeviceError(f"{name} has gone", hint="somebody deleted or renamed it")
        self._kind.change(self._device, change)

    def _destroy(self) -> None:
        """Destroy what was made. What resists stays on record, if it has one, for a later start."""
        resisting = False
        while self._made:
            try:
                _destroy_made(self._made.pop())
            except FethpipeError:
                resisting = True
        if self._kind is not None and self._kind.release:
            self._kind.release()
        self._device = None
        if self._record is not None:
            self._record.close(keep=resisting)
            self._record = None


def reap(open_records: Callable[[], int] = open_folder) -> list[Made]:
    """Destroy the interfaces that killed keepers left behind, and return them.

    Only what fethpipe made, whose keeper is dead, and which is still the same interface. What
    resists stays on record. Raises OSError when the folder of records cannot be used.
    """
    folder = open_records()
    reaped = []
    try:
        for record in abandoned(folder):
            with suppress(FethpipeError):
                for made in record.made:
                    if _has_its_mac(made) and _destroy_made(made):
                        reaped.append(made)
                record.remove()
    finally:
        os.close(folder)
    return reaped


def _destroy_made(made: Made) -> bool:
    """Destroy an interface and return True; False if it has gone, or is another by now."""
    known = made.kind in KINDS and made.ifindex
    if not known or interface_index(made.interface) != made.ifindex:
        return False
    find_kind(made.kind).destroy(made.interface)
    return True


def _has_its_mac(made: Made) -> bool:
    """Return whether an interface has the MAC that it had, as far as that is known.

    While its keeper lives, somebody may change it; later, one with another is another.
    """
    if not made.mac or made.kind not in KINDS:
        return True
    kind = find_kind(made.kind)
    return kind.mac is None or kind.mac(made.interface).hex() == made.mac


def keep(channel: Channel) -> NoReturn:
    """Turn this process into the keeper at the far end of the channel. It never returns."""
    status = 0
    try:
        os.setsid()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.chdir("/")
        os.umask(0o077)
        signal.set_wakeup_fd(-1)
        close_all_but({channel.fileno(), _STDERR})
        Keeper(channel).serve()
    except BaseException as error:  # noqa: BLE001 - a fork of the pump must not go on as one
        with suppress(OSError):
            os.write(2, f"fethpipe: the keeper failed: {error!r}\n".encode())
        status = SystemFailureError.status
    finally:
        os._exit(status)


def _pack_error(error: FethpipeError) -> Message:
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


# --- the pump's side ----------------------------------------------------------------------------


class KeeperProcess:
    """A keeper as the pump sees it: a channel, and the child process that it is, if it is ours."""

    def __init__(self, channel: Channel, process: int | None = None) -> None:
        self.channel = channel
        self._process = process

    def provision(self, kind: str, request: DeviceRequest) -> Provisioned:
        """Have the device made. Raises what making it raised there, SystemFailureError when the
        keeper does not answer.
        """
        message, descriptors = self._ask(pack_request(kind, request))
        return unpack_provisioned(message["device"], descriptors)

    def change(self, change: Change) -> None:
        """Have the device changed. Raises as ``provision`` does."""
        self._ask(pack_change(change))

    def close(self) -> None:
        """Have the device destroyed, and wait for the keeper's end; safe to call twice."""
        self.channel.finish()
        if self._process is not None:
            os.waitpid(self._process, 0)
            self._process = None

    def _ask(self, request: Message) -> tuple[Message, list[int]]:
        self.channel.set_timeout(_ANSWER_SECONDS)
        try:
            self.channel.send(request)
            answer, descriptors = self.channel.receive(descriptors=True)
        except (ChannelError, ChannelClosedError, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else "it has gone"
            raise SystemFailureError(f"the keeper does not answer: {why}") from error
        finally:
            self.channel.set_timeout(None)
        if "error" in answer:
            kind = _ERRORS.get(answer["error"], SystemFailureError)
            raise kind(answer["message"], hint=answer["hint"])
        if "refused" in answer:
            raise SystemFailureError(f"the keeper refused: {answer['refused']}")
        return answer, descriptors


def fork_keeper() -> KeeperProcess:
    """Start the keeper of a program that is root itself. Call it before there are threads.

    Raises SystemFailureError.
    """
    with system_step("start the keeper"), ExitStack() as undo:
        near, far = channel_pair()
        undo.callback(near.close)
        undo.callback(far.close)
        process = os.fork()
        undo.pop_all()
    if process == 0:
        keep(far)
    far.close()
    return KeeperProcess(near, process)
