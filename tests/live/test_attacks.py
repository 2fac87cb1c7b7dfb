"""A stolen pump gets nowhere: every way up that was ever found, tried on a running tunnel."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.ctl.running import Running
from tests.live.attacks import BEFORE, FETHCTL, outcome, stolen
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.private import UID, USER, Private, descriptors_of
from tests.live.programs import Fethpipe
from tests.live.terminals import TerminalSession
from tests.patience import PATIENCE
from tests.wire.test_offload import TCP, build, header

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.skipif(
        os.uname().machine not in ("x86_64", "aarch64"), reason="needs a filter of system calls"
    ),
]

NOBODY = 65534
SPEAKING = ("--", "sh", "-c", "printf '\\0\\0'; exec cat")
"""A COMMAND whose first bytes are what the pump is taken over by."""


def attack(
    private: Private, code: str, *options: str, python: str = sys.executable
) -> dict[str, str]:
    """Return what came of an attack on a tunnel that root started."""
    launcher = private.entering(python, *stolen(code))
    with Fethpipe(private.namespace, *options, *SPEAKING, launcher=launcher) as program:
        results = outcome(program)
        program.send_signal(signal.SIGKILL)
        program.end()
    return results


# ---- a program, a debugger, a socket ----

_ELSEWHERE = """
tried("start a program", lambda: os.execv("/bin/sh", ["sh", "-c", "exit"]))
tried("start a program in a child", lambda: subprocess.run(["true"]).returncode)
tried("fork", lambda: os.fork() or os._exit(0))
tried("clone", lambda: call(number["clone"], 0x11, 0, 0, 0, 0) or os._exit(0))
tried("trace the parent", lambda: call(number["ptrace"], 16, os.getppid(), 0, 0))
tried("read the parent", lambda: call(number["process_vm_readv"], os.getppid(), 0, 0, 0, 0, 0))
tried("open a file", lambda: os.open("/etc/passwd", os.O_RDONLY))
tried("open its memory", lambda: os.open("/proc/self/mem", os.O_RDWR))
tried("make a file", lambda: os.open("/tmp/fethpipe-stolen", os.O_CREAT | os.O_WRONLY))
tried("list a folder", lambda: os.listdir("/"))
tried("make a network socket", lambda: socket.socket().fileno())
tried("make a Unix socket", lambda: socket.socket(socket.AF_UNIX).fileno())
tried("make a pair of sockets", lambda: len(socket.socketpair()))
tried("signal the parent", lambda: os.kill(os.getppid(), 0))
tried("signal everybody", lambda: os.kill(-1, 0))
tried("have others signalled", lambda: fcntl.fcntl(0, 8, os.getppid()))
tried("open io_uring", lambda: call(number["io_uring_setup"], 1, 0))
tried("load a BPF program", lambda: call(number["bpf"], 0, 0, 0))
tried("mount", lambda: call(number["mount"], 0, 0, 0, 0, 0))
tried("make a namespace", lambda: call(number["unshare"], 0x10000000))
"""


@pytest.mark.parametrize("options", [(), ("--user", USER)], ids=["as nobody", "as a user"])
def test_it_can_start_open_connect_and_signal_nothing(
    private: Private, options: tuple[str, ...]
) -> None:
    results = attack(private, _ELSEWHERE, *options)
    assert len(results) > 15
    assert set(results.values()) <= {"EPERM"}, results


# ---- a socket that it holds, and one that it does not ----

_SEND = """
address = struct.pack("=H", socket.AF_UNIX) + b"/run/log"
sized = ctypes.c_size_t
iovec = struct.pack("@PN", ctypes.addressof(ctypes.create_string_buffer(b"stolen")), 6)
pointers = [ctypes.create_string_buffer(each) for each in (address, iovec)]
name, vector = map(ctypes.addressof, pointers)
message = struct.pack("@PIPNPNi", name, len(address), vector, 1, 0, 0, 0)
everywhere("send", lambda each: done(libc.sendto(each, b"stolen", sized(6), 0, None, 0)))
everywhere("send away", lambda s: done(libc.sendto(s, b"stolen", sized(6), 0, address, 10)))
everywhere("send a message away", lambda each: done(libc.sendmsg(each, message, 0)))
room, size = ctypes.create_string_buffer(4), ctypes.create_string_buffer(struct.pack("=I", 4))
everywhere("get a process", lambda each: done(libc.getsockopt(each, 1, 77, room, size)))
"""


def test_a_pump_sends_to_nobody_but_its_peers(private: Private) -> None:
    with listener(private, "notify") as manager, listener(private, "log") as other:
        launcher = private.entering("env", "NOTIFY_SOCKET=/run/notify", sys.executable)
        argv = [*launcher, *stolen(_SEND)]
        with Fethpipe(private.namespace, *SPEAKING, launcher=argv) as program:
            results = outcome(program)
            assert results.pop("send").startswith("done")
            assert set(results.values()) == {"EPERM"}, results
        while manager.recv(4096) != b"stolen":
            pass
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(4096)


def listener(private: Private, name: str) -> socket.socket:
    """Return a socket in /run where everybody may send to."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    path = private.root / "run" / name
    made.bind(str(path))
    path.chmod(0o666)
    return made


