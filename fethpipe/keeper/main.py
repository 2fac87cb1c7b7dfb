"""The keeper as a program of its own, for sudo: its channel is descriptor 0.

Run as ``python3 -I FILE``: neither the environment nor the current folder decides what it imports.
"""

import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path

MAY_CHANGE = "change"
"""The one argument there is: the pump may have the device changed."""


def main() -> None:
    """Keep until the channel ends, in a process of its own: sudo is done when this returns.

    Under sudo we would be stopped with the terminal's job (Ctrl-Z), and go when sudo does.
    """
    if not __package__:
        _load_package(Path(__file__).resolve().parents[1])
    # Only now are they found.
    from fethpipe.keeper.root import serve  # noqa: PLC0415
    from fethpipe.system.channel import Channel, ChannelClosedError  # noqa: PLC0415
    from fethpipe.system.child import end_with  # noqa: PLC0415

    may_change = sys.argv[1:] == [MAY_CHANGE]
    channel = Channel(socket.socket(fileno=0))
    # The end of sudo takes its pseudo-terminal away, perhaps before we have left that session.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        try:
            channel.send({"ready": True})
        except ChannelClosedError:  # they gave up while somebody was looking for the password
            os._exit(0)
        end_with("the keeper", lambda: serve(channel, may_change=may_change))


def _load_package(folder: Path) -> None:
    """Load our package, and nothing that lies beside it, as ``fethpipe``."""
    spec = importlib.util.spec_from_file_location(
        "fethpipe", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {folder}")
    package = sys.modules["fethpipe"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main()
