"""Find the user behind the command line, and become that user for good."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from ..errors import NotAllowedError, SystemFailureError, UsageError, reason, system_step

_NO_ID = 2**32 - 1
"""This is not the id of an account: setresuid(2) takes it for "do not change"."""


class Person(NamedTuple):
    """A user account. It is looked up before we stop being root, and needs no database later."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def find_person(name: str) -> Person:
    """Return the account with this name or number. Raises UsageError if there is none."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError) as error:
        raise UsageError(f"--user {name}: there is no such user") from error
    return _person(entry)


def person_behind_sudo(environment: Mapping[str, str]) -> Person | None:
    """Return the user who ran sudo, None without sudo or if root ran it."""
    try:
        uid, gid = int(environment["SUDO_UID"]), int(environment["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if not (0 < uid < _NO_ID and 0 <= gid < _NO_ID):
        return None
    try:
        return _person(pwd.getpwuid(uid))
    except (KeyError, OverflowError):
        return Person(str(uid), uid, gid, (gid,), "/", "/bin/sh")


def nobody_account() -> Person:
    """Return the account ``nobody``, which owns nothing."""
    try:
        return _person(pwd.getpwnam("nobody"))
    except KeyError:
        return Person("nobody", 65534, 65534, (65534,), "/", "/bin/false")


def user_name() -> str:
    """Return the name of the user that we are, the number if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def can_become(person: Person) -> bool:
    """Return whether this process can become this user.

    In a user namespace, setuid(2) fails for an id that the namespace does not map. A process that
    is root there only is an ordinary user anyway.
    """
    return os.geteuid() == 0 and (
        _mapped("/proc/self/uid_map", person.uid) and _mapped("/proc/self/gid_map", person.gid)
    )


def drop_privileges(person: Person) -> None:
    """Become this user for good: set groups, gid and uid, then prove that root cannot come back.

    Raises SystemFailureError or NotAllowedError. The caller must not continue then.
    """
    try:
        os.setgroups(person.groups)
        os.setgid(person.gid)
        os.setuid(person.uid)
    except OSError as error:
        raise SystemFailureError(f"cannot become {person.name}: {reason(error)}") from error
    if person.uid == 0:
        return
    changed = (os.getuid(), os.geteuid(), os.getgid(), os.getegid())
    if changed != (person.uid, person.uid, person.gid, person.gid) or _can_return(person):
        raise NotAllowedError(
            f"cannot give up root's privileges when becoming {person.name}",
            hint="run fethpipe as that user",
        )


@contextmanager
def acting_as(person: Person | None) -> Iterator[None]:
    """As root, have only the rights of this user to files, inside of the block. None changes
    nothing.

    Raises SystemFailureError.
    """
    if person is None:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    with system_step(f"act as {person.name}"):
        os.setgroups(person.groups)
        os.setegid(person.gid)
        os.seteuid(person.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def environment_of(person: Person, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a COMMAND that runs as this user."""
    return {
        **environment,
        "HOME": person.home,
        "USER": person.name,
        "LOGNAME": person.name,
        "SHELL": person.shell,
    }


def _person(entry: pwd.struct_passwd) -> Person:
    # macOS accepts 16; the first is the primary one.
    groups = _groups(entry.pw_name, entry.pw_gid)[: os.sysconf("SC_NGROUPS_MAX")]
    return Person(
        entry.pw_name,
        entry.pw_uid,
        entry.pw_gid,
        tuple(groups),
        entry.pw_dir or "/",
        entry.pw_shell or "/bin/sh",
    )


def _groups(name: str, primary: int) -> list[int]:
    try:
        groups = os.getgrouplist(name, primary)
    except OverflowError:  # Python of macOS wants an int, but the group of nobody is -2 in 32 bits
        groups = os.getgrouplist(name, primary - (1 << 32))
    # It returns an unsigned long made from an int, so -2 comes back with 64 bits. setgroups accepts
    # at most 32.
    return [group & 0xFFFFFFFF for group in groups]


def _can_return(person: Person) -> bool:
    """Return whether this process can become root, or join root's group, again."""
    calls = [os.setuid, os.seteuid]
    if person.gid != 0:
        calls += [os.setgid, os.setegid]
    for become in calls:
        try:
            become(0)
        except PermissionError:
            continue
        return True
    return False


def _mapped(path: str, number: int) -> bool:
    """Return whether the user namespace maps the id. A system without such maps has every id."""
    try:
        with open(path) as lines:
            ranges = [tuple(map(int, line.split())) for line in lines]
    except OSError:
        return True
    return any(first <= number < first + count for first, _outside, count in ranges)
