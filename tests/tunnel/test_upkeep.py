"""Addresses that a device loses: when they are asked for again, and what is told."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from fethpipe.abi.address import IPInterface
from fethpipe.errors import DeviceError
from fethpipe.tunnel.upkeep import _CHECKS_WITHOUT, AddressGuard, LeaseGuard

A, B = ip_interface("10.9.0.1/24"), ip_interface("fd00:9::1/64")


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


def test_they_are_added_again_once(caplog: pytest.LogCaptureFixture) -> None:
    lost = [A, B]
    asked: list[bool] = []
    guard = AddressGuard("feth1", lambda: tuple(lost), lambda: asked.append(True) or lost.clear())  # type: ignore[func-returns-value]
    guard.check()
    assert asked == [True]
    (said,) = _told(caplog)
    assert said.startswith(f"feth1 had lost {A}, {B}: added it again")
    lost.append(A)
    for _ in range(3):
        guard.check()
    assert asked == [True]
    assert _told(caplog) == [f"feth1 has lost {A}; add it again with ifconfig, or start again"], (
        "told once, not at every look"
    )


def test_without_a_keeper_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    guard = AddressGuard("feth1", lambda: (A,), None)
    for _ in range(3):
        guard.check()
    assert len(_told(caplog)) == 1


def test_a_refusal_is_told_and_is_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise DeviceError("cannot add it")

    guard = AddressGuard("feth1", lambda: (A,), refuse)
    for _ in range(3):
        guard.check()
    assert _told(caplog) == [f"feth1 has lost {A}: cannot add it"]


class Lease:
    """A guard of an address that comes and goes."""

    def __init__(self) -> None:
        self.address: IPInterface | None = None
        self.failing: Exception | None = None
        self.told: list[str] = []
        self.asked = 0
        self.guard = LeaseGuard("feth1", self._find, tell=self.told.append, ask=self._ask)

    def _find(self) -> IPInterface | None:
        if isinstance(self.failing, OSError):
            raise self.failing
        return self.address

    def _ask(self) -> None:
        self.asked += 1
        if self.failing:
            raise self.failing

    def check(self, times: int = 1) -> None:
        for _ in range(times):
            self.guard.check()


def test_each_new_address_is_told_once() -> None:
    lease = Lease()
    lease.check()
    for lease.address in (A, ip_interface("10.9.0.2/24")):
        lease.check(3)
    assert lease.told == ["10.9.0.1/24", "10.9.0.2/24"]
    assert lease.asked == 0


def test_an_address_that_has_gone_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    lease = Lease()
    lease.address = A
    lease.check()
    lease.address = None
    lease.check()
    assert lease.asked == 1
    assert _told(caplog) == ["feth1 has lost 10.9.0.1/24: asking for an address again"]
    lease.check(_CHECKS_WITHOUT - 1)
    assert lease.asked == 1
    lease.check()
    assert lease.asked == 2
    lease.address = A
    lease.check()
    assert lease.told == ["10.9.0.1/24"] * 2


def test_one_that_never_comes_is_asked_for_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    lease = Lease()
    lease.failing = DeviceError("cannot set it")
    lease.check(3 * _CHECKS_WITHOUT)
    assert lease.asked == 3
    assert _told(caplog) == ["cannot set it"] * 3


def test_a_kernel_that_does_not_tell_has_lost_nothing() -> None:
    lease = Lease()
    lease.address = A
    lease.check()
    lease.failing = OSError(12, "no memory")
    lease.check(2 * _CHECKS_WITHOUT)
    lease.failing = None
    lease.check()
    assert (lease.asked, lease.told) == (0, ["10.9.0.1/24"])
