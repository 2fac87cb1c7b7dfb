"""One command over ssh, to a host that has Python and nothing of ours."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from fethpipe.tunnel.launcher import GRACE_SECONDS
from tests.live.netns import Namespace, readable, require_tools
from tests.live.ordinary import NOBODY
from tests.live.private import descendants, pids_in
from tests.live.programs import FETHPIPE, LEFT, RIGHT, Fethpipe, changed, finish
from tests.live.sshd import FAR, PASSWORD, USER, USER_ID, Sshd, hide, join, kill
from tests.live.terminals import TerminalSession
from tests.live.traffic import transfer
from tests.patience import PATIENCE

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("wired")]
exhaustive = pytest.mark.exhaustive

MARGIN = 5.0
"""Seconds for what is asked of a loaded machine, on top of a time that was agreed."""

_STARTED = "remote: fp0 is up"
_REMOTE = f"--address {RIGHT}/24"
# The start-up file of each shell that also runs without a terminal; .ssh/rc is sshd's own.
_START_UP_FILES = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "fish": ".config/fish/config.fish",
    "csh": ".cshrc",
    "sh": ".ssh/rc",
}


@pytest.fixture
def wired(left: Namespace, right: Namespace) -> None:
    """A cable between the two namespaces, for ssh."""
    join(left, right)


def arguments(sshd: Sshd, *options: str, host: str = "far", remote: str = _REMOTE) -> list[str]:
    """Return what makes a tunnel to this sshd."""
    ours = ["--address", f"{LEFT}/24", "--ssh", host, "--ssh-command", sshd.ssh_command]
    return [*ours, "--remote", remote, *options]


def start(
    left: Namespace, sshd: Sshd, *options: str, host: str = "far", remote: str = _REMOTE
) -> Fethpipe:
    """Start a tunnel to this sshd."""
    return Fethpipe(left, *arguments(sshd, *options, host=host, remote=remote))


def refusal(
    left: Namespace, sshd: Sshd, *options: str, host: str = "far", remote: str = _REMOTE
) -> str:
    """Start a tunnel that cannot be, and return the line that says why."""
    finished = finish(left, *arguments(sshd, *options, host=host, remote=remote))
    assert finished.status == 69, finished
    assert finished.stdout == b""
    assert "fp0" not in left.interfaces()
    return finished.stderr.splitlines()[-1]


def reach(left: Namespace, sshd: Sshd, *options: str, host: str = "far") -> Fethpipe:
    """Start a tunnel to this sshd, and reach the far side through it."""
    program = start(left, sshd, *options, host=host)
    wait_started(program)
    ping(left)
    return program


def wait_started(program: Fethpipe) -> None:
    """Wait until the far side says that its device is up."""
    assert program.stderr.next(containing=_STARTED), program.stderr.all()


def ping(left: Namespace) -> None:
    """Reach the far side through the tunnel."""
    left.run(["ping", "-c", "1", "-w", "5", RIGHT])


def test_one_command_makes_a_tunnel(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, reach(left, sshd) as program:
        transfer(left, right, RIGHT, 100_000_000)
        program.send_signal(signal.SIGTERM)
        right.wait_gone("fp0")
        program.ends(0, "stopped by SIGTERM")


# ---- what a login does before we come ----


@exhaustive
@pytest.mark.parametrize("shell", ["dash", "tcsh"])
def test_every_other_login_shell_will_do(left: Namespace, right: Namespace, shell: str) -> None:
    with Sshd(right, login_shell=shell) as sshd, reach(left, sshd):
        ping(left)


@pytest.mark.parametrize(
    "shell",
    [
        pytest.param(shell, marks=[] if shell in ("sh", "bash", "fish") else exhaustive)
        for shell in _START_UP_FILES
    ],
)
def test_noise_of_the_login_is_told_apart(left: Namespace, right: Namespace, shell: str) -> None:
    noise = "echo hello; printf '\\000fethpipe 0123'; seq 10000; printf 'no end of line'"
    files = {_START_UP_FILES[shell]: f'sh -c "{noise}"\n'}
    with (
        Sshd(right, login_shell=shell, home_files=files) as sshd,
        start(left, sshd, "-v") as program,
    ):
        for words in (
            "before the start: hello",
            ": 10000",
            ": no end of line",
            ": connected to far",
        ):
            assert program.stderr.next(containing=words)
        ping(left)
        said = program.stop()
    # No noise was taken for frames; the kernel may drop some as long as the link is down.
    assert re.search(r"dropped: (none|\d+ kernel queue full)$", said.rstrip()), said


def test_noise_is_nobody_s_business_without_verbose(left: Namespace, right: Namespace) -> None:
    with Sshd(right, home_files={".ssh/rc": "echo hello\n"}) as sshd, reach(left, sshd) as program:
        said = program.stop()
    assert "hello" not in said


def test_endless_noise_is_refused(left: Namespace, right: Namespace) -> None:
    with Sshd(right, home_files={".ssh/rc": "yes rubbish\n"}) as sshd:
        why = refusal(left, sshd)
    assert "cannot start on far: it printed more than 64 KiB before its stream" in why
    assert "rubbish" in why


def test_a_start_up_file_that_ends_the_session_is_told(left: Namespace, right: Namespace) -> None:
    with Sshd(
        right, login_shell="bash", home_files={".bashrc": "echo Away with you; exit 3\n"}
    ) as sshd:
        why = refusal(left, sshd)
    assert "the session ended with exit status 3 before fethpipe was ready" in why
    assert "Away with you" in why
    assert "start-up file" in why


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_it_waits_for_the_start(
    left: Namespace, right: Namespace, number: signal.Signals
) -> None:
    files = {".ssh/rc": "echo waiting >&2; exec sleep 1000\n"}
    with Sshd(right, home_files=files) as sshd, start(left, sshd) as program:
        assert program.stderr.next(containing="ssh: waiting")
        program.send_signal(number)
        program.ends(0, f"stopped by {number.name}", seconds=GRACE_SECONDS)  # ssh is not killed
        left.wait_gone("fp0")


# ---- Python on the far side ----


def test_a_host_without_python_is_told(left: Namespace, right: Namespace, tmp_path: Path) -> None:
    path = commands_without_python(tmp_path)
    with Sshd(right, path=path, mounts=hide("/usr/local/bin", "/opt/homebrew/bin")) as sshd:
        why = refusal(left, sshd)
    assert "cannot start on far: no Python 3.9 or newer here: looked for python3" in why
    assert "--remote-python" in why


@pytest.mark.parametrize("name", ["python3", "python"])
def test_an_old_python_is_told(
    left: Namespace, right: Namespace, tmp_path: Path, name: str
) -> None:
    path = commands_without_python(tmp_path)
    old_python(tmp_path / name)
    with Sshd(right, path=path, mounts=hide("/usr/local/bin", "/opt/homebrew/bin")) as sshd:
        why = refusal(left, sshd)
    assert f"no Python 3.9 or newer here: {name} is Python 3.8.18" in why


@pytest.mark.parametrize("name", ["python", "python3.9"])
def test_an_old_python_is_passed_over(
    left: Namespace, right: Namespace, tmp_path: Path, name: str
) -> None:
    path = commands_without_python(tmp_path)
    old_python(tmp_path / "python3")
    (tmp_path / name).symlink_to(Path(sys.executable).resolve())
    mounts = hide("/usr/local/bin", "/opt/homebrew/bin")
    with Sshd(right, path=path, mounts=mounts) as sshd, start(left, sshd) as program:
        wait_started(program)


def test_a_python_can_be_named(left: Namespace, right: Namespace, tmp_path: Path) -> None:
    path = commands_without_python(tmp_path)
    python = str(Path(sys.executable).resolve())
    with Sshd(right, path=path) as sshd, start(left, sshd, "--remote-python", python) as program:
        wait_started(program)


def test_a_python_that_was_named_wrongly_is_told(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        why = refusal(left, sshd, "--remote-python", "~/no/python3")
    assert "no Python 3.9 or newer here: looked for ~/no/python3" in why


@pytest.mark.parametrize("old_to_new", [True, False], ids=["old to new", "new to old"])
def test_each_end_may_have_its_own_python(
    left: Namespace, right: Namespace, old_to_new: bool
) -> None:
    oldest, *_, newest = find_pythons() * 2
    ours, theirs = (oldest, newest) if old_to_new else (newest, oldest)
    with Sshd(right) as sshd:
        options = arguments(sshd, "--remote-python", theirs)
        with Fethpipe(left, *options, launcher=[ours, "-m", "fethpipe"]) as program:
            wait_started(program)
            ping(left)
            transfer(left, right, RIGHT, 1_000_000)


def test_nothing_is_written_to_the_far_disk(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        before = sorted(sshd.folder.rglob("*"))
        with reach(left, sshd):
            assert sorted(sshd.folder.rglob("*")) == before


# ---- who we are on the far side ----


def test_a_user_without_rights_is_told_what_is_needed(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        why = refusal(left, sshd, host=f"{USER}@far")
    assert "cannot start on walter@far: root is needed to " in why
    assert "allow sudo without a password, run as root, or have root prepare it: " in why
    assert f"ip tuntap add dev fp0 mode tap user {USER} && ip address add {RIGHT}/24" in why


def test_a_user_whom_sudo_trusts_gets_a_keeper(left: Namespace, right: Namespace) -> None:
    require_tools("sudo")
    sudoers = f"{USER} ALL=(ALL) NOPASSWD: ALL"
    with Sshd(right, sudoers=sudoers) as sshd, reach(left, sshd, host=f"{USER}@far") as program:
        assert far_pump_owner(sshd) == USER_ID
        program.send_signal(signal.SIGTERM)
        right.wait_gone("fp0")
        assert program.end()[0] == 0


def test_a_user_may_have_a_tap_prepared(left: Namespace, right: Namespace) -> None:
    right.run(["ip", "tuntap", "add", "dev", "fp7", "mode", "tap", "user", str(USER_ID)])
    right.run(["ip", "address", "add", f"{RIGHT}/24", "dev", "fp7"])
    right.run(["ip", "link", "set", "fp7", "up"])
    tun = ["mount -t tmpfs none /dev/net", "mknod -m 666 /dev/net/tun c 10 200"]
    user = {"host": f"{USER}@far", "remote": "--name fp7"}
    with Sshd(right, mounts=tun) as sshd, start(left, sshd, **user) as program:
        assert program.stderr.next(containing="remote: fp7 is up")
        ping(left)
        program.stop()
    assert "fp7" in right.interfaces()


def test_the_pump_of_a_root_login_is_nobody(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, reach(left, sshd):
        assert far_pump_owner(sshd) == NOBODY


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("--attach fp9", "cannot start on far: cannot attach to fp9: it does not exist"),
        ("--mtu 70000", "cannot start on far: --mtu 70000 is out of range"),
    ],
)
def test_what_the_far_side_refuses_is_told(
    left: Namespace, right: Namespace, remote: str, words: str
) -> None:
    with Sshd(right) as sshd:
        done = finish(left, *arguments(sshd, remote=remote)).ends(69)
    assert done.stderr.count(words) == 1


# ---- ssh itself ----


def test_what_ssh_says_is_told_once(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        sshd.stop()
        done = finish(left, *arguments(sshd)).ends(69)
    assert done.stderr.count("Connection refused") == 1
    assert (
        f"cannot reach far: ssh: connect to host {FAR} port 22: Connection refused" in done.stderr
    )


def test_a_host_without_fethpipe_gets_it_with_ssh(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        command = [*sshd.ssh_command.split(), "far", "no-such-fethpipe"]
        done = finish(left, "--", *command).ends(69)
    assert (
        "ssh ended with exit status 127; where fethpipe is not installed, use --ssh" in done.stderr
    )


def test_both_ends_get_the_mtu(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, start(left, sshd, "--mtu", "1400") as program:
        assert "MTU 1400" in program.stderr.next(containing=_STARTED)
        assert program.ready().mtu == 1400


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "cannot reach far: ssh: Host key verification failed."),
        (("--reconnect",), "ssh does not trust the key of the host"),
    ],
)
def test_another_host_key_ends_it_at_once(
    left: Namespace, right: Namespace, options: tuple[str, ...], words: str
) -> None:
    with Sshd(right) as sshd:
        other = (sshd.folder / "other_key.pub").read_text()
        (sshd.folder / "known_hosts").write_text(f"{FAR} {other}")
        done = finish(left, *arguments(sshd, *options)).ends(69)
    assert words in done.stderr
    assert "starting again" not in done.stderr


def test_a_login_that_is_refused_is_told(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        (sshd.folder / "authorized_keys").unlink()
        why = refusal(left, sshd)
    assert f"cannot reach far: ssh: root@{FAR}: Permission denied (publickey" in why


@contextlib.contextmanager
def _at_the_password(left: Namespace, right: Namespace) -> Iterator[tuple[Fethpipe, int]]:
    """Start a tunnel whose ssh asks for a password on a terminal, and yield the other end of that
    as well. When the tunnel has ended, the terminal is as it was.
    """
    settings = ["PasswordAuthentication yes", "PubkeyAuthentication no"]
    ours, its = pty.openpty()
    before = termios.tcgetattr(its)
    with Sshd(right, settings=settings) as sshd:
        sshd.config.write_text(sshd.config.read_text().replace("BatchMode yes", "BatchMode no"))
        launcher = ["setsid", "--ctty", *FETHPIPE]
        with Fethpipe(left, *arguments(sshd), stdin=its, launcher=launcher) as program:
            asked = b""
            while b"password:" not in asked:
                assert readable(ours, PATIENCE), asked
                asked += os.read(ours, 1000)
            assert termios.tcgetattr(its)[3] != before[3]  # no echo
            yield program, ours
            assert termios.tcgetattr(its) == before
    os.close(its)
    os.close(ours)


def test_a_password_is_asked_for_on_the_terminal(left: Namespace, right: Namespace) -> None:
    with _at_the_password(left, right) as (program, ours):
        os.write(ours, f"{PASSWORD}\n".encode())
        wait_started(program)
        ping(left)
        program.stop()


def test_ctrl_c_at_the_password_leaves_the_terminal_as_it_was(
    left: Namespace, right: Namespace
) -> None:
    with _at_the_password(left, right) as (program, ours):
        os.write(ours, b"\x03")
        program.ends(0, "stopped by SIGINT")
        assert list(pids_in(left)) == []  # nobody is left to write behind the next prompt


def test_ps_tells_our_processes_apart(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, reach(left, sshd):
        expected = {"fethpipe-pump", "fethpipe-keeper", "fethpipe-launch", "ssh"}
        wait_titles(lambda: pids_in(left), expected)
        wait_titles(lambda: descendants(sshd.process.pid), {"fethpipe-pump", "fethpipe-keeper"})


def test_an_ssh_that_is_missing_is_told(left: Namespace) -> None:
    finished = finish(left, "--ssh", "far", "--ssh-command", "/nowhere/ssh -v").ends(
        69, "cannot start /nowhere/ssh: ENOENT", "--ssh-command"
    )
    assert "after --" not in finished.stderr


def test_a_remote_command_in_the_user_s_configuration_is_no_obstacle(
    left: Namespace, right: Namespace
) -> None:
    with Sshd(right) as sshd:
        with sshd.config.open("a") as config:
            config.write("  RemoteCommand tmux\n  RequestTTY force\n  EscapeChar ~\n")
        with reach(left, sshd):
            transfer(left, right, RIGHT, 1_000_000)


def test_a_shared_connection_will_do(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        with sshd.config.open("a") as config:
            config.write(f"  ControlMaster auto\n  ControlPath {sshd.folder}/master\n")
            config.write("  ControlPersist yes\n")
        for _ in range(2):
            with reach(left, sshd) as program:
                program.send_signal(signal.SIGTERM)
                assert program.end(seconds=GRACE_SECONDS)[0] == 0  # ssh is not killed
                right.wait_gone("fp0")


# ---- the end ----


@pytest.mark.parametrize(
    "victim",
    [
        *("near pump", "ssh", "far pump"),
        *(
            pytest.param(each, marks=exhaustive)
            for each in ("near keeper", "sshd session", "far keeper")
        ),
    ],
)
def test_whoever_is_killed_the_far_interface_goes(
    left: Namespace, right: Namespace, victim: str
) -> None:
    with Sshd(right) as sshd, reach(left, sshd) as program:
        processes = find_processes(program, sshd)
        kill(processes[victim])
        right.wait_gone("fp0")
        left.wait_gone("fp0")
        status, said = program.end()
    assert status == {"near pump": -signal.SIGKILL, "near keeper": 71}.get(victim, 69), said


def test_a_connection_that_ends_is_told_with_ssh_s_words(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, reach(left, sshd) as program:
        sshd.stop()
        said = program.ends(69, "ssh ended with exit status 255")
    assert said.count(f"Connection to {FAR} closed by remote host.") == 1


def test_a_tunnel_survives_a_restart_of_sshd(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, reach(left, sshd, "--reconnect") as program:
        sshd.restart()
        wait_started(program)
        ping(left)
        program.stop("starting again in 1 s")


@exhaustive
def test_a_plain_tunnel_survives_a_restart_of_sshd(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd:
        command = [*sshd.ssh_command.split(), "far", f"cd {Path.cwd()}; exec {' '.join(FETHPIPE)}"]
        far = f"{command.pop()} --address {RIGHT}/24"
        options = ["--address", f"{LEFT}/24", "--reconnect", "--", *command, far]
        with Fethpipe(left, *options) as program:
            assert program.stderr.next(containing="fp0 is up, connecting through ssh: MAC")
            assert program.stderr.next(containing=f"{RIGHT}/24")
            ping(left)
            sshd.restart()
            assert program.stderr.next(containing=f"{RIGHT}/24")
            ping(left)


# ---- silence ----


def test_both_ends_go_when_the_network_vanishes(left: Namespace, right: Namespace) -> None:
    with Sshd(right) as sshd, reach(left, sshd, "--keepalive", "0.5") as program:
        right.run(["ip", "link", "set", "wire0", "down"])
        right.wait_gone("fp0", seconds=1.5 + MARGIN)
        left.wait_gone("fp0", seconds=MARGIN)
        program.ends(75, "the peer has been silent for 1.5 s")


def test_a_quiet_tunnel_stays(left: Namespace, right: Namespace) -> None:
    options = ("--keepalive", "0.5", "--stats", "2")  # longer than silence may last
    with Sshd(right) as sshd, start(left, sshd, *options) as program:
        wait_started(program)
        assert program.stderr.next(containing="from device 0 frames")
        ping(left)


@exhaustive
def test_a_tunnel_comes_back_with_the_network(left: Namespace, right: Namespace) -> None:
    options = ("--keepalive", "0.5", "--reconnect")
    with Sshd(right) as sshd, reach(left, sshd, *options) as program:
        right.run(["ip", "link", "set", "wire0", "down"])
        assert program.stderr.next(containing="silent for 1.5 s; ")
        right.run(["ip", "link", "set", "wire0", "up"])
        wait_started(program)
        ping(left)


# ---- helpers ----


def commands_without_python(folder: Path) -> str:
    """Return a search path with what a POSIX system has, and no Python."""
    for command in ("sh", "tail", "cat", "sleep"):
        (folder / command).symlink_to(f"/bin/{command}")
    return str(folder)


def old_python(path: Path) -> None:
    """Make up a Python 3.8: it tells its version, and takes ours for a syntax that it lacks."""
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '"-V") echo Python 3.8.18 ;;\n'
        '"-I -c import sys;sys.exit(sys.version_info<(3,9))") exit 1 ;;\n'
        "*) echo 'SyntaxError: invalid syntax' >&2; exit 1 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)


def wait_titles(find: Callable[[], Iterable[int]], expected: set[str]) -> None:
    """Wait until some processes have these titles, which each sets when it has begun."""
    deadline = time.monotonic() + PATIENCE
    while True:
        titles = {title(pid) for pid in find()}
        if expected <= titles:
            return
        assert time.monotonic() < deadline, titles
        time.sleep(0.01)


def title(pid: int) -> str:
    """Return the title of a process, "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def find_pythons() -> list[str]:
    """Return the Pythons of this machine that will do, the oldest first."""
    names = [f"python3.{minor}" for minor in range(9, 20)]
    found = [shutil.which(name) for name in names]
    for name in names:
        version = name[len("python") :]
        kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}"))
        found += [str(path) for path in kept[:1]]
    usable = {path for path in found if path and not path.endswith("/shims/" + Path(path).name)}
    return sorted({*usable, sys.executable}, key=minor_version)


