"""Apple's code, built once; without its sources these tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace
from tests.xnu.build import library, missing_tool
from tests.xnu.releases import RELEASES, Release, how_to_get_them, sources
from tests.xnu.stage import Stage, on_apples_code, on_the_simulation


@pytest.fixture(scope="session", params=RELEASES, ids=[f"macOS-{each.macos}" for each in RELEASES])
def release(request: pytest.FixtureRequest) -> Release:
    """Each of the releases."""
    chosen: Release = request.param
    return chosen


@pytest.fixture(scope="session")
def apples_library(release: Release) -> Path:
    """The kernel of the release as a library."""
    found = sources()
    missing = how_to_get_them() if found is None else missing_tool()
    if found is None or missing is not None:
        pytest.skip(str(missing))
    return library(found, release)


class Stages(NamedTuple):
    """The same release twice."""

    apple: Stage
    simulation: Stage
    darwin: SimulatedDarwin


@pytest.fixture(scope="session")
def stages(release: Release, apples_library: Path) -> Iterator[Stages]:
    """Apple's code and the simulation, side by side."""
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace()).path
        darwin = stack.enter_context(SimulatedDarwin(release.darwin, namespace=namespace))
        apple = stack.enter_context(on_apples_code(apples_library, release))
        yield Stages(apple, stack.enter_context(on_the_simulation(darwin, namespace)), darwin)
