"""Enter a new, empty network namespace, as root or as a user whom the kernel allows it (Linux).

The kernel removes a network namespace, with all virtual devices in it, when its last process has
ended and its last socket is closed. A socket stays in the namespace in which it was made. See
network_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ..errors import NotAllowedError, reason
from .libc import check_call, load_libc

# include/uapi/linux/sched.h
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1


def enter_new_network() -> bool:
    """Move this process, which must have one thread, to a new network namespace.

    Without the privilege for that, it first becomes root of a new user namespace, and this returns
    True. Raises NotAllowedError if that is not allowed either.
    """
    try:
        _unshare(_CLONE_NEWNET)
    except PermissionError:
        _become_root_of_new_user_namespace()
        return True
    return False


def end_with_parent(number: signal.Signals) -> None:
    """Let the kernel send this signal to us when our parent dies.

    It holds until the credentials of this process change. Raises OSError.
    """
    check_call(load_libc().prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")


def _become_root_of_new_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        # An ordinary user may write a group map only after this.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        raise NotAllowedError(
            f"cannot make a network namespace: {reason(error)}",
            hint="run as root, or ask an administrator to allow user namespaces to ordinary users "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns)",
        ) from error


def _unshare(flags: int) -> None:
    check_call(load_libc().unshare(flags), "unshare")
