"""The keeper as a program of its own, for sudo: its channel is descriptor 0.

Run as ``python3 -I FILE``: neither the environment nor the current folder decides what it imports.
"""

import os
import signal
import socket
import sys
from pathlib import Path


def main() -> None:
    """Keep until the channel ends, in a process of its own: sudo is done when this returns.

    Under sudo we would be stopped with the terminal's job (Ctrl-Z), and go when sudo does.
    """
    if not __package__:
        # At the end: a file beside the package must not pass for a module of Python.
        sys.path.append(str(Path(__file__).resolve().parents[2]))
    # Only now are they found.
    from fethpipe.keeper.root import serve  # noqa: PLC0415
    from fethpipe.system.channel import Channel, ChannelClosedError  # noqa: PLC0415
    from fethpipe.system.child import end_with  # noqa: PLC0415

    channel = Channel(socket.socket(fileno=0))
    # The end of sudo takes its pseudo-terminal away, perhaps before we have left that session.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        try:
            channel.send({"ready": True})
        except ChannelClosedError:  # they gave up while somebody was looking for the password
            os._exit(0)
        end_with("the keeper", lambda: serve(channel))


if __name__ == "__main__":
    main()
