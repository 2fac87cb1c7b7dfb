"""Who runs as whom, and what is left when somebody is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
import zipapp
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fethpipe.tunnel.launcher import GRACE_SECONDS
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.private import (
    EXTRA_GID,
    GID,
    HOME,
    SHELL,
    UID,
    USER,
    Private,
    Process,
    command_lines,
    descriptors_of,
    let_others_in,
    wait_for_process,
)
from tests.live.programs import Fethpipe, changed, finish
from tests.patience import PATIENCE

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux, and pidfd_open"),
]

NOBODY = 65534
AT_ONCE = 10.0
"""Seconds after which nothing may be left of a tunnel that was killed; a leak stays for ever."""

_NO_PASSWORD = f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"
_SUDOERS = {
    "without a pseudo-terminal": f"Defaults !use_pty\n{_NO_PASSWORD}",
    "with a pseudo-terminal": f"Defaults use_pty\n{_NO_PASSWORD}",
}


@pytest.fixture(params=list(_SUDOERS.values()), ids=list(_SUDOERS))
def with_sudo(left: Namespace, request: pytest.FixtureRequest) -> Iterator[Private]:
    with Private(left, sudoers=request.param) as private:
        yield private


class Roles:
    """The processes of a running tunnel with a COMMAND."""

    def __init__(self, private: Private, pump: int) -> None:
        processes = private.processes()
        self.pump = processes[pump]
        own = {pid for pid, process in processes.items() if process.session == pid}
        keepers = [processes[pid] for pid in own if processes[pid].uids == [0] * 4]
        keepers = [each for each in keepers if "fethpipe" in command_lines([each.pid])[each.pid]]
        (self.keeper,) = keepers
        (self.launcher,) = [
            each
            for each in processes.values()
            if each.parent == pump and each.pid != self.keeper.pid
        ]
        (self.command,) = [each for each in processes.values() if each.parent == self.launcher.pid]
        known = {each.pid for each in (self.pump, self.keeper, self.launcher, self.command)}
        self.others = [each for each in processes.values() if each.pid not in known]


def ready_pid(program: Fethpipe) -> int:
    """Wait until the device is up and COMMAND runs; return the pump."""
    pid = program.ready().pid
    assert program.stderr.next(containing="COMMAND runs")
    return pid


COMMAND = ("--", "sh", "-c", "echo COMMAND runs >&2; exec cat")


def is_ordinary(process: Process) -> None:
    assert process.uids == [UID] * 4
    assert process.gids == [GID] * 4
    assert set(process.groups) == {GID, EXTRA_GID}
    assert process.capabilities == 0


def is_nobody(process: Process) -> None:
    assert process.uids == [NOBODY] * 4
    assert not process.has_root
    assert process.gids == process.groups * 4


def keeps_to_itself(roles: Roles) -> None:
    """Check what the keeper holds: its channel and stderr."""
    held = descriptors_of(roles.keeper.pid)
    assert held.pop(2) == descriptors_of(roles.pump.pid)[2]
    links = [link for link in held.values() if link != "/dev/null"]
    assert len(links) == 1
    assert links[0].startswith("socket:")
    assert roles.keeper.session == roles.keeper.pid != roles.pump.session


def passes_frames(namespace: Namespace) -> None:
    namespace.wait_up("fp0")
    with PacketSocket(namespace, "fp0") as device:
        device.send(make_frame(1))
        assert device.receive() == make_frame(1)


# ---- who is who ----


def test_root_becomes_the_user_that_it_names(private: Private, left: Namespace) -> None:
    launcher = private.fethpipe()
    with Fethpipe(left, "--user", USER, *COMMAND, launcher=launcher) as program:
        roles = Roles(private, ready_pid(program))
        passes_frames(left)
        for process in (roles.launcher, roles.command):
            is_ordinary(process)
        assert roles.pump.uids == [UID] * 4
        assert roles.pump.groups == [GID]
        keeps_to_itself(roles)
        assert roles.others == []
        program.stop()
    private.wait_empty(AT_ONCE)


def test_root_itself_keeps_command_and_nothing_else(private: Private, left: Namespace) -> None:
    with Fethpipe(left, *COMMAND, launcher=private.fethpipe()) as program:
        roles = Roles(private, ready_pid(program))
        passes_frames(left)
        is_nobody(roles.pump)
        assert roles.command.uids == roles.launcher.uids == [0] * 4
        keeps_to_itself(roles)
        assert roles.others == []


def test_sudo_leads_back_to_who_called_it(with_sudo: Private, left: Namespace) -> None:
    before = [*with_sudo.as_user(), "sudo", "-n", "-C", "200"]
    launcher = with_sudo.fethpipe_for_user(*before)
    with Fethpipe(left, *COMMAND, launcher=launcher) as program:
        roles = Roles(with_sudo, ready_pid(program))
        passes_frames(left)
        is_nobody(roles.pump)
        for process in (roles.launcher, roles.command):
            is_ordinary(process)
        keeps_to_itself(roles)
        assert all("sudo" in line for line in command_lines([p.pid for p in roles.others]).values())
        os.kill(roles.pump.pid, signal.SIGTERM)
        assert program.end()[0] == 0
    with_sudo.wait_empty(AT_ONCE)


def test_a_user_who_needs_root_has_it_in_the_keeper_alone(
    with_sudo: Private, left: Namespace
) -> None:
    launcher = with_sudo.fethpipe_for_user(*with_sudo.as_user())
    with Fethpipe(left, *COMMAND, launcher=launcher) as program:
        pid = ready_pid(program)
        assert pid == program.pid
        roles = Roles(with_sudo, pid)
        passes_frames(left)
        for process in (roles.pump, roles.launcher, roles.command):
            is_ordinary(process)
        assert roles.keeper.session == roles.keeper.pid
        assert roles.others == []  # sudo has gone
        program.stop()
    with_sudo.wait_empty(AT_ONCE)


def test_a_program_in_a_zip_file_starts_its_keeper_from_there(
    with_sudo: Private, left: Namespace
) -> None:
    python = with_sudo.python_for_user()
    archive = with_sudo.root / "run/fethpipe.pyz"
    zipapp.create_archive(with_sudo.root / "run/checkout", archive, main="fethpipe.cli:main")
    archive.chmod(0o644)
    launcher = with_sudo.entering(*with_sudo.as_user(), python, "/run/fethpipe.pyz")
    with Fethpipe(left, *COMMAND, launcher=launcher) as program:
        ready_pid(program)
        passes_frames(left)
        program.stop()
    with_sudo.wait_empty(AT_ONCE)


@pytest.mark.parametrize("victim", ["pump", "group", "keeper"])
def test_a_keeper_behind_sudo_does_its_work_too(
    with_sudo: Private, left: Namespace, victim: str
) -> None:
    launcher = with_sudo.fethpipe_for_user("setsid", *with_sudo.as_user())
    with Fethpipe(left, *COMMAND, launcher=launcher) as program:
        roles = Roles(with_sudo, ready_pid(program))
        if victim == "keeper":
            os.kill(roles.keeper.pid, signal.SIGKILL)
            program.ends(71, "the keeper of fp0 has died")
        elif victim == "pump":
            program.send_signal(signal.SIGKILL)
        else:
            os.killpg(roles.pump.pid, signal.SIGKILL)
        with_sudo.wait_empty(AT_ONCE)


@pytest.mark.parametrize(
    ("sudoers", "why"),
    [
        pytest.param(f"{USER} ALL=(ALL:ALL) ALL\n", "password", id="a password is needed"),
        pytest.param(f"{USER} ALL=(ALL:ALL) NOPASSWD: /bin/true\n", "", id="not allowed"),
        pytest.param("root ALL=(ALL) ALL\n", "", id="not in sudoers"),
    ],
)
def test_what_sudo_refuses_is_told_in_one_line(left: Namespace, sudoers: str, why: str) -> None:
    with Private(left, sudoers=sudoers) as private:
        launcher = private.fethpipe_for_user("setsid", *private.as_user())
        done = finish(left, "--", "true", launcher=launcher).ends(77)
        assert done.stderr.count("\n") == 1
        assert "sudo did not start the keeper: " in done.stderr
        assert why in done.stderr
        assert "run as root" in done.stderr
        private.wait_empty(AT_ONCE)


def test_a_missing_sudo_is_told_in_one_line(private: Private, left: Namespace) -> None:
    python = private.python_for_user()
    before = ["setsid", *private.as_user(), "env", "PATH=/nowhere"]
    launcher = private.entering(*before, python, "-m", "fethpipe")
    done = finish(left, "--", "/bin/true", launcher=launcher).ends(77)
    assert done.stderr.count("\n") == 1
    assert "sudo cannot be started; run as root" in done.stderr


@pytest.mark.parametrize("option", ["--name", "--attach"])
def test_a_tap_of_ones_own_needs_no_keeper(private: Private, left: Namespace, option: str) -> None:
    left.make_tap(user=UID)
    before = [*private.as_user(), "env", f"PATH={os.defpath}"]
    launcher = private.fethpipe_for_user(*before)
    with Fethpipe(left, option, "fp0", *COMMAND, launcher=launcher) as program:
        pid = ready_pid(program)
        passes_frames(left)
        processes = private.processes()
        assert len(processes) == 3
        assert not any(process.has_root for process in processes.values())
        assert processes[pid].uids == [UID] * 4


def test_root_of_a_user_namespace_needs_no_keeper(private: Private, left: Namespace) -> None:
    argv = ["unshare", "--user", "--map-root-user", "--net"]
    launcher = private.fethpipe_for_user(*private.as_user(), *argv)
    try:
        left.run([*launcher[: launcher.index("--net") + 1], "true"])
    except AssertionError:
        pytest.skip("needs a kernel that lets ordinary users make namespaces")
    with Fethpipe(left, *COMMAND, launcher=launcher) as program:
        pid = ready_pid(program)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(children) == 1  # the launcher


# ---- a program that only root can read ----


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(USER, id="as a user"),
        pytest.param(None, id="as root", marks=pytest.mark.exhaustive),
    ],
)
def test_nothing_is_read_from_the_programs_folder_after_the_drop(
    private: Private, left: Namespace, user: str | None
) -> None:
    private.hide_checkout()
    options = ["--user", user] if user else []
    arguments = ["--address", "10.9.0.1/24", "--stats", "0.01", *options, "--reconnect"]
    with Fethpipe(left, *arguments, *COMMAND, launcher=private.fethpipe()) as program:
        pid = ready_pid(program)
        passes_frames(left)
        os.kill(Roles(private, pid).command.pid, signal.SIGKILL)
        assert program.stderr.next(containing="starting again in ")
        assert program.stderr.next(containing="COMMAND runs")
        passes_frames(left)
        program.report()
        said = program.stop()
    assert "Traceback" not in said
    private.wait_empty(AT_ONCE)


# ---- the environment of COMMAND ----


def test_command_has_the_environment_of_its_user(private: Private, left: Namespace) -> None:
    before = ["env", "SSH_AUTH_SOCK=/run/agent", "HOME=/root", "USER=root", "LOGNAME=root"]
    launcher = private.fethpipe(*before)
    done = finish(left, "--user", USER, "--", "sh", "-c", "env >&2", launcher=launcher)
    variables = dict(line.split("=", 1) for line in done.stderr.splitlines() if "=" in line)
    assert done.status == 0
    assert variables["HOME"] == HOME
    assert variables["USER"] == variables["LOGNAME"] == USER
    assert variables["SHELL"] == SHELL
    assert variables["SSH_AUTH_SOCK"] == "/run/agent"


# ---- SIGKILL ----


def test_a_keeper_that_is_killed_is_told_and_leaves_nothing(
    private: Private, left: Namespace
) -> None:
    with Fethpipe(left, *COMMAND, launcher=private.fethpipe()) as program:
        roles = Roles(private, ready_pid(program))
        os.kill(roles.keeper.pid, signal.SIGKILL)
        program.ends(71, "the keeper of fp0 has died; start again")
    private.wait_empty(AT_ONCE)


def test_a_pump_cannot_make_its_device_stay(private: Private, left: Namespace) -> None:
    stolen = (
        "import fcntl, os; from fethpipe.keeper.client import fork_keeper;"
        "from fethpipe.provision.request import DeviceRequest;"
        "keeper = fork_keeper(); device = keeper.provision('tap', DeviceRequest());"
        "fcntl.ioctl(device.descriptors[0], 0x400454CB, 1);"  # TUNSETPERSIST
        "os.kill(os.getpid(), 9)"
    )
    process = left.popen(private.entering(sys.executable, "-c", stolen))
    assert process.wait(PATIENCE) == -signal.SIGKILL
    private.wait_empty(AT_ONCE)


_IMPATIENT = changed(
    "keeper.client _END_SECONDS = 0.5",
    "tunnel.command _END_SECONDS = 0.5",
    "tunnel.command GRACE_SECONDS = 0.2",
)


@pytest.mark.parametrize("role", ["keeper", "launcher"])
def test_a_stopped_process_is_not_waited_for_for_ever(
    private: Private, left: Namespace, role: str
) -> None:
    with Fethpipe(left, *COMMAND, launcher=private.entering(*_IMPATIENT)) as program:
        roles = Roles(private, ready_pid(program))
        stopped: Process = getattr(roles, role)
        os.kill(stopped.pid, signal.SIGSTOP)
        os.kill(roles.command.pid, signal.SIGKILL)
        if role == "launcher":
            program.send_signal(signal.SIGTERM)
        assert program.ended_by(time.monotonic() + PATIENCE)
        os.kill(stopped.pid, signal.SIGCONT)
        program.ends(69, f"the {role} ", "does not end")
    private.wait_empty(AT_ONCE)


def test_a_command_that_ignores_the_end_goes_with_its_launcher(
    private: Private, left: Namespace
) -> None:
    script = "trap '' TERM INT HUP; echo COMMAND runs >&2; while :; do sleep 0.05; done"
    before = ["env", f"SUDO_UID={UID}", f"SUDO_GID={GID}"]  # the pump is somebody else then
    launcher = private.fethpipe(*before)
    with Fethpipe(left, "--", "sh", "-c", script, launcher=launcher) as program:
        roles = Roles(private, ready_pid(program))
        os.kill(roles.launcher.pid, signal.SIGKILL)
        wait_for_process(roles.command.pid, time.monotonic() + AT_ONCE)
        assert program.end()[0] in (0, 69)
    private.wait_empty(AT_ONCE)


# ---- COMMAND, again and again, and at the end ----

_QUICKLY = changed("tunnel.retry _FIRST_SECONDS = 0.01")


def test_the_device_outlives_ten_deaths_of_command(
    private: Private, left: Namespace, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    script = (
        f"n=$(cat {count}); echo $((n + 1)) > {count}; [ $n -lt 10 ] || exec cat;"
        "case $((n % 4)) in"
        "  0) exit 0;; 1) exit 9;; 2) kill -KILL $$;; 3) echo this is no frame;;"
        "esac"
    )
    arguments = ["--address", "10.9.0.1/24", "--reconnect", "--", "sh", "-c", script]
    with Fethpipe(left, *arguments, launcher=private.entering(*_QUICKLY)).up() as program:
        before = _identity(left)
        for _ in range(10):
            assert program.stderr.next(containing="starting again in ")
        passes_frames(left)
        assert _identity(left) == before
        said = program.stop()
    assert said.count("starting again") == 10
    assert count.read_text() == "11\n"
    private.wait_empty(AT_ONCE)


def _identity(namespace: Namespace) -> tuple[str, list[str]]:
    said = namespace.run(["ip", "-o", "address", "show", "dev", "fp0"])
    return said.split(":")[0], re.findall(r"inet6? \S+", said)


@pytest.mark.parametrize("status", [127, 64, 77])
def test_what_will_not_get_better_is_not_tried_again(
    private: Private, left: Namespace, status: int
) -> None:
    arguments = ["--reconnect", "--", "sh", "-c", f"exit {status}"]
    done = finish(left, *arguments, launcher=private.fethpipe()).ends(
        69, f"ended with exit status {status}"
    )
    assert "starting again" not in done.stderr
    private.wait_empty(AT_ONCE)


def test_what_cannot_be_started_for_now_is_tried_again(
    private: Private, left: Namespace, tmp_path: Path
) -> None:
    echo = tmp_path / "echo"
    shutil.copy(shutil.which("cat") or "", echo)
    let_others_in(tmp_path)
    arguments = ["--reconnect", "--", str(echo)]
    with Fethpipe(left, *arguments, launcher=private.entering(*_QUICKLY)) as program:
        with echo.open("ab"):  # which nobody may execute meanwhile
            program.ready()
            assert program.stderr.next(containing=f"cannot start {echo}: ETXTBSY")
            assert "starting again" in program.stderr.next(containing="cannot start")
        passes_frames(left)
    private.wait_empty(AT_ONCE)


def test_the_first_pause_is_a_second_and_a_signal_ends_it(
    private: Private, left: Namespace
) -> None:
    with Fethpipe(left, "--reconnect", "--", "false", launcher=private.fethpipe()).up() as program:
        assert program.stderr.next(containing="starting again in 1 s")
        assert program.stderr.next(containing="starting again in 2 s")
        started = time.monotonic()
        program.stop()
        assert time.monotonic() - started < 1.5
    private.wait_empty(AT_ONCE)


@pytest.mark.exhaustive
def test_a_command_that_does_not_listen_is_killed_and_waited_for(
    private: Private, left: Namespace
) -> None:
    script = "trap '' TERM INT HUP; echo COMMAND runs >&2; while :; do sleep 0.05; done"
    with Fethpipe(left, "--", "sh", "-c", script, launcher=private.fethpipe()) as program:
        roles = Roles(private, ready_pid(program))
        started = time.monotonic()
        program.send_signal(signal.SIGTERM)
        program.ends(0, seconds=PATIENCE)
        assert time.monotonic() - started >= GRACE_SECONDS
        assert not Path(f"/proc/{roles.command.pid}").exists()  # nor a zombie
        assert not Path(f"/proc/{roles.launcher.pid}").exists()
        assert not Path(f"/proc/{roles.keeper.pid}").exists()
    private.wait_empty(AT_ONCE)


# ---- signals while it starts ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("count", [5, pytest.param(30, marks=pytest.mark.exhaustive)])
def test_a_signal_at_any_moment_of_the_start_is_an_orderly_end(
    private: Private, left: Namespace, number: signal.Signals, count: int
) -> None:
    random = Random(5)
    for _ in range(count):
        with Fethpipe(left, *COMMAND, launcher=private.fethpipe()) as program:
            # Until then Python itself starts, and answers Ctrl-C with a traceback.
            _wait_for_our_code(program)
            program.is_ready(random.uniform(0, 0.25))
            program.send_signal(number)
            status, said = program.end()
        assert status in (0, -number), said
        assert "Traceback" not in said
        private.wait_empty(AT_ONCE)


def _wait_for_our_code(program: Fethpipe) -> None:
    """Wait until Python's own answer to SIGINT came and went."""
    its_own = False
    deadline = time.monotonic() + PATIENCE
    while not program.is_ready(0):
        status = Path(f"/proc/{program.pid}/status").read_text()
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", status)
        answered = bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)
        if its_own and not answered:
            return
        its_own = its_own or answered
        assert time.monotonic() < deadline, "Python did not start"
