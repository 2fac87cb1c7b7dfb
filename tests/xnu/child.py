"""Tests of which each runs in a process of its own, on Apple's code: a panic ends only that."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.xnu.inside import Mac, become
from tests.xnu.releases import Release


def on_apples_code(test: Callable[[Mac], None]) -> Callable[[Release, Path], None]:
    """Have pytest run a test on each release, with a Mac that has no interface yet."""

    def run(release: Release, apples_library: Path) -> None:
        failure = _run_in_child(lambda: test(become(apples_library, release)))
        if failure:
            pytest.fail(failure, pytrace=False)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def _run_in_child(work: Callable[[], None]) -> str:
    """Return how it failed, "" if it did not. What it prints, pytest shows."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        said = ""
        try:
            work()
        except BaseException:  # noqa: BLE001 - the parent tells of it
            said = traceback.format_exc()
        with os.fdopen(writing, "w") as pipe:
            pipe.write(said)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said if status == 0 else f"the kernel panicked:\n{said}"