_SET_DOWN = """
import select, stat
change = struct.pack("=IHHII", 32, 16, 5, 77, 0) + struct.pack("=BxHiII", 0, 0, 1, 0, 1)
def ask(each):
    if not stat.S_ISSOCK(os.fstat(each).st_mode):
        raise OSError(errno.EBADF, "not one")
    with socket.socket(fileno=os.dup(each)) as route:
        if route.family != socket.AF_NETLINK:
            raise OSError(errno.EBADF, "not one")
        route.setblocking(False)
        while select.select([route], [], [], 0)[0]:
            route.recv(65536)
        route.send(change)
        if not select.select([route], [], [], 5)[0]:
            raise OSError(errno.EAGAIN, "no answer")
        return done_or_error(struct.unpack_from("=i", route.recv(65536), 16)[0])
def done_or_error(number):
    if number:
        raise OSError(-number, "refused")
everywhere("set lo down", ask)
"""


def test_a_pump_changes_no_interface_by_what_root_opened(private: Private) -> None:
    private.namespace.run(["ip", "link", "set", "lo", "up"])
    results = attack(private, _SET_DOWN, "--reconnect")
    assert results == {"set lo down": "EPERM"}
    assert "UP" in private.namespace.run(["ip", "link", "show", "dev", "lo"])


_GROUP = """
def kill(each, flags):
    return call(424, each, 0, 0, flags)
everywhere("signal COMMAND", lambda each: kill(each, 0))
everywhere("signal the group of COMMAND", lambda each: kill(each, 4))
"""


def test_a_pump_signals_command_and_not_its_group(private: Private) -> None:
    results = attack(private, _GROUP, "--user", USER)
    assert results.pop("signal COMMAND").startswith("done")
    assert set(results.values()) == {"EPERM"}, results


# ---- a TAP that is an administrator's ----

_KEEP_TAP = """
everywhere("own it", lambda tap: fcntl.ioctl(tap, 0x400454CC, os.getuid()))
everywhere("make it persistent", lambda tap: fcntl.ioctl(tap, 0x400454CB, 1))
everywhere("give it to a group", lambda tap: fcntl.ioctl(tap, 0x400454CE, os.getgid()))
mac = struct.pack("16sH14s", b"fp0", 1, b"\\2stole")
everywhere("change its MAC", lambda tap: fcntl.ioctl(tap, 0x8924, mac))
everywhere("filter its frames", lambda tap: fcntl.ioctl(tap, 0x400454D1, bytes(8)))
"""


def test_an_attached_tap_stays_its_owners(private: Private, left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap"])
    before = left.run(["ip", "-d", "link", "show", "fp0"])
    results = attack(private, _KEEP_TAP, "--attach", "fp0")
    assert len(results) == 5
    assert set(results.values()) == {"EPERM"}, results
    assert "user" not in before
    assert "user" not in left.run(["ip", "-d", "link", "show", "fp0"])


# ---- capabilities of a service ----

_AS_SERVICE = "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"


def test_the_capabilities_of_a_service_stay_with_nobody(private: Private, left: Namespace) -> None:
    launcher = private.fethpipe_for_user(*private.as_user()[:-1], *_AS_SERVICE)
    command = ("--", "sh", "-c", "echo COMMAND runs >&2; exec cat")
    with Fethpipe(left, "--framing", "zerotier", *command, launcher=launcher) as program:
        pump = program.ready().pid
        assert program.stderr.next(containing="COMMAND runs")
        wait_confined(pump)
        processes = private.processes()
        (keeper,) = [each for each in processes.values() if each.session == each.pid]
        assert keeper.capabilities  # it may have to change addresses later
        assert len(processes) == 4
        for process in processes.values():
            if process != keeper:
                assert process.capabilities == 0, process
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pump}/status").read_text()


