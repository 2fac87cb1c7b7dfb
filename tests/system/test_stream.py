"""The byte stream on pipes, sockets and files."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from fethpipe.abi.linux import F_SETPIPE_SZ
from fethpipe.system.stream import Stream
from tests.conftest import MakePipe


def test_a_full_pipe_leaves_the_rest(make_pipe: MakePipe) -> None:
    pipe = make_pipe()
    data = bytes(range(256)) * 8192  # 2 MiB, more than pipes hold
    with Stream(pipe.reader.fileno(), pipe.writer.fileno()) as stream:
        stream.write(data)
        rest = stream.pending
        assert 0 < len(rest) < len(data)
        stream.write(b"")
        assert stream.pending == rest
        came = b""
        while chunk := stream.read():
            came += chunk
        assert came + rest == data


def written(stream: Stream) -> int:
    """Return how many bytes a stream takes that nobody reads."""
    stream.write(bytes(1 << 21))
    return stream.sent


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can resize a pipe")
def test_a_narrow_pipe_is_as_wide_as_before_for_the_next_stream(make_pipe: MakePipe) -> None:
    pipe, usual = make_pipe(), make_pipe()
    with Stream(usual.reader.fileno(), usual.writer.fileno()) as stream:
        most = written(stream)
    with Stream(pipe.reader.fileno(), pipe.writer.fileno()) as stream:
        stream.narrow_pipe(8192)
        assert written(stream) == 8192
        assert len(stream.read() or b"") == 8192
    with Stream(pipe.reader.fileno(), pipe.writer.fileno()) as stream:
        assert written(stream) == most > 65536


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can resize a pipe")
def test_a_pipe_that_cannot_be_widened_is_not_narrowed(make_pipe: MakePipe) -> None:
    """It would stay narrow: a user has only so many pages of pipes (pipe(7))."""
    pipe = make_pipe()
    with Stream(pipe.reader.fileno(), pipe.writer.fileno()) as stream:
        fcntl.fcntl(pipe.writer.fileno(), F_SETPIPE_SZ, 65536)  # all that it got
        stream.narrow_pipe(8192)
        assert written(stream) == 65536


@pytest.mark.parametrize(
    "pieces", [[b""], [b"a", b"", b"bc"], [b"x" * 60_000, b"y" * 60_000, b"z" * 60_000]]
)
def test_pieces_go_in_a_row(make_pipe: MakePipe, pieces: list[bytes]) -> None:
    pipe = make_pipe()
    with Stream(pipe.reader.fileno(), pipe.writer.fileno()) as stream:
        stream.write_pieces(pieces)
        came = b""
        while len(came) < sum(map(len, pieces)):
            came += stream.read() or b""
            stream.write(b"")
        assert came == b"".join(pieces)
        assert stream.pending == b""
        assert stream.sent == stream.received == len(came)


def test_the_end_of_the_stream(make_pipe: MakePipe) -> None:
    pipe, other = make_pipe(), make_pipe()
    with Stream(pipe.reader.fileno(), other.writer.fileno()) as stream:
        pipe.writer.write(b"last words")
        pipe.writer.close()
        assert stream.read() == b"last words"
        assert stream.read() == b""


def test_a_reader_that_has_gone(make_pipe: MakePipe) -> None:
    pipe = make_pipe()
    pipe.reader.close()
    other = make_pipe()
    stream = Stream(other.reader.fileno(), pipe.writer.fileno())
    with stream:
        stream.write(b"frames")
        assert stream.reader_gone
        assert stream.pending == b""


def test_a_reset_is_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, peer, Stream(ours.fileno(), ours.fileno()) as stream:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert stream.read() == b""


def test_a_file_is_read_to_its_end_and_written(tmp_path: Path) -> None:
    capture, recording = tmp_path / "capture", tmp_path / "recording"
    capture.write_bytes(b"frames")
    with ExitStack() as stack:
        source = stack.enter_context(capture.open("rb"))
        sink = stack.enter_context(recording.open("wb"))
        stream = stack.enter_context(Stream(source.fileno(), sink.fileno()))
        assert stream.read() == b"frames"
        assert stream.read() == b""
        stream.write(b"more frames")
        assert stream.pending == b""
    assert recording.read_bytes() == b"more frames"


@pytest.mark.parametrize("incoming_blocks", [True, False])
@pytest.mark.parametrize("outgoing_blocks", [True, False])
def test_each_descriptor_gets_back_its_mode(
    make_pipe: MakePipe, incoming_blocks: bool, outgoing_blocks: bool
) -> None:
    incoming, outgoing = make_pipe().reader.fileno(), make_pipe().writer.fileno()
    os.set_blocking(incoming, incoming_blocks)
    os.set_blocking(outgoing, outgoing_blocks)
    stream = Stream(incoming, outgoing)
    assert not os.get_blocking(incoming)
    assert not os.get_blocking(outgoing)
    for _ in range(2):  # the second time is nothing new
        stream.close()
        assert os.get_blocking(incoming) is incoming_blocks
        assert os.get_blocking(outgoing) is outgoing_blocks


@pytest.mark.parametrize("blocks", [True, False])
def test_descriptors_of_one_socket_get_back_its_mode(blocks: bool) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        os.set_blocking(ours.fileno(), blocks)
        duplicate = os.dup(ours.fileno())
        try:
            with Stream(ours.fileno(), duplicate) as stream:
                assert stream.read() is None
            assert os.get_blocking(ours.fileno()) is blocks
            with Stream(ours.fileno(), ours.fileno()) as stream:
                assert stream.read() is None
            assert os.get_blocking(ours.fileno()) is blocks
        finally:
            os.close(duplicate)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="macOS tells nothing of pipes")
def test_what_lies_unread_in_a_pipe_is_counted(make_pipe: MakePipe) -> None:
    pipe = make_pipe()
    with Stream(pipe.reader.fileno(), pipe.writer.fileno()) as stream:
        assert stream.unread() == 0
        stream.write(bytes(100_000))
        assert stream.unread() == 100_000
        stream.read(60_000)
        assert stream.unread() == 40_000


def test_what_lies_unread_in_a_socket_grows_and_shrinks() -> None:
    near, far = socket.socketpair()
    with near, far, Stream(near.fileno(), near.fileno()) as stream:
        assert stream.unread() == 0
        stream.write(bytes(5000))
        assert (stream.unread() or 0) >= 5000
        far.recv(5000, socket.MSG_WAITALL)
        assert stream.unread() == 0


def test_nobody_can_tell_what_lies_unread_in_a_file(tmp_path: Path) -> None:
    with ExitStack() as stack:
        file = stack.enter_context((tmp_path / "file").open("wb"))
        nothing = stack.enter_context(open(os.devnull, "rb"))
        stream = stack.enter_context(Stream(nothing.fileno(), file.fileno()))
        assert not stream.unread()
