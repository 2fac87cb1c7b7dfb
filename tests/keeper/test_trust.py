"""What root may be given to run: a program that nobody else can change."""

from __future__ import annotations

import grp
import os
import pwd
import struct
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fethpipe.keeper import trust
from fethpipe.keeper.trust import find_unsafe


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a package that nobody but its owner can change, with a Python of the same kind."""
    trust._is_trusted.cache_clear()
    with tempfile.TemporaryDirectory(dir=Path.home()) as name:
        root = Path(name).resolve()
        for folder in ("venv/bin", "python/bin", "lib/encodings/__pycache__", "dynload"):
            (root / folder).mkdir(parents=True)
        (root / "fethpipe/wire/__pycache__").mkdir(parents=True)
        for file in _FILES:
            (root / file).write_text("")
        (root / "venv/bin/python3").symlink_to(root / "python/bin/python3.11")
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        monkeypatch.setattr(sys, "executable", str(root / "venv/bin/python3"))
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root / "lib"))
        monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(root / "dynload"))
        if find_unsafe(root / "fethpipe") is not None:
            pytest.skip("needs a home that only its owner can change")
        yield root / "fethpipe"
    trust._is_trusted.cache_clear()


_FILES = (
    *("fethpipe/main.py", "fethpipe/wire/framing.py", "fethpipe/wire/__pycache__/framing.pyc"),
    *("venv/pyvenv.cfg", "python/bin/python3.11", "lib/os.py", "dynload/_socket.so"),
    *("lib/encodings/utf_8.py", "lib/encodings/__pycache__/utf_8.pyc"),
)
_FOLDERS = (
    *("fethpipe", "fethpipe/wire", "fethpipe/wire/__pycache__", "venv", "venv/bin", "python/bin"),
    *("lib", "lib/encodings", "lib/encodings/__pycache__", "dynload", "."),
)


@pytest.mark.parametrize("name", [*_FILES, *_FOLDERS])
@pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777])
def test_what_everybody_can_write_to_is_not_run(package: Path, name: str, mode: int) -> None:
    path = (package.parent / name).resolve()
    path.chmod(mode)
    assert find_unsafe(package) == path


def test_what_is_never_imported_may_be_anybodys(package: Path) -> None:
    other = package.parent / "lib/site-packages"
    other.mkdir()
    other.chmod(0o777)
    assert find_unsafe(package) is None


def test_what_somebody_else_owns_is_not_run(package: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    os.chown(package / "wire/framing.py", 12345, -1)
    assert find_unsafe(package) == package / "wire/framing.py"


def test_a_link_is_as_safe_as_where_it_leads(package: Path) -> None:
    target = package.parent / "elsewhere.py"
    target.write_text("")
    (package / "other.py").symlink_to(target)
    assert find_unsafe(package) is None
    target.chmod(0o666)
    assert find_unsafe(package) == target


@pytest.mark.parametrize(
    ("group", "others", "unsafe"),
    [
        pytest.param(("ann", "x", 4243, []), [], False, id="private"),
        pytest.param(("ann", "x", 4243, ["ann"]), [], False, id="private, and she is listed"),
        pytest.param(("ann", "x", 4243, ["ann", "bob"]), [], True, id="private, but for one"),
        pytest.param(("ann", "x", 4243, []), ["bob"], True, id="the primary group of another"),
        pytest.param(("users", "x", 4243, []), [], True, id="of many"),
    ],
)
def test_a_group_may_write_if_it_is_the_users_own(
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: tuple[str, str, int, list[str]],
    others: list[str],
    unsafe: bool,
) -> None:
    entry = grp.struct_group(group)
    people = [
        pwd.struct_passwd((name, "x", os.getuid(), 4243, "", "/", "/bin/sh"))
        for name in ("ann", *others)
    ]
    monkeypatch.setattr(grp, "getgrgid", lambda number: entry)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: people[0])
    monkeypatch.setattr(pwd, "getpwall", lambda: people)
    path = package / "wire/framing.py"
    if path.stat().st_gid == 0:
        if os.geteuid() != 0:
            pytest.skip("needs files of another group than root's")
        os.chown(path, -1, 4243)
    path.chmod(0o664)
    trust._is_trusted.cache_clear()
    assert find_unsafe(package) == (path if unsafe else None)


def _acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


@pytest.mark.parametrize(
    ("entries", "unsafe"),
    [
        ([(0x01, 7, 0), (0x04, 5, 0), (0x20, 5, 0)], False),
        ([(0x01, 7, 0), (0x02, 7, 12345), (0x10, 7, 0)], True),
        ([(0x01, 7, 0), (0x02, 5, 12345), (0x10, 7, 0)], False),
        ([(0x01, 7, 0), (0x02, 7, 0), (0x10, 7, 0)], False),
        ([(0x01, 7, 0), (0x08, 6, 54321), (0x10, 7, 0)], True),
    ],
)
def test_a_posix_acl_counts(entries: list[tuple[int, int, int]], unsafe: bool) -> None:
    assert trust.posix_acl_lets_others_write(_acl(*entries)) is unsafe


def test_an_acl_of_a_file_is_seen(package: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    path = package / "main.py"
    none = 2**32 - 1
    everything = [(0x01, 6, none), (0x02, 6, 12345), (0x04, 4, none), (0x10, 6, none)]
    try:
        os.setxattr(path, "system.posix_acl_access", _acl(*everything, (0x20, 4, none)))
    except OSError:
        pytest.skip("needs a file system with ACLs")
    path.chmod(0o644)  # which sets the mask alone
    assert find_unsafe(package) == path


@pytest.mark.parametrize(
    ("line", "unsafe"),
    [
        ("group:ABCDEFAB-CDEF-ABCD-EFAB-CDEF0000000C:everyone:12:deny:delete", False),
        ("user:F0000000-0000:bob:502:allow:read", False),
        ("user:F0000000-0000:bob:502:allow:read,write", True),
        ("user:F0000000-0000:bob:502:allow,inherited:add_file", True),
    ],
)
def test_an_acl_of_macos_counts(line: str, unsafe: bool) -> None:
    assert trust.acl_text_lets_others_write(f"!#acl 1\n{line}\n") is unsafe
