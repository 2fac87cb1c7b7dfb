"""Becoming an ordinary person for good, and finding out who that is."""

from __future__ import annotations

import os
import pwd
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fethpipe.errors import NotAllowedError, SystemFailureError, UsageError
from fethpipe.system import privileges
from fethpipe.system.privileges import (
    Person,
    can_become,
    drop_privileges,
    environment_of,
    find_person,
    nobody_account,
    person_behind_sudo,
)

ANN = Person("ann", 4242, 4243, (4243, 4244), "/home/ann", "/bin/zsh")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


def in_a_child(check: Callable[[], None]) -> None:
    """Run a check in a process of its own, which it may change for good."""
    child = os.fork()
    if child == 0:
        status = 0
        try:
            check()
        except BaseException:  # noqa: BLE001 - the child must not go on as pytest
            traceback.print_exc(file=sys.__stderr__)
            status = 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- becoming somebody ----


@needs_root
def test_every_id_is_the_persons_and_nothing_is_left_or_comes_back() -> None:
    def check() -> None:
        drop_privileges(ANN)
        assert os.getuid() == os.geteuid() == ANN.uid
        assert os.getgid() == os.getegid() == ANN.gid
        assert sorted(os.getgroups()) == sorted(ANN.groups)
        if Path("/proc/self/status").exists():
            lines = Path("/proc/self/status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            assert status["Uid"].split() == [str(ANN.uid)] * 4
            assert status["Gid"].split() == [str(ANN.gid)] * 4
            for kind in ("CapPrm", "CapEff", "CapAmb"):
                assert int(status[kind], 16) == 0
        for become in (os.setuid, os.seteuid, os.setgid, os.setegid):
            with pytest.raises(PermissionError):
                become(0)
        with pytest.raises(PermissionError):
            os.setgroups([0])

    in_a_child(check)


@needs_root
def test_a_person_whose_own_group_is_roots_keeps_it() -> None:
    def check() -> None:
        drop_privileges(ANN._replace(gid=0, groups=(0,)))
        assert (os.getuid(), os.getgid()) == (ANN.uid, 0)

    in_a_child(check)


@needs_root
def test_root_may_stay_root() -> None:
    in_a_child(lambda: drop_privileges(Person("root", 0, 0, (0,), "/root", "/bin/sh")))


def test_who_cannot_become_somebody_is_told() -> None:
    def check() -> None:
        if os.geteuid() == 0:
            drop_privileges(ANN)
        with pytest.raises(SystemFailureError, match="cannot become bob: EPERM"):
            drop_privileges(ANN._replace(name="bob", uid=4250))

    in_a_child(check)


@pytest.mark.parametrize("forgotten", ["setuid", "setgid"])
def test_a_system_that_does_not_do_what_it_says_is_found_out(
    monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    ids = {"uid": 0, "gid": 0}

    def change(which: str) -> Callable[[int], None]:
        def become(number: int) -> None:
            if f"set{which}" != forgotten:
                ids[which] = number

        return become

    for which in ids:
        for name in (f"set{which}", f"sete{which}"):
            monkeypatch.setattr(os, name, change(which))
        for name in (f"get{which}", f"gete{which}"):
            monkeypatch.setattr(os, name, partial(ids.__getitem__, which))
    monkeypatch.setattr(os, "setgroups", lambda groups: None)
    with pytest.raises(NotAllowedError, match="cannot give up root's privileges when becoming ann"):
        drop_privileges(ANN)


def test_privileges_that_could_be_had_again_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setgroups", lambda groups: None)
    for which, own in (("uid", ANN.uid), ("gid", ANN.gid)):
        for name in (f"set{which}", f"sete{which}"):
            monkeypatch.setattr(os, name, lambda number: None)
        for name in (f"get{which}", f"gete{which}"):
            monkeypatch.setattr(os, name, lambda own=own: own)
    with pytest.raises(NotAllowedError, match="cannot give up root's privileges"):
        drop_privileges(ANN)


# ---- who ----


def test_a_person_is_found_by_name_and_number() -> None:
    entry = pwd.getpwuid(os.getuid())
    by_name, by_number = find_person(entry.pw_name), find_person(str(entry.pw_uid))
    assert by_name == by_number
    assert by_name.uid == entry.pw_uid
    assert by_name.groups[0] == by_name.gid == entry.pw_gid
    assert by_name.home == entry.pw_dir


@pytest.mark.parametrize("name", ["no-such-user", "", "4000000000", "9" * 30, "²", "-1"])
def test_who_does_not_exist_is_told(name: str) -> None:
    with pytest.raises(UsageError, match="there is no such user"):
        find_person(name)


def test_nobody_is_always_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nobody_account().uid != 0

    def missing(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", missing)
    assert nobody_account().uid != 0


def nobody_of_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the account and the groups that Python finds for nobody on macOS.

    pwd reads nobody's group, -2, as unsigned, and getgrouplist wants it signed. It makes each group
    an unsigned long from an int (Modules/posixmodule.c), so -2 comes back with 64 bits.
    """
    entry = pwd.struct_passwd(
        ("nobody", "*", 4294967294, 4294967294, "", "/var/empty", "/usr/bin/false")
    )

    def as_on_macos(name: str, group: int) -> list[int]:
        if not -(1 << 31) <= group < 1 << 31:
            raise OverflowError("signed integer is greater than maximum")
        return [group % (1 << 64), 12]

    monkeypatch.setattr(pwd, "getpwnam", lambda name: entry)
    monkeypatch.setattr(os, "getgrouplist", as_on_macos)


def test_nobody_is_found_where_its_number_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_of_macos(monkeypatch)
    assert nobody_account().groups == (4294967294, 12)


@needs_root
def test_nobody_of_macos_can_be_become(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_of_macos(monkeypatch)
    person = nobody_account()
    if not can_become(person):
        pytest.skip("needs a user namespace that maps nobody of macOS")

    def check() -> None:
        drop_privileges(person)
        assert (os.getuid(), os.getgid()) == (4294967294, 4294967294)
        assert sorted(os.getgroups()) == [12, 4294967294]

    in_a_child(check)


def test_no_more_groups_than_the_system_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_NGROUPS_MAX": 16}[name])
    monkeypatch.setattr(os, "getgrouplist", lambda name, group: [group, *range(100, 130)])
    person = nobody_account()
    assert len(person.groups) == 16
    assert person.groups[0] == person.gid


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SUDO_UID": "1000"},
        {"SUDO_GID": "1000"},
        {"SUDO_UID": "", "SUDO_GID": ""},
        {"SUDO_UID": "ann", "SUDO_GID": "ann"},
        {"SUDO_UID": "0", "SUDO_GID": "0"},
        {"SUDO_UID": "-1", "SUDO_GID": "1000"},
        {"SUDO_UID": "4294967295", "SUDO_GID": "1000"},
        {"SUDO_UID": "1000", "SUDO_GID": "4294967295"},
    ],
)
def test_nobody_is_behind_no_sudo(environment: dict[str, str]) -> None:
    assert person_behind_sudo(environment) is None


def test_who_called_sudo_need_not_be_in_the_user_database() -> None:
    person = person_behind_sudo({"SUDO_UID": "3999999999", "SUDO_GID": "3999999998"})
    assert person == Person("3999999999", 3999999999, 3999999998, (3999999998,), "/", "/bin/sh")


def test_the_environment_is_the_persons_and_keeps_the_rest() -> None:
    ours = {"PATH": "/bin", "HOME": "/root", "USER": "root", "SSH_AUTH_SOCK": "/run/agent"}
    assert environment_of(ANN, ours) == {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "USER": "ann",
        "LOGNAME": "ann",
        "SHELL": "/bin/zsh",
        "SSH_AUTH_SOCK": "/run/agent",
    }


@pytest.mark.parametrize(
    ("lines", "mapped"),
    [
        ("         0          0 4294967295\n", True),
        ("0 1000 1\n", False),
        ("0 1000 1\n4000 100000 1000\n", True),
        ("4243 0 1\n", False),
        ("", False),
    ],
)
def test_an_account_outside_of_the_namespace_is_known(
    tmp_path: Path, lines: str, mapped: bool
) -> None:
    path = tmp_path / "uid_map"
    path.write_text(lines)
    assert privileges._mapped(str(path), ANN.uid) is mapped
    assert privileges._mapped(str(tmp_path / "missing"), ANN.uid)
