"""A Mac with vmnet.framework in a network namespace, and a Linux beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.darwin.inside import Inside
from tests.live.netns import Namespace
from tests.vmnet.framework import MacWithVmnet, missing_requirement


@pytest.fixture
def settings() -> dict[str, str]:
    """Settings of the stand-in for the framework; tests parametrize this."""
    return {}


@pytest.fixture
def mac(left: Namespace, settings: dict[str, str]) -> Iterator[MacWithVmnet]:
    """The Mac; at the end, nothing wrong was done, and all that was started is stopped."""
    missing = missing_requirement()
    if missing is not None:
        pytest.skip(missing)
    with MacWithVmnet(left.path, settings) as mac:
        yield mac
        assert mac.violations() == []


@pytest.fixture
def inside(mac: MacWithVmnet, left: Namespace) -> Iterator[Inside]:
    """A process on the Mac, as root."""
    with Inside(mac, left.path) as inside:
        yield inside
