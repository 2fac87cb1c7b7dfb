"""The Linux TAP: one read is one frame, one write is one frame (tuntap.rst)."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence

from ..abi import linux
from ..errors import DeviceError, NotAllowedError, reason
from ..netlink import Netlink
from ..stats import Counters

TUN_PATH = "/dev/net/tun"

# Longer than any frame that a TAP can hold (65535 and two VLAN tags), so that none is cut short.
_READ_SIZE = 65552
# A batch ends here so that the other direction gets its turn: about what a pipe holds.
_BATCH_FRAMES = 128
_BATCH_BYTES = 1 << 16
# The kernel answers these for a frame, not for the device (drivers/net/tun.c: tun_get_user).
_REFUSALS = {
    errno.EIO: "interface down",
    errno.EINVAL: "refused by the kernel",
    errno.EAGAIN: "kernel queue full",
    errno.ENOBUFS: "kernel out of buffers",
    errno.ENOMEM: "kernel out of buffers",
    errno.EMSGSIZE: "too long for the device",
}


def open_tap(name: str, *, attach: bool = False) -> tuple[int, str]:
    """Make a TAP, or attach to one that exists, and return its descriptor and name.

    A ``%d`` in ``name`` lets the kernel choose a number. The TAP that was made goes when the last
    descriptor of it is closed. Raises DeviceError or NotAllowedError.
    """
    try:
        descriptor = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise NotAllowedError(
            f"cannot open {TUN_PATH}: {reason(error)}",
            hint="run as root, or have an administrator make the device accessible",
        ) from error
    except OSError as error:
        raise DeviceError(
            f"cannot open {TUN_PATH}: {reason(error)}", hint="load the tun module: modprobe tun"
        ) from error
    flags = linux.IFF_TAP | linux.IFF_NO_PI | (0 if attach else linux.IFF_TUN_EXCL)
    try:
        answer = fcntl.ioctl(descriptor, linux.TUNSETIFF, linux.pack_tun_request(name, flags))
    except OSError as error:
        os.close(descriptor)
        raise _refusal(name, error, attach=attach) from error
    return descriptor, linux.unpack_tun_name(answer)


def _refusal(name: str, error: OSError, *, attach: bool) -> DeviceError | NotAllowedError:
    tried = f"cannot {'attach to' if attach else 'create'} TAP {name}: TUNSETIFF: {reason(error)}"
    if error.errno == errno.EPERM:
        return NotAllowedError(
            tried,
            hint=f"run as root, or prepare it as root: ip tuntap add dev {name.replace('%d', '0')} "
            f"mode tap user {os.environ.get('USER', 'NAME')}",
        )
    hints = {
        (errno.EBUSY, False): "the name is taken: choose another, or use --attach",
        (errno.EBUSY, True): "another program has it open",
        (errno.EINVAL, True): "it is not a TAP",
        (errno.ENODEV, True): "it does not exist",
    }
    hint = hints.get((error.errno or 0, attach), "choose another name")
    return DeviceError(tried, hint=hint)


class TapDevice:
    """A TAP, from the descriptor that :func:`open_tap` made, here or in another process."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.counters = Counters()
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor that selects as readable while the kernel holds frames."""
        return self._descriptor

    def read_frames(self) -> list[bytes]:
        """Return the frames that wait, up to a batch."""
        read = os.read
        descriptor = self._descriptor
        frames: list[bytes] = []
        append = frames.append
        size = 0
        try:
            for _ in range(_BATCH_FRAMES):
                frame = read(descriptor, _READ_SIZE)
                append(frame)
                size += len(frame)
                if size > _BATCH_BYTES:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._gone(error) from error
        self.counters.frames_received += len(frames)
        self.counters.bytes_received += size
        return frames

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames in order."""
        write = os.write
        descriptor = self._descriptor
        size = refused = 0
        for frame in frames:
            try:
                size += write(descriptor, frame)
            except OSError as error:
                if error.errno not in _REFUSALS:
                    raise self._gone(error) from error
                self.counters.drop(_REFUSALS[error.errno])
                refused += 1
        self.counters.frames_sent += len(frames) - refused
        self.counters.bytes_sent += size

    def kernel_drops(self) -> int:
        """Return what the TAP's queue dropped since it was made."""
        try:
            with Netlink() as netlink:
                return netlink.link(self.name).tx_dropped
        except OSError:
            return 0

    def close(self) -> None:
        """Close the descriptor; a TAP that we made goes with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _gone(self, error: OSError) -> DeviceError:
        return DeviceError(f"{self.name} has gone: {reason(error)}", hint="somebody deleted it")
