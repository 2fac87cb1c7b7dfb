"""``--pcap``: tcpdump and tshark read what passes, while it passes; and whose file it may be."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace, readable, require_tools
from tests.live.ordinary import NOBODY
from tests.live.peer import Peer, records
from tests.live.peers import wait_reachable
from tests.live.private import UID, Private
from tests.live.programs import FETHPIPE, LEFT, RIGHT, finish, tunnel
from tests.live.traffic import transfer

pytestmark = pytest.mark.live


def exchange(namespace: Namespace, peer: Peer, *numbers: int) -> None:
    """Send a frame each way for each number, and wait for it."""
    with PacketSocket(namespace, "fp0") as device:
        for number in numbers:
            peer.send(records(make_frame(number)))
            assert device.receive() == make_frame(number)
            device.send(make_frame(number + 100))
            assert peer.receive() == make_frame(number + 100)


def test_tcpdump_reads_it_while_it_grows(left: Namespace, peer: Peer, tmp_path: Path) -> None:
    require_tools("tcpdump")
    file = tmp_path / "capture"
    with peer.start(left, "--pcap", str(file)).up():
        for last in (3, 6):
            exchange(left, peer, *range(last - 2, last + 1))
            said = left.run(["tcpdump", "-nn", "-e", "--nano", "-r", str(file)])
            assert len(re.findall(r"ethertype Unknown \(0x88b6\), length 60", said)) == 2 * last
    header = file.read_bytes()[:24]
    assert header[:4] == bytes.fromhex("4d3cb2a1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_tshark_reads_it_with_all_bytes(left: Namespace, peer: Peer, tmp_path: Path) -> None:
    require_tools("tshark")
    file = tmp_path / "capture"
    with peer.start(left, "--pcap", str(file)).up():
        exchange(left, peer, 1, 2)
        fields = ["-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-e", "eth.type"]
        argv = ["tshark", "-r", str(file), "-Y", "eth.type == 0x88b6", *fields]
        assert left.run(argv).splitlines() == ["60\t60\t0x88b6"] * 4


def test_super_frames_are_in_it_as_frames(
    left: Namespace, right: Namespace, tmp_path: Path
) -> None:
    require_tools("tcpdump")
    file = tmp_path / "capture"
    with tunnel(left, right, left_options=("--address", f"{LEFT}/24", "--pcap", str(file))):
        wait_reachable(left, RIGHT)
        transfer(left, right, RIGHT, 1_000_000)
        transfer(right, left, LEFT, 1_000_000)
    said = left.run(["tcpdump", "-nn", "-q", "-r", str(file), "tcp"])
    lengths = {LEFT: 0, RIGHT: 0}
    for source, length in re.findall(r"IP ([\d.]+)\.\d+ > .*: tcp (\d+)$", said, re.MULTILINE):
        lengths[source] += int(length)
    assert min(lengths.values()) >= 1_000_000  # more where TCP sent something again


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[str, FileIO]]:
    """A named pipe, and the end of it that is read."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK)) as reader:
        yield path, reader


def test_a_named_pipe_is_read_as_it_comes(
    left: Namespace, peer: Peer, pipe: tuple[str, FileIO]
) -> None:
    path, reader = pipe
    with peer.start(left, "--pcap", path).up():
        exchange(left, peer, 1)
        assert readable(reader.fileno(), 10)
        assert make_frame(101) in (reader.read(1 << 16) or b"")


def test_a_reader_that_does_not_read_costs_the_capture_alone(
    left: Namespace, peer: Peer, pipe: tuple[str, FileIO]
) -> None:
    with peer.start(left, "--pcap", pipe[0]).up() as program:
        exchange(left, peer, *range(1000))  # some 150 KB
        peer.stop_sending()
        said = program.ends(0)
    assert re.search(r"pipe lacks \d+ frames: its reader is too slow", said)


def test_a_reader_that_goes_costs_the_capture_alone(
    left: Namespace, peer: Peer, pipe: tuple[str, FileIO]
) -> None:
    path, reader = pipe
    with peer.start(left, "--pcap", path).up() as program:
        reader.close()
        exchange(left, peer, 1)
        assert "EPIPE" in program.stderr.next(containing="the capture ends")
        exchange(left, peer, 2)


def test_a_full_disk_costs_the_capture_alone(left: Namespace, peer: Peer) -> None:
    script = 'mount -t tmpfs -o size=8k none /mnt && exec "$@"'
    launcher = ["unshare", "--mount", "sh", "-c", script, "sh", *FETHPIPE]
    with peer.start(left, "--pcap", "/mnt/capture", launcher=launcher).up() as program:
        exchange(left, peer, *range(100))
        assert "ENOSPC" in program.stderr.next(containing="the capture ends")
        exchange(left, peer, 1)


def test_an_earlier_capture_is_replaced(left: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "capture"
    file.write_bytes(bytes(10_000))
    assert finish(left, "--pcap", str(file)).status == 0
    assert 24 <= file.stat().st_size < 10_000


@pytest.mark.parametrize("name", ["-", ""])
def test_stdout_is_refused(left: Namespace, name: str) -> None:
    done = finish(left, f"--pcap={name}")
    assert (done.status, done.stdout) == (64, b"")
    assert "stdout carries frames" in done.stderr


@pytest.mark.parametrize("trap", ["link", "second name", "somebody else's", "device", "folder"])
def test_a_file_that_may_be_anothers_is_left_alone(
    left: Namespace, tmp_path: Path, trap: str
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "capture"
    victim.write_bytes(b"precious")
    if trap == "link":
        path.symlink_to(victim)
    elif trap == "second name":
        os.link(victim, path)
    elif trap == "somebody else's":
        victim.rename(path)
        os.chown(path, NOBODY, NOBODY)
        victim = path
    elif trap == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        path.mkdir()
    finish(left, "--pcap", str(path)).ends(64, f"cannot write to --pcap {path}: ")
    assert victim.read_bytes() == b"precious"
    assert left.interfaces() == ["lo"]


def test_behind_sudo_the_file_is_the_users(left: Namespace, peer: Peer) -> None:
    with Private(left) as private:
        sudo = ["env", f"SUDO_UID={UID}", f"SUDO_GID={UID}"]
        with peer.start(
            left, "--pcap", "/run/home/capture", launcher=private.fethpipe_for_user(*sudo)
        ) as program:
            program.ready()
            exchange(left, peer, 1)
            found = (private.root / "run/home/capture").stat()
            assert found.st_uid == UID
            assert found.st_size > 24
            program.stop()


def test_behind_sudo_a_file_of_root_is_out_of_reach(left: Namespace) -> None:
    with Private(left) as private:
        file = private.root / "run/roots"
        file.write_bytes(b"precious")
        sudo = ["env", f"SUDO_UID={UID}", f"SUDO_GID={UID}"]
        launcher = private.fethpipe_for_user(*sudo)
        finish(left, "--pcap", "/run/roots", launcher=launcher).ends(64, "EACCES")
        assert file.read_bytes() == b"precious"
