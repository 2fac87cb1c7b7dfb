"""Check whether root may run our program: only root and this user may be able to change its code.

The code is the interpreter, by the path that is called and by the file behind all links, the
standard library with its compiled modules, the configuration of a virtual environment, our own
package, and every folder above them. Members of a group count as other users, except for root's
group, the user's private group, and the administrators of macOS.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_MACOS_ADMINISTRATORS = 80  # they may do everything by sudo, and own the folders of Homebrew
_NOT_IMPORTED = ("site-packages", "dist-packages")  # python -S
# <linux/posix_acl_xattr.h>, <linux/posix_acl.h>
_ACL = "system.posix_acl_access"
_ACL_HEADER, _ACL_ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP, _ACL_WRITE = 0x02, 0x08, 0x02
# chmod(1) of macOS: what changes a file, or what a folder holds.
_MACOS_CHANGES = {"write", "append", "delete", "delete_child", "add_file", "add_subdirectory"}
_ACL_FIELDS = 6
_MACOS_CHANGES |= {"writesecurity", "chown"}


def interpreter() -> Path:
    """Return the interpreter that runs us, with all links resolved."""
    return Path(sys.executable).resolve()


def find_unsafe(package: Path) -> Path | None:
    """Return a file or folder that root would import from and that another user could change.

    Return None if there is none.
    """
    seen: set[Path] = set()
    for path in _imported(package):
        for each in (path, *path.parents):
            if each not in seen:
                seen.add(each)
                if _others_may_change(each):
                    return each
    return None


def _imported(package: Path) -> Iterator[Path]:
    """Yield all files and folders that Python could import from, and the targets of links."""
    called, real = Path(sys.executable).absolute(), interpreter()
    yield called
    yield real
    for program in (called, real):
        for folder in (program.parent, program.parent.parent):
            if (folder / "pyvenv.cfg").exists():
                yield folder / "pyvenv.cfg"
    yield from _walk(package)
    for name in ("stdlib", "platstdlib"):
        yield from _walk(Path(sysconfig.get_path(name)))
    dynload = sysconfig.get_config_var("DESTSHARED")
    if dynload:
        yield from _walk(Path(dynload))


def _walk(folder: Path) -> Iterator[Path]:
    yield folder
    if folder.is_symlink():
        folder = folder.resolve()
        yield folder
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_IMPORTED]
        for name in (*folders, *files):
            path = Path(parent, name)
            yield path
            if path.is_symlink():
                yield path.resolve()


def _others_may_change(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:  # a temporary file
        return False
    except OSError:
        return True
    if status.st_uid not in (0, os.getuid()):
        return True
    if stat.S_ISLNK(status.st_mode):  # a link has no mode; its folder decides
        return False
    by_group = status.st_mode & stat.S_IWGRP and not _is_trusted(status.st_gid)
    return bool(by_group or status.st_mode & stat.S_IWOTH) or _acl_lets_others_write(path)


@cache
def _is_trusted(group: int) -> bool:
    """Return whether all members of the group are this user, or as powerful as root."""
    if group == 0 or (group == _MACOS_ADMINISTRATORS and sys.platform == "darwin"):
        return True
    try:
        entry = grp.getgrgid(group)
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    if entry.gr_name != user or not set(entry.gr_mem) <= {user}:
        return False
    return all(each.pw_name == user for each in pwd.getpwall() if each.pw_gid == group)


def _acl_lets_others_write(path: Path) -> bool:
    if sys.platform == "darwin":
        from ..system.libc_darwin import read_acl  # noqa: PLC0415 - only there

        return acl_text_lets_others_write(read_acl(str(path)))
    try:
        acl = os.getxattr(path, _ACL)
    except OSError:  # it has none
        return False
    return posix_acl_lets_others_write(acl)


def posix_acl_lets_others_write(acl: bytes) -> bool:
    """Return whether a named user or group may write. The mask is ignored, since it can be changed
    later.
    """
    entries = _ACL_ENTRY.iter_unpack(acl[_ACL_HEADER.size :])
    return any(
        permissions & _ACL_WRITE
        and (
            (tag == _ACL_USER and number not in (0, os.getuid()))
            or (tag == _ACL_GROUP and not _is_trusted(number))
        )
        for tag, permissions, number in entries
    )


def acl_text_lets_others_write(text: str) -> bool:
    """Return whether an ACL, in the format of acl_to_text(3) of macOS, lets anybody change a file.

    A line looks like ``group:UUID:everyone:12:deny:delete``.
    """
    for line in text.splitlines():
        fields = line.split(":")
        allows = len(fields) == _ACL_FIELDS and fields[4].split(",")[0] == "allow"
        if allows and _MACOS_CHANGES & set(fields[5].split(",")):
            return True
    return False
