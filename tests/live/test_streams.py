"""What stdin and stdout may be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer, records
from tests.live.programs import RIGHT, Fethpipe, finish

pytestmark = pytest.mark.live


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET], ids=["Unix domain", "TCP"])
def test_one_socket_for_both_directions(
    left: Namespace, right: Namespace, family: socket.AddressFamily
) -> None:
    one, other = _connected(family)
    with one, other:
        here = Fethpipe(left, "--address", "10.9.0.1/24", stdin=one.fileno(), stdout=one.fileno())
        there = Fethpipe(
            right, "--address", "10.9.0.2/24", stdin=other.fileno(), stdout=other.fileno()
        )
    with here, there:
        here.ready()
        there.ready()
        said = left.run(["ping", "-f", "-q", "-c", "1000", RIGHT])
        assert "1000 received" in said
        here.close()
        there.ends(0, "the peer closed the stream")


def test_a_socket_whose_peer_resets_it_is_an_end(left: Namespace) -> None:
    one, other = _connected(socket.AF_INET)
    with one, other:
        program = Fethpipe(left, stdin=one.fileno(), stdout=one.fileno())
        one.close()
        with program:
            program.ready()
            linger = (1).to_bytes(4, "little") + bytes(4)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            other.close()
            program.ends(0, "the peer closed the stream")


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut short"])
def test_a_capture_is_replayed_from_a_file(left: Namespace, tmp_path: Path, cut: bool) -> None:
    frames = [make_frame(number, size=1000) for number in range(1000)]
    capture = tmp_path / "capture"
    capture.write_bytes(records(*frames) + (records(make_frame(1))[:-1] if cut else b""))
    left.make_tap()
    with PacketSocket(left, "fp0") as device, capture.open("rb") as stdin:
        arguments = ["--attach", "fp0", "--no-hello", "--framing", "u16be"]
        done = finish(left, *arguments, stdin=stdin.fileno())
        assert (done.status, done.stdout) == (76 if cut else 0, b"")
        assert [device.receive() for _ in frames] == frames


def test_frames_are_recorded_to_a_file(left: Namespace, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    frames = [make_frame(number, size=1000) for number in range(300)]
    stdin, ours = os.pipe()
    with recording.open("wb") as stdout:
        program = Fethpipe(left, "--no-hello", stdin=stdin, stdout=stdout.fileno())
    os.close(stdin)
    with program:
        program.ready()
        with PacketSocket(left, "fp0") as device:
            for frame in frames:
                device.send(frame)
        program.report(showing=f"from device {len(frames)} frames")
        os.close(ours)
        assert program.end()[0] == 0
    assert recording.read_bytes() == records(*frames)


@pytest.mark.parametrize(("framing", "prefix"), [("u16be", ">H"), ("u32be", ">I"), ("u16le", "<H")])
def test_a_framing_is_what_its_name_says(left: Namespace, framing: str, prefix: str) -> None:
    frame = make_frame(1, size=300)
    with Peer(prefix=prefix) as peer, peer.start(left, "--framing", framing) as program:
        program.ready()
        with PacketSocket(left, "fp0") as device:
            peer.send(records(frame, prefix=prefix))
            assert device.receive() == frame
            device.send(frame)
            assert peer.receive() == frame


def test_zerotier_framing_has_commands_towards_the_device_alone(left: Namespace) -> None:
    frame = make_frame(1, size=300)
    with Peer(prefix="=H") as peer, peer.start(left, "--framing", "zerotier").up() as program:
        with PacketSocket(left, "fp0") as device:
            peer.send(records(b"\0" + frame, prefix="=H"))
            assert device.receive() == frame
            device.send(frame)
            assert peer.receive() == frame
            peer.send(records(b"\2", prefix="=H"))
        program.ends(0, "the host asked the agent to end")


def _connected(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]