def wait_confined(pid: int) -> None:
    """Wait until a process is confined, of which nobody tells but /proc."""
    deadline = time.monotonic() + PATIENCE
    while "Seccomp:\t2" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, "it is not confined"
        time.sleep(0.01)


# ---- a terminal of somebody else's ----

_TERMINAL = """
everywhere("push input", lambda each: fcntl.ioctl(each, termios.TIOCSTI, b"x"))
everywhere("take what was typed away", lambda each: fcntl.ioctl(each, 0x540B, 0))
import select
def typed(each):
    if not select.select([each], [], [], 0)[0]:
        raise OSError(errno.EAGAIN, "nothing")
    return os.read(each, 9) == b"something" and "something"
everywhere("read what is typed", typed)
tried("open it", lambda: os.open("/dev/tty", os.O_RDWR))
"""


def learns_nothing_of(
    terminal: TerminalSession, refusal: tuple[str, ...] = ("EPERM", "ENXIO")
) -> None:
    """Check what came of it when somebody types; ``refusal`` is the answer to opening it."""
    terminal.type("something typed\n")
    assert terminal.wait_for("push input").endswith(("EPERM", "ENOTTY"))
    assert terminal.wait_for("take what was typed away").endswith(("EPERM", "ENOTTY"))
    assert "something" not in terminal.wait_for("read what is typed: ").partition(": ")[2]
    assert terminal.wait_for("open it").endswith(refusal)


def terminals_of(private: Private) -> dict[int, int]:
    """Return the controlling terminals of those who are not root. They hold no terminal open."""
    found = {}
    for process in private.processes().values():
        if process.uids != [0] * 4:
            held = descriptors_of(process.pid)
            assert not any(each.startswith(("/dev/pts", "/dev/tty")) for each in held.values())
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            found[process.pid] = int(stat[4])
    return found


@pytest.mark.parametrize("options", [(), ("--user", USER)], ids=["as nobody", "as a user"])
def test_a_pump_has_no_terminal_of_roots(private: Private, options: tuple[str, ...]) -> None:
    argv = private.entering(sys.executable, *stolen(_TERMINAL), *options, *SPEAKING)
    with TerminalSession(private.namespace, argv) as terminal:
        learns_nothing_of(terminal)
        found = terminals_of(private)
        assert found
        assert set(found.values()) == {0}


def test_a_pump_does_not_read_the_terminal_of_its_own_user(private: Private) -> None:
    private.namespace.run(["ip", "tuntap", "add", "fp0", "mode", "tap", "user", str(UID)])
    python = private.python_for_user()
    argv = private.entering(*private.as_user(), python, *stolen(_TERMINAL), "--attach", "fp0")
    with TerminalSession(private.namespace, [*argv, *SPEAKING], owner=UID) as terminal:
        learns_nothing_of(terminal, ("EPERM",))


_COMMAND = f"{BEFORE}\n{_TERMINAL}\nos.write(2, b'stolen: \\x1b[31mquoted\\n'); time.sleep(60)"


def test_a_command_has_no_terminal_of_roots(private: Private) -> None:
    python = private.python_for_user()
    command = ["--", python, "-c", _COMMAND]
    argv = [*private.fethpipe(), "--user", USER, *command]
    with TerminalSession(private.namespace, argv) as terminal:
        learns_nothing_of(terminal, ("ENXIO",))
        assert "\\x1b[31mquoted" in terminal.wait_for("quoted")
        assert set(terminals_of(private).values()) == {0}


def test_up_and_down_have_no_terminal_of_roots(private: Private) -> None:
    up = "printf 'hook: \\033[31mquoted\\n'; exec sleep 60"
    argv = [*private.fethpipe(), "--user", USER, "--up", up, "--", "cat"]
    with TerminalSession(private.namespace, argv) as terminal:
        assert "\\x1b[31mquoted" in terminal.wait_for("hook: ")
        found = terminals_of(private)
        assert len(found) >= 4  # the pump, the launcher, COMMAND, the process for --up
        assert set(found.values()) == {0}


