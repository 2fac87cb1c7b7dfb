"""Leave for a new, empty network, as root or as anybody whom the kernel allows to (Linux).

The kernel removes a network namespace, with every virtual device in it, when the last process and
the last socket in it have gone. A socket stays in the namespace in which it was made. See
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
    """Move this process, of one thread, to a new network namespace.

    Without the privilege it becomes root of a new user namespace first, and the answer is True.
    Raises NotAllowedError when that is not allowed either.
    """
    try:
        _unshare(_CLONE_NEWNET)
    except PermissionError:
        _become_root_of_new_user_namespace()
        return True
    return False


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal when our parent dies, until our credentials change."""
    check_call(load_libc().prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")


def _become_root_of_new_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        # The kernel takes a group map from an ordinary user only after this.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        raise NotAllowedError(
            f"cannot make a network namespace: {reason(error)}",
            hint="run as root, or have an administrator allow user namespaces to ordinary users "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns)",
        ) from error


def _unshare(flags: int) -> None:
    check_call(load_libc().unshare(flags), "unshare")
