"""How a running fethpipe ends: what it says, what it answers, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from fethpipe.wire.connection import Connection
from fethpipe.wire.framing import FRAMINGS
from fethpipe.wire.hello import NONCE_LENGTH, Feature, Hello, encode_switch
from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer, records
from tests.live.programs import FETHPIPE, Fethpipe, changed, finish, tunnel
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_STOPPING = [
    pytest.param(number, id=number.name)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
]


@pytest.mark.parametrize("victim", [pytest.param(0, id="left"), pytest.param(1, id="right")])
@pytest.mark.parametrize("number", [*_STOPPING, pytest.param(signal.SIGKILL, id="SIGKILL")])
def test_when_one_end_stops_the_other_does(
    left: Namespace, right: Namespace, victim: int, number: signal.Signals
) -> None:
    namespaces = left, right
    with tunnel(left, right) as ends:
        ends[victim].send_signal(number)
        status, said = ends[not victim].end()
        assert status == 0
        assert "fp0: the peer closed the stream" in said
        for namespace in namespaces:
            namespace.wait_gone("fp0")
        status, said = ends[victim].end()
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 0
        assert f"fp0: stopped by {number.name}" in said


@pytest.mark.parametrize("number", _STOPPING)
def test_a_signal_ends_it_while_the_stream_is_stuck(
    left: Namespace, peer: Peer, number: signal.Signals
) -> None:
    flush = 0.2
    with peer.start(left, launcher=changed(f"tunnel.pump FLUSH_SECONDS = {flush}")) as program:
        program.ready()
        with PacketSocket(left, "fp0") as device:
            full = False
            deadline = time.monotonic() + PATIENCE
            while not full:
                assert time.monotonic() < deadline, "the stream does not fill"
                full = peer.is_full()  # so the last of them find no room
                for index in range(100):
                    device.send(make_frame(index, size=1514))
                program.report()  # it has moved some of them
        started = time.monotonic()
        program.send_signal(number)
        status, said = program.end()
        assert time.monotonic() - started >= flush  # it was stuck
    assert status == 0
    assert f"stopped by {number.name}" in said
    left.wait_gone("fp0")


def test_the_end_of_the_stream_is_a_clean_end(left: Namespace, peer: Peer) -> None:
    with peer.start(left).up() as program:
        peer.stop_sending()
        program.ends(0, "the peer closed the stream")
    left.wait_gone("fp0")


@pytest.mark.parametrize(
    ("start", "explanation"),
    [
        (b"\0", "1 of at least 2 bytes came"),
        (records(make_frame(1))[:-1], "61 of at least 62 bytes came"),
        (records(make_frame(1), make_frame(2))[:-1], "61 of at least 62 bytes came"),
    ],
    ids=["inside a length", "inside the first record", "inside a later record"],
)
def test_the_end_of_the_stream_inside_a_record_is_told(
    left: Namespace, peer: Peer, start: bytes, explanation: str
) -> None:
    with peer.start(left).up() as program:
        peer.send(start)
        peer.stop_sending()
        program.ends(76, f"the stream ended inside a record: {explanation}")
    left.wait_gone("fp0")


def test_a_peer_that_no_longer_reads_is_an_end_and_not_a_sigpipe(
    left: Namespace, peer: Peer
) -> None:
    with peer.start(left).up() as program:
        assert peer.receive(bool)  # its hello: else that alone could be the end
        peer.stop_receiving()
        with PacketSocket(left, "fp0") as device:
            device.send(make_frame(1))
        program.ends(0, "the peer no longer reads the stream")
    left.wait_gone("fp0")


def test_a_device_that_is_deleted_is_an_error(left: Namespace, peer: Peer) -> None:
    with peer.start(left).up() as program:
        left.run(["ip", "link", "delete", "fp0"])
        said = program.ends(73, "fp0 has gone")
    assert said.count("\n") == 2  # ready, and this


def test_a_device_that_is_deleted_under_traffic_is_an_error(left: Namespace, peer: Peer) -> None:
    frames = records(*(make_frame(number) for number in range(500)))
    with peer.start(left).up() as program:
        peer.send(frames)
        left.run(["ip", "link", "delete", "fp0"])
        with pytest.raises(BrokenPipeError):
            _send_for_ever(peer, frames)
        program.ends(73, "fp0 has gone")


def test_a_device_that_is_deleted_under_super_frames_is_an_error(
    left: Namespace, peer: Peer
) -> None:
    nonce = bytes(range(NONCE_LENGTH))
    hello = Hello(nonce, mtu=1500, features=Feature.SUPER_FRAMES)
    with peer.start(left).up() as program:
        peer.send(Connection(FRAMINGS["u16be"], hello=hello).send_hello())
        peer.receive(encode_switch(nonce).__eq__)
        left.run(["ip", "link", "delete", "fp0"])
        program.ends(73, "fp0 has gone")


def _send_for_ever(peer: Peer, data: bytes) -> None:
    while True:
        peer.send(data)


def test_a_device_that_is_down_counts_frames_and_goes_on(left: Namespace, peer: Peer) -> None:
    with peer.start(left).up() as program:
        left.run(["ip", "link", "set", "fp0", "down"])
        peer.send(records(make_frame(1), make_frame(2)))
        program.report(showing="dropped: 2 interface down")
        left.run(["ip", "link", "set", "fp0", "up"])
        with PacketSocket(left, "fp0") as device:
            peer.send(records(make_frame(3)))
            assert device.receive() == make_frame(3)
        peer.stop_sending()
        program.ends(0, "dropped: 2 interface down")


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "not blocking"])
def test_the_descriptors_that_it_got_are_as_they_were(left: Namespace, blocking: bool) -> None:
    ours, its = socket.socketpair()
    with ours, its:
        os.set_blocking(its.fileno(), blocking)
        with Fethpipe(left, stdin=its.fileno(), stdout=its.fileno()).up() as program:
            with PacketSocket(left, "fp0") as device:
                ours.sendall(records(make_frame(1)))
                assert device.receive() == make_frame(1)
            assert not os.get_blocking(its.fileno())  # so that there is something to restore
            program.stop()
        assert os.get_blocking(its.fileno()) is blocking


def test_the_status_of_command_is_known_though_sigchld_was_ignored(left: Namespace) -> None:
    ignoring = ["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", *FETHPIPE]
    finish(left, "--", "sh", "-c", "exit 3", launcher=ignoring).ends(
        69, "sh ended with exit status 3"
    )


@pytest.mark.parametrize("number", _STOPPING)
def test_a_signal_that_was_ignored_stays_ignored(
    left: Namespace, peer: Peer, number: signal.Signals
) -> None:
    ignoring = ["sh", "-c", f'trap "" {number.name[3:]}; exec "$@"', "sh", *FETHPIPE]
    with peer.start(left, launcher=ignoring).up() as program:
        program.send_signal(number)
        with PacketSocket(left, "fp0") as device:
            peer.send(records(make_frame(1)))
            assert device.receive() == make_frame(1)
        peer.stop_sending()
        program.ends(0, "the peer closed the stream")