@pytest.mark.parametrize("sudoers", ["!use_pty", "use_pty"])
def test_ssh_may_ask_on_the_terminal_of_who_called_sudo(left: Namespace, sudoers: str) -> None:
    asking = "printf 'password: ' >/dev/tty; read -r word </dev/tty; echo it is $word >&2; exec cat"
    with Private(left, sudoers=f"Defaults {sudoers}\n{USER} ALL=(ALL) NOPASSWD: ALL\n") as private:
        before = [*private.as_user(), "sudo", "-n"]
        argv = [*private.fethpipe_for_user(*before), "--", "sh", "-c", asking]
        with TerminalSession(left, argv, owner=UID) as terminal:
            assert terminal.wait_for(" is up, ")
            terminal.type("secret\n")
            assert terminal.wait_for("it is secret")
            terminal.type("\x03")
            assert terminal.wait_for("stopped by SIGINT")
            assert terminal.wait_for("status 0")


def test_a_terminal_is_kept_by_its_owner_and_follows_the_tunnel(private: Private) -> None:
    with TerminalSession(private.namespace, [*private.fethpipe(), "--", "cat"]) as terminal:
        terminal.wait_for(" is up, ")
        terminal.type("\x03")
        assert terminal.wait_for("stopped by SIGINT")
        assert terminal.wait_for("status 0")
    private.wait_empty(10)
    with TerminalSession(private.namespace, [*private.fethpipe(), "--", "false"]) as terminal:
        assert terminal.wait_for("exit status 1")
        assert terminal.wait_for("status 69")
    private.wait_empty(10)


@pytest.mark.parametrize("victim", ["first", "pump"])
def test_a_killed_process_of_the_two_takes_the_other_along(private: Private, victim: str) -> None:
    with TerminalSession(private.namespace, [*private.fethpipe(), "--", "cat"]) as terminal:
        terminal.wait_for(" is up, ")
        processes = private.processes().values()
        (pump,) = [each for each in processes if each.uids == [NOBODY] * 4]
        os.kill(pump.pid if victim == "pump" else pump.parent, signal.SIGKILL)
        assert terminal.wait_for("status 137")
    private.wait_empty(10)


# ---- root's password, typed some minutes ago ----

_SUDO = """
tried("sudo", lambda: subprocess.run(["sudo", "-n", "id"], capture_output=True).stdout)
tried("sudo itself", lambda: os.execv("/usr/bin/sudo", ["sudo", "-n", "true"]))
"""


@pytest.mark.parametrize("through", [(), ("sudo", "-n")], ids=["its keeper", "all of it"])
def test_sudo_does_nothing_for_a_pump(left: Namespace, through: tuple[str, ...]) -> None:
    with Private(left, sudoers=f"{USER} ALL=(ALL) NOPASSWD: ALL\n") as private:
        python = private.python_for_user()
        argv = private.entering(*private.as_user(), *through, python, *stolen(_SUDO), *SPEAKING)
        with TerminalSession(left, argv, owner=UID) as terminal:
            assert terminal.wait_for("stolen: sudo: ").endswith("EPERM")
            assert terminal.wait_for("stolen: sudo itself: ").endswith("EPERM")


# ---- what the caller's shell has open ----

_INHERITED = """
for each in range(3, 64):
    try:
        data = os.pread(each, 4, 0)
    except OSError:
        continue
    os.write(2, f"stolen: descriptor {each}: {data}\\n".encode())
tried("stdin", lambda: os.read(0, 4) or "empty")
"""


def test_nothing_of_the_callers_shell_is_left_open(private: Private) -> None:
    opened = 'exec 7</etc/shadow 8</etc/shadow 0</etc/shadow; exec "$@"'
    python = [sys.executable, *stolen(_INHERITED)]
    launcher = private.entering("sh", "-c", opened, "sh", *python)
    with Fethpipe(private.namespace, *SPEAKING, launcher=launcher) as program:
        assert outcome(program) == {"stdin": "empty"}


# ---- the keeper ----

_CHANGES = """
def ask(each, **message):
    data = json.dumps(message).encode()
    with socket.socket(fileno=os.dup(each)) as channel:
        channel.settimeout(0.5)
        channel.send(struct.pack(">I", len(data)) + data)
        return channel.recv(4096)[4:].decode()
ADDRESSES = ["0.0.0.0/1", "128.0.0.0/1"]
everywhere("change", lambda each: ask(each, do="change", add=ADDRESSES, remove=[], mtu=None))
everywhere("destroy", lambda each: ask(each, do="destroy"))
second = dict.fromkeys(["name", "io_unit", "mac", "mtu", "metric", "inject", "vmnet"])
second |= {"do": "provision", "kind": "tap", "attach": False, "addresses": [], "offload": False}
everywhere("make a second device", lambda each: ask(each, **second))
"""


