"""The keeper as a program of its own, for sudo: its channel is descriptor 0.

Run as ``python3 -I FILE``: neither the environment nor the current folder decides what it imports.
"""

import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Literal

LATER: "tuple[Literal['change', 'dhcp'], ...]" = ("change", "dhcp")
"""The arguments that there are."""


def main(later: "Literal['change', 'dhcp'] | None" = None) -> None:
    """Start the keeper in a child process, and return, so that sudo ends.

    ``later`` is what the pump may ask for when there is a device.

    If sudo went on, the keeper would be stopped with the job of the terminal (Ctrl-Z), and end when
    sudo ends.
    """
    if not __package__:
        _load_package(Path(__file__).resolve().parents[1])
    # They can be imported only now.
    from fethpipe.keeper.root import serve  # noqa: PLC0415
    from fethpipe.system.channel import Channel, ChannelClosedError  # noqa: PLC0415
    from fethpipe.system.child import end_with  # noqa: PLC0415

    channel = Channel(socket.socket(fileno=0))
    # When sudo ends, its pseudo-terminal goes, perhaps before we have left that session.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        try:
            channel.send({"ready": True})
        except ChannelClosedError:  # the pump gave up while sudo waited for the password
            os._exit(0)
        end_with("the keeper", lambda: serve(channel, later=later))


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
    main(next((word for word in LATER if sys.argv[1:] == [word]), None))
