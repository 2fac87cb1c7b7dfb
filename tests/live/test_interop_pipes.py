"""socat, nc, shell pipes and files: whatever carries bytes carries frames."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace, require_tools
from tests.live.peers import check_traffic, wait_reachable
from tests.live.programs import FETHPIPE, LEFT, RIGHT, Fethpipe, finish

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("listener", "caller"),
    [
        pytest.param(
            ["socat", "-", "UNIX-LISTEN:socket"],
            ["socat", "-", "UNIX-CONNECT:socket,retry=1000,interval=0.01"],
            id="socat over a Unix socket",
        ),
        pytest.param(
            ["socat", "-", "TCP-LISTEN:5000,nodelay,reuseaddr"],
            ["socat", "-", "TCP:127.0.0.1:5000,nodelay,retry=1000,interval=0.01"],
            id="socat over TCP",
        ),
        pytest.param(
            ["nc", "-N", "-l", "127.0.0.1", "5000"],
            ["socat", "-", "TCP:127.0.0.1:5000,nodelay,retry=1000,interval=0.01"],
            id="nc to socat",
        ),
    ],
)
def test_two_programs_and_a_socket_are_a_cable(
    left: Namespace,
    right: Namespace,
    tmp_path: Path,
    listener: Sequence[str],
    caller: Sequence[str],
) -> None:
    require_tools(listener[0], "socat", "nsenter")
    # Both programs run in one namespace, so that they can reach each other.
    place = ["nsenter", f"--net={left.path}", f"--wd={tmp_path}"]
    with ExitStack() as stack:
        ends = []
        for end, address, command in ((left, LEFT, listener), (right, RIGHT, caller)):
            arguments = ["--address", f"{address}/24", "--", *place, *command]
            ends.append(stack.enter_context(Fethpipe(end, *arguments)))
        for program in ends:
            program.ready()
        check_traffic(left, right)
        ends[0].send_signal(signal.SIGKILL)
        assert ends[1].end()[0] in (0, 69)  # as the carrier takes it


def test_tee_keeps_a_stream_that_can_be_replayed(
    left: Namespace, right: Namespace, tmp_path: Path
) -> None:
    require_tools("tee", "nsenter")
    kept = tmp_path / "kept"
    other = f"nsenter --net={right.path} {' '.join(FETHPIPE)} --address {RIGHT}/24"
    script = f"{other} | tee {kept}"
    with Fethpipe(left, "--no-hello", "--address", f"{LEFT}/24", "--", "sh", "-c", script) as end:
        end.ready()
        wait_reachable(left, RIGHT)
        frames = [make_frame(number, size=60 + number) for number in range(300)]
        with PacketSocket(right, "fp0") as there, PacketSocket(left, "fp0") as here:
            for frame in frames:
                there.send(frame)
                assert here.receive() == frame
        end.stop()
    with Namespace() as place:
        place.make_tap()
        with PacketSocket(place, "fp0") as device, kept.open("rb") as stdin:
            finish(place, "--attach", "fp0", stdin=stdin.fileno()).ends(0)
            assert [device.receive() for _ in frames] == frames