@pytest.mark.parametrize("options", [(), ("--framing", "zerotier")], ids=["u16be", "zerotier"])
def test_the_keeper_does_nothing_more_for_a_pump(
    private: Private, left: Namespace, options: tuple[str, ...]
) -> None:
    python = private.python_for_user()
    launcher = private.entering(python, *stolen(_CHANGES))
    with Fethpipe(left, *options, *SPEAKING, launcher=launcher) as program:
        results = outcome(program)
        wide = "may be wider than" if options else "refused"
        assert wide in results.pop("change")
        assert len(results) == 2
        assert all("refused" in result for result in results.values()), results
        assert left.interfaces() == ["lo", "fp0"]
        assert "inet " not in left.run(["ip", "address", "show", "fp0"])


# ---- a peer that asks for long segments ----


def test_a_super_frame_is_cut_into_no_longer_segments_than_frames_may_be(
    left: Namespace, peer: Peer
) -> None:
    with peer.start(left).up() as program:
        connection = peer.say_hello()
        for size in (1464, 9000, 40000):
            frame = build(4, TCP, bytes(60000)).frame
            super_frame = header(1, 1, 54, size, 34, 16) + frame
            peer.send(b"".join(connection.send_super_frames([super_frame])))
        said = program.report(showing="2 super-frame with segments too long for the device")
        assert "to device 1 frames" in said


# ---- fethctl ----


@pytest.mark.parametrize("verb", [("capture", "tap9"), ("icmp", "tap9", "10.9.0.1")])
def test_fethctl_reads_frames_without_rights_or_terminal(
    private: Private, verb: tuple[str, ...]
) -> None:
    private.namespace.make_tap("tap9")
    argv = private.entering(sys.executable, "-m", "fethpipe.ctl", *verb)
    with TerminalSession(private.namespace, argv) as terminal:
        assert terminal.wait_for("listening on tap9")
        found = terminals_of(private)
        assert list(found.values()) == [0]
        for pid in found:
            wait_confined(pid)
        terminal.type("\x03")
        assert terminal.wait_for("status 0")
    private.namespace.run(["ip", "link", "delete", "tap9"])
    private.wait_empty(10)


_THROUGH_LO = """
lo = struct.pack("=HHiHBB8s", socket.AF_PACKET, 0, 1, 0, 0, 6, bytes(8))
sized, frame = ctypes.c_size_t, bytes(60)
everywhere("send", lambda each: done(libc.sendto(each, frame, sized(60), 0, None, 0)))
everywhere("send through lo", lambda s: done(libc.sendto(s, frame, sized(60), 0, lo, len(lo))))
"""


def test_a_stolen_fethctl_sends_through_no_other_interface(private: Private) -> None:
    private.namespace.run(["ip", "link", "add", "left", "type", "veth", "peer", "name", "right"])
    for name in ("left", "right", "lo"):
        private.namespace.run(["ip", "link", "set", name, "up"])
    argv = [*stolen(_THROUGH_LO, FETHCTL), "capture", "left"]
    with Running(private.namespace, private.entering(sys.executable, *argv)) as program:
        assert program.stderr.next(containing="listening on left")
        with PacketSocket(private.namespace, "right") as other:
            other.send(make_frame(1))
        results = outcome(program)
        assert results["send"].startswith("done")
        assert results["send through lo"] == "EPERM"


# ---- a terminal that nobody reads ----


@pytest.mark.parametrize("owner", [0, UID], ids=["root's", "the pump's own"])
def test_a_stopped_terminal_does_not_stop_frames(
    private: Private, left: Namespace, owner: int
) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap", "user", str(UID)])
    before = private.as_user() if owner else []
    fethpipe = [*private.fethpipe_for_user(*before), "--attach", "fp0", "--stats", "0.001"]
    left.run(["ip", "link", "set", "fp0", "up"])
    with TerminalSession(left, [*fethpipe, "--", "cat"], owner=owner) as terminal:
        terminal.wait_for("from device")
        end = time.monotonic() + 3  # nobody reads any more: all buffers fill up meanwhile
        with PacketSocket(left, "fp0") as device:
            while (started := time.monotonic()) < end:
                device.send(make_frame(1))
                assert device.receive() == make_frame(1)
                assert time.monotonic() - started < 1
