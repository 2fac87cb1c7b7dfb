"""The remote end of ``--ssh``: what the near end sends, it starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..provision.kind import find_kind
from ..system.child import status_of
from ..system.descriptors import close_all_but
from ..system.marker import make_marker
from ..system.stderr import configure_messages
from .config import unpack_config
from .run import run


def serve(packed: Mapping[str, Any], nonce: str, complete: Callable[[], None]) -> int:
    """Run a tunnel as the remote end. Return its exit status.

    When the device is up, it writes the marker of ``nonce``, which the local end waits for.
    ``complete`` waits until the whole program is here.
    """

    close_all_but({0, 1, 2})
    configure_messages(logging.INFO)

    def mark_start() -> None:
        os.write(1, make_marker(nonce))

    def run_to_end() -> int:
        config = unpack_config(packed)
        configure_messages(config.level)
        find_kind(config.device)  # which imports it while the rest of the program still comes
        complete()
        run(config, on_ready=mark_start, load_late=True)
        return 0

    return status_of(run_to_end)
