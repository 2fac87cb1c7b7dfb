"""A DHCP client for the device: one that the system has, as a child of the keeper.

It sets the address of the device and nothing else, whatever the far network says. Its routes stay
out, as the tunnel itself, and all other traffic, would go through the tunnel; so do its name
servers. Every command line is fixed, but for the name of the device.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import DeviceError, reason
from ..system.namespace import end_with_parent

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": SEARCH_PATH}
_MANAGERS = ("/run/systemd/netif/links", "/run/NetworkManager/devices")
_APPARMOR = Path("/sys/kernel/security/apparmor/profiles")
_END_SECONDS = 2.0
_IPCONFIG = "/usr/sbin/ipconfig"
_IPCONFIG_SECONDS = 5.0

# What dhclient.conf(5) calls these: it asks for no routes and no name servers, and does not wait
# for minutes when the network beyond the tunnel is not there yet.
_DHCLIENT_CONFIGURATION = """\
request subnet-mask;
initial-interval 1;
backoff-cutoff 5;
retry 5;
"""

# A client hands on whatever a server says, whether it was asked for or not, and its usual script
# takes routes, name servers and an MTU of that. This one takes the address alone, in a network no
# wider than /8, as a wider one would draw the traffic of the host. It leaves the end of the lease
# to the kernel, as udhcpc says "deconfig" also when it is asked to renew again before an answer has
# come. Only another address takes the place of the one that is there.
SCRIPT = """\
#!/bin/sh
command -v ip >/dev/null || ip() { busybox ip "$@"; }
case ${1:-$reason} in
bound | renew) ;;
BOUND | RENEW | REBIND | REBOOT)
    ip=$new_ip_address mask=$new_subnet_mask lease=$new_dhcp_lease_time ;;
*) exit ;;
esac
case $mask in
255.* | [89] | [12][0-9] | 3[0-2]) ;;
*) exit 1 ;;
esac
case $(ip -4 address show dev "$interface") in
*" $ip/"*) ;;
*) ip -4 address flush dev "$interface" ;;
esac
set -- "$ip/$mask" dev "$interface"
ip address replace "$@" valid_lft "$lease" preferred_lft "$lease" || ip address replace "$@"
"""


class Client(NamedTuple):
    """A DHCP client: its arguments in front of the interface, with "SCRIPT" for the path of ours,
    what it gets on stdin, and the signal with which it renews its lease. One that knows no such
    signal is started again.
    """

    name: str
    arguments: Sequence[str]
    stdin: str = ""
    renew: signal.Signals | None = None


CLIENTS = (
    Client(
        "udhcpc",
        # It uses descriptors 3 and 4 itself.
        (
            *("-f", "-t", "10", "-T", "1", "-A", "2", "-o", "-O", "subnet"),
            *("-s", "/proc/self/fd/0", "-i"),
        ),
        stdin=SCRIPT,
        renew=signal.SIGUSR1,
    ),
    Client(
        "dhclient",
        ("-4", "-d", "-q", "-cf", "/dev/stdin", "-lf", "/dev/null", "--no-pid", "-sf", "SCRIPT"),
        stdin=_DHCLIENT_CONFIGURATION,
    ),
    Client(
        "dhcpcd",
        ("-4", "-B", "-q", "-f", "/dev/null", "-A", "-K", "--noconfigure", "-c", "SCRIPT"),
        renew=signal.SIGHUP,
    ),
)
"""In the order in which they are looked for."""


class AddressLease:
    """Gets an address for one interface, and keeps it until ``end``."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self._set_by_ipconfig = ""

    def start(self, interface: str, index: int) -> str:
        """Ask for an address, or renew it. Return who does so: a program, or one that manages the
        interfaces of this system. Raises DeviceError.
        """
        if _on_mac():
            _run_ipconfig(interface, "DHCP")
            self._set_by_ipconfig = interface
            return "ipconfig"
        manager = find_manager(index)
        if manager:
            return manager
        if self._process and self._process.poll() is None:
            self._renew(self._process, interface)
        else:
            self._run(interface)
        return self._client.name if self._client else ""

    def end(self) -> None:
        """End what was started; safe to call twice."""
        interface, self._set_by_ipconfig = self._set_by_ipconfig, ""
        if interface:
            with suppress(DeviceError):  # the interface may have gone
                _run_ipconfig(interface, "NONE")
        process, self._process = self._process, None
        if process:
            _end(process)

    def _renew(self, process: subprocess.Popen[bytes], interface: str) -> None:
        if self._client and self._client.renew:
            process.send_signal(self._client.renew)
        else:
            self.end()
            self._run(interface)

    def _run(self, interface: str) -> None:
        self._client, path = require_client()
        tried = f"get an address for {interface}: {path}"
        with ExitStack() as stack:
            try:
                stdin, script = (_file(each, stack) for each in (self._client.stdin, SCRIPT))
                names = {"SCRIPT": f"/proc/self/fd/{script}"}
                self._process = subprocess.Popen(
                    [path, *(names.get(each, each) for each in self._client.arguments), interface],
                    stdin=stdin,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[script],
                    env=_ENVIRONMENT,
                    preexec_fn=_prepare_child,  # noqa: PLW1509 - there are no threads
                )
            except OSError as error:
                raise DeviceError(f"cannot {tried}: {reason(error)}") from error