def minor_version(python: str) -> int:
    """Return N of a Python 3.N."""
    code = "import sys; print(sys.version_info[1])"
    return int(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout)


def find_processes(program: Fethpipe, sshd: Sshd) -> dict[str, int]:
    """Return the processes of a tunnel by what they do."""
    keeper, launcher, ssh = descendants(program.pid)
    session, pump, far_keeper = descendants(sshd.process.pid)
    return {
        "near pump": program.pid,
        "near keeper": keeper,
        "near launcher": launcher,
        "ssh": ssh,
        "sshd session": session,
        "far pump": pump,
        "far keeper": far_keeper,
    }


def far_pump_owner(sshd: Sshd) -> int:
    """Return whom the far pump has become: the first Python below the session."""
    for pid in descendants(sshd.process.pid):
        if Path(f"/proc/{pid}/exe").resolve().name.startswith("python"):
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.partition("\nUid:")[2].split()[0])
    raise AssertionError("there is no far pump")


@pytest.mark.parametrize("has_terminal", [True, False])
def test_somebody_at_a_terminal_has_the_time_to_type_a_password(
    left: Namespace, *, has_terminal: bool
) -> None:
    quickly = changed(
        "remote.handshake ATTENDED_SECONDS = 0.6", "remote.handshake UNATTENDED_SECONDS = 0.3"
    )
    argv = [*quickly, "--ssh", "far", "--ssh-command", "sh -c 'exec sleep 60'"]
    before = [] if has_terminal else ["setsid", "--wait"]
    with TerminalSession(left, [*before, *argv]) as terminal:
        assert terminal.wait_for(f"did not start within {1 if has_terminal else 0} s")