def _file(text: str, owner: ExitStack) -> int:
    """Return a file in memory with this text, which ``owner`` closes."""
    descriptor = os.memfd_create("fethpipe-dhcp")
    owner.callback(os.close, descriptor)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def require_client() -> tuple[Client, str]:
    """Return the first client that this system has, and its path. Raises DeviceError."""
    confined = False
    for client in CLIENTS:
        for folder in SEARCH_PATH.split(":"):
            path = f"{folder}/{client.name}"
            if os.access(path, os.X_OK):
                if f"sbin/{client.name} (enforce)" not in _read(_APPARMOR):
                    return client, path
                confined = True
    if confined:
        raise DeviceError(
            "--dhcp does not work with dhclient, as AppArmor lets it run its own script only",
            hint="install the package udhcpc",
        )
    raise DeviceError(
        "--dhcp needs udhcpc, dhclient or dhcpcd",
        hint="install one of the packages udhcpc, isc-dhcp-client, dhcp-client, dhcpcd",
    )


def find_manager(index: int, run: Path = Path("/run")) -> str:
    """Return which service configures this interface by itself; "" if none does.

    systemd-networkd and NetworkManager write a file for each interface. A file of networkd names
    the file of settings that matches the interface (src/network/networkd-state-file.c), one of
    NetworkManager the profile (src/core/nm-config.c: nm_config_device_state_write).
    """
    if "NETWORK_FILE=" in _read(run / f"systemd/netif/links/{index}"):
        return "systemd-networkd"
    state = _read(run / f"NetworkManager/devices/{index}")
    return "NetworkManager" if "managed=true" in state and "connection-uuid=" in state else ""


def check_client() -> None:
    """Raise DeviceError if nobody here could get an address."""
    if not _on_mac() and not any(map(os.path.exists, _MANAGERS)):
        require_client()


def _on_mac() -> bool:
    return os.uname().sysname == "Darwin"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _prepare_child() -> None:
    """Let it end when the keeper dies, and by the signals that the keeper ignores.

    SIGKILL would leave the privileged process of dhcpcd 9 behind: it does not notice that the one
    it serves has ended without a word (src/privsep.c: datagram sockets).
    """
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    end_with_parent(signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the client; with all its processes if it does not end by itself, as dhcpcd 9, which
    loses a signal that comes while it starts.
    """
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _run_ipconfig(interface: str, how: str) -> None:
    argv = [_IPCONFIG, "set", interface, how]
    try:
        subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            timeout=_IPCONFIG_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DeviceError(f"cannot set {interface} to {how}: {error}") from error
